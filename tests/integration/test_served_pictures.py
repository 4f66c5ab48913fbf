"""Pictures of every kind through the real network: what is seen in docs/pictures.png, in figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edsr_client import Finishing, Upscaler
from edsr_client.pictures.decode import decode
from edsr_serving import RunningServer
from numpy.typing import NDArray
from PIL import Image

from tests.unit.picture_files import encoded, encoded_deep


@pytest.fixture(scope="module")
def upscaler(embedded_server: RunningServer) -> Iterator[Upscaler]:
    with Upscaler(embedded_server.options.http_url) as upscaler:
        yield upscaler


@pytest.fixture(scope="module")
def photograph(root: Path) -> NDArray[np.uint8]:
    image = Image.open(root / "demo" / "photograph.png").convert("RGB")
    return np.asarray(image.resize((image.width // 3, image.height // 3), Image.Resampling.BICUBIC))[:120, :150]


def test_edges_of_transparency_look_as_if_the_picture_went_on_behind_them(
    upscaler: Upscaler, photograph: NDArray[np.uint8]
) -> None:
    """The ideal: the uncut picture through the network, seen through the same alpha, on black and on white."""
    height, width = photograph.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    disc = np.clip((50 - np.hypot(x - width / 2, y - height / 2)) * 128, 0, 255).astype(np.uint8)
    cut_out = np.where(disc[..., None] > 0, photograph, np.array([0, 255, 0], np.uint8))
    ours = upscaler.upscale(np.dstack([cut_out, disc]))
    alpha = ours[..., 3:].astype(float) / 255
    ideal = upscaler.upscale(photograph).astype(float)
    edge = (alpha[..., 0] > 0) & (alpha[..., 0] < 1)
    assert edge.sum() > 1000
    for paper in (0, 255):
        seen, wanted = (colour * alpha + paper * (1 - alpha) for colour in (ours[..., :3], ideal))
        assert np.abs(seen - wanted)[edge].mean() < 3
        assert np.abs(seen - wanted)[edge].max() < 64  # the hidden green would be off by up to 255


def test_a_16_bit_gradient_has_no_bands(upscaler: Upscaler) -> None:
    x = np.linspace(30_000, 32_000, 120)
    ramp = np.tile(x.round().astype(np.uint16)[None, :, None], (60, 1, 3))
    content, _ = upscaler.upscale_bytes(encoded_deep(ramp, ".png"), finishing=Finishing(format="png"))
    row = decode(content, "x").frames[0][90, 9:-9, 0].astype(int)
    assert len(np.unique(row)) > 300  # 8 bits would have 9
    assert (np.diff(row) >= 0).all()
    assert np.abs(np.diff(row)).max() < 257 / 4


def test_16_bits_give_the_detail_of_the_network(upscaler: Upscaler, photograph: NDArray[np.uint8]) -> None:
    shallow = upscaler.upscale(photograph).astype(int)
    deep = upscaler.upscale(photograph.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    difference = np.abs(deep / 257 - shallow)
    assert difference.max() < 2.1
    assert difference.mean() < 0.5


def test_grey_is_the_mean_of_what_the_network_makes_of_equal_channels(
    upscaler: Upscaler, photograph: NDArray[np.uint8]
) -> None:
    grey = photograph[..., 1]
    colour = upscaler.upscale(np.repeat(grey[..., None], 3, axis=2)).astype(int)
    np.testing.assert_array_equal(upscaler.upscale(grey), (colour.sum(axis=2) + 1) // 3)


def test_cmyk_looks_like_the_picture_it_was_made_from(upscaler: Upscaler, photograph: NDArray[np.uint8]) -> None:
    cmyk = encoded(Image.fromarray(photograph).convert("CMYK"), "JPEG", quality=98, subsampling=0)
    content, result = upscaler.upscale_bytes(cmyk)
    difference = np.abs(decode(content, "x").frames[0].astype(int) - upscaler.upscale(photograph))
    assert difference.mean() < 4
    assert result.notes == ["CMYK was converted to sRGB"]
