"""Self-ensemble on a real server: the mean of eight, with tiles, in files, folders, videos and through the gateway."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_client import ServerTimeoutError, Upscaler
from edsr_client.self_ensemble import TURNS, turned, turned_back
from edsr_serving import RunningServer
from gateway_processes import Gateway
from numpy.typing import NDArray
from PIL import Image

Run = Callable[..., Any]
# Low and wide: laid on its side a tile is another shape.
NOISE = np.random.default_rng(8).integers(0, 256, (84, 110, 3), np.uint8)


def mean_of_eight(upscaler: Upscaler, image: NDArray[np.uint8], **options: Any) -> NDArray[np.uint8]:
    results = [turned_back(upscaler.upscale(turned(image, turn), **options), turn) for turn in range(TURNS)]
    return ((np.sum(results, 0, dtype=np.uint16) + 4) // 8).astype(np.uint8)


@pytest.mark.parametrize("tile", [None, (80, 96)])
def test_it_is_the_mean_of_eight_whole_pictures_with_any_tiles(server_url: str, tile: Any) -> None:
    with Upscaler(server_url) as plain, Upscaler(server_url, self_ensemble=True) as upscaler:
        expected = mean_of_eight(plain, NOISE, halo="exact")
        np.testing.assert_array_equal(upscaler.upscale(NOISE, tile=tile, halo="exact"), expected)
        assert not np.array_equal(plain.upscale(NOISE), expected)


@pytest.mark.parametrize("turn", [1, 4, 7])
def test_a_turned_picture_gives_the_turned_result(server_url: str, turn: int) -> None:
    image = NOISE[:40, :66]
    with Upscaler(server_url, self_ensemble=True) as upscaler:
        upright, other = upscaler.upscale(image), upscaler.upscale(turned(image, turn))
    np.testing.assert_array_equal(turned_back(other, turn), upright)


@pytest.mark.parametrize(
    "image",
    [NOISE[..., 0], NOISE[..., [0, 1, 2, 0]], NOISE[..., :2], NOISE.astype(np.uint16) * 257],
    ids=["grey", "rgba", "grey with alpha", "16 bits"],
)
def test_it_takes_every_kind_of_array(server_url: str, image: NDArray[Any]) -> None:
    with Upscaler(server_url) as plain, Upscaler(server_url, self_ensemble=True) as upscaler:
        large, usual = upscaler.upscale(image), plain.upscale(image)
    assert (large.shape, large.dtype) == (usual.shape, usual.dtype)
    assert np.abs(large.astype(int) - usual).max() > 0


def test_flat_areas_keep_their_colour(server_url: str) -> None:
    with Upscaler(server_url, self_ensemble=True) as upscaler:
        assert (upscaler.upscale(np.full((30, 50, 3), 255, np.uint8)) == 255).all()


def test_a_deadline_that_is_too_short_is_said(server_url: str) -> None:
    with Upscaler(server_url, timeout_s=0.001, retries=0, self_ensemble=True) as upscaler:
        with pytest.raises(ServerTimeoutError):
            upscaler.upscale(NOISE)


def test_the_command_says_that_and_what_it_costs(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "small.png")
    command = ("upscale", "small.png", "large.png", "--url", embedded_server.options.http_url, "--self-ensemble")
    planned = json.loads(run("edsr_client", *command, "--dry-run", "--json").stdout)
    result = json.loads(run("edsr_client", *command, "--json").stdout)
    assert planned["tiles"] == result["tiles"] == TURNS
    assert result["self_ensemble"] is True
    with Upscaler(embedded_server.options.http_url) as plain:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "large.png")), mean_of_eight(plain, NOISE))
    assert "self-ensemble" in run("edsr_client", *command).stdout


def test_bands_are_what_the_whole_picture_is(server_url: str, tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "small.png")
    with Upscaler(server_url, self_ensemble=True) as upscaler:
        for bands in ("never", "always"):
            result = upscaler.upscale_file(tmp_path / "small.png", tmp_path / f"{bands}.png", halo="exact", bands=bands)
            assert result.self_ensemble
    whole, banded = (np.asarray(Image.open(tmp_path / f"{bands}.png")) for bands in ("never", "always"))
    np.testing.assert_array_equal(whole, banded)


def test_a_folder_knows_what_was_made_without_it(run: Run, server_url: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(NOISE[:30, :30]).save(tmp_path / "in" / "a.png")
    command = ("batch", "in", "out", "--url", server_url, "--json")
    told = []
    for more in ((), ("--self-ensemble",), ("--self-ensemble", "--overwrite"), ("--self-ensemble",)):
        summary = json.loads(run("edsr_client", *command, *more).stdout.splitlines()[-1])
        told.append((summary["made"], summary["other_settings"]))
    assert told == [(1, 0), (0, 1), (1, 0), (0, 0)]


def test_the_gateway_takes_it_as_an_option(gateway: Gateway, server_url: str) -> None:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, "PNG")
    with_it, without = (
        gateway.http.post(f"/v1/upscale?self_ensemble={value}", content=file.getvalue()) for value in ("true", "false")
    )
    assert (with_it.status_code, without.status_code) == (200, 200)
    assert with_it.headers["etag"] != without.headers["etag"]
    with Upscaler(server_url) as plain:
        expected = mean_of_eight(plain, NOISE)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(with_it.content))), expected)
    refused = gateway.http.post("/v1/upscale?self_ensemble=maybe", content=file.getvalue())
    assert (refused.status_code, refused.json()["option"]) == (400, "self_ensemble")


def test_other_commands_do_not_know_it(run: Run) -> None:
    result = run("edsr_client", "info", "--self-ensemble")
    assert result.returncode == 2
    assert "--self-ensemble" in result.stderr
