"""A real server that knows its speed: the tile that follows, what is said before a picture, and who waits for whom."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Run
from edsr_client import Upscaler
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from PIL import Image

PROTOCOLS = ("http", "grpc")


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that has measured this machine, in the precision that suits it."""
    run_dir = tmp_path_factory.mktemp("run")
    options = ServerOptions(root / "model_repository", run_dir, models=("edsr_baseline_x3",))
    with start(options.with_ports(*free_ports(3))) as server:
        yield server


def test_the_tile_follows_from_the_speed_that_was_measured(server: RunningServer) -> None:
    with Upscaler(server.options.http_url) as upscaler:
        model = upscaler.model_info()
    assert model.lr_pixels_per_second is not None
    assert model.lr_pixels_per_second > 100
    assert model.tile is not None
    assert model.tile[0] == model.tile[1] <= 1152
    assert model.tile[0] % 16 == 0
    kept = json.loads((server.options.run_dir / "speed.json").read_text())
    assert [round(speed) for speed in kept.values()] == [model.lr_pixels_per_second]


def test_a_dry_run_says_what_there_is_to_do_and_does_nothing(run: Run, server: RunningServer, tmp_path: Path) -> None:
    Image.fromarray(noise(700, 900)).save(tmp_path / "a.png")
    command = ("edsr_client", "upscale", "a.png", "--dry-run", "--tile", "160", "--url")
    said = run(*command, server.options.http_url)
    assert (said.returncode, said.stderr) == (0, "")
    lines = dict(line.split(": ", 1) for line in said.stdout.splitlines())
    assert lines["output"] == "a_x3.png (2700x2100), not written"
    assert "tile(s) of" in lines["work"]
    assert lines["time"].startswith("about ")
    found = json.loads(run(*command, server.options.http_url, "--json").stdout)
    assert found["tiles"] > 20
    assert found["seconds"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    missing = run("edsr_client", "upscale", "b.png", "--dry-run", "--url", server.options.http_url)
    assert missing.returncode == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_small_picture_waits_for_a_tile_or_two_of_a_large_one_and_not_for_all(
    server: RunningServer, protocol: str
) -> None:
    """Of another client. Counted in tiles, for a clock would count how busy the machine is."""
    options = server.options
    url = options.http_url if protocol == "http" else options.grpc_url
    tiles = [0, 0]
    begun, waits = threading.Event(), list[int]()

    def progress(done: int, total: int) -> None:
        tiles[:] = done, total
        if done == 3:
            begun.set()

    def work() -> None:
        with Upscaler(url, protocol) as upscaler:
            upscaler.upscale(noise(420, 420), tile=96, progress=progress)

    large = threading.Thread(target=work)
    large.start()
    try:
        with Upscaler(url, protocol) as upscaler:
            assert begun.wait(120)
            for _ in range(4):
                before = tiles[0]
                upscaler.upscale(noise(72, 96))
                waits.append(tiles[0] - before)
                assert tiles[0] < tiles[1], "the large picture was done too soon for this test"
    finally:
        large.join()
    assert tiles[0] == tiles[1] > 20
    assert max(waits) <= 4
