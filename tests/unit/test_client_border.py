"""Beyond a picture's border: zeros or its mirror image, under every way to cut it; and flat areas that stay flat."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from edsr_client import MockTransport, Upscaler
from edsr_client.border import BORDERS, MARGIN_PX, SMALL_SIDE_PX, Border, check_border, keep_flat, margins_of, window
from edsr_client.tiling import Tile, TileLimits, cut
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

HALO_PX = 2
SIZES = [(1, 1), (1, 64), (64, 1), (2, 3), (48, 48), (5, 200), (130, 97)]
TILED = {"halo_px": str(HALO_PX), "tile": "48x48"}
sides = st.integers(1, 120)


def blurred(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stands for a network that pads with zeros and sees HALO_PX around a pixel."""
    kernel = (2 * HALO_PX + 1, 2 * HALO_PX + 1)
    small = np.stack([cv2.blur(one, kernel, borderType=cv2.BORDER_CONSTANT) for one in images])
    return small.repeat(3, 1).repeat(3, 2)


def rough(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A network that is up to three levels off, here more, there less."""
    off = np.random.default_rng(0).integers(-3, 4, (*images.shape[:3], 3)).repeat(3, 1).repeat(3, 2)
    return np.clip(images.repeat(3, 1).repeat(3, 2).astype(int) + off, 0, 255).astype(np.uint8)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


@given(sides, sides, st.integers(1, 3000), st.integers(0, 6), st.integers(0, 20), st.integers(0, 20))
def test_with_margins_the_tiles_keep_every_pixel_once_with_a_halo_or_a_margin_around_it(
    height: int, width: int, max_px: int, halo_px: int, before: int, after: int
) -> None:
    margins = (before, after), (after, before)
    try:
        grid = cut((height, width), TileLimits(max_px), halo_px, margins)
    except ValueError:
        return
    times = np.zeros((height, width), int)
    for tile in grid:
        times[tile.target(1)] += 1
        axes = zip((tile.top, tile.left), grid.shape, (tile.keep_y, tile.keep_x), (height, width), margins, strict=True)
        for start, side, kept, length, margin in axes:
            assert start >= -margin[0]
            assert start + side <= length + margin[1]
            assert kept[0] - start >= min(halo_px, kept[0] + margin[0])
            assert start + side - kept[1] >= min(halo_px, length - kept[1] + margin[1])
    assert (times == 1).all()
    assert len(list(grid)) == len(grid)


@pytest.mark.parametrize("size", SIZES)
def test_a_window_beyond_the_picture_holds_its_mirror_image(size: tuple[int, int]) -> None:
    plane = noise(*size, 3)
    whole = Tile(-MARGIN_PX, -MARGIN_PX, (0, size[0]), (0, size[1]))
    shape = size[0] + 2 * MARGIN_PX, size[1] + 2 * MARGIN_PX
    margin = (MARGIN_PX, MARGIN_PX)
    np.testing.assert_array_equal(window(plane, whole, shape), np.pad(plane, (margin, margin, (0, 0)), "symmetric"))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_tiles_give_what_one_piece_gives_under_either_border(size: tuple[int, int], border: Border) -> None:
    image = noise(*size, 3)
    with Upscaler(transport=MockTransport(blurred, parameters={"halo_px": str(HALO_PX)})) as upscaler:
        whole = upscaler.upscale(image, border=border)
        tiled = upscaler.upscale(image, border=border, tile=48)
    np.testing.assert_array_equal(tiled, whole)
    margins = margins_of(size, border)
    padded = np.pad(image, (*margins, (0, 0)), "symmetric") if margins[0][0] else image
    (top, _), (left, _) = margins
    expected = blurred(padded[None])[0][3 * top : 3 * (top + size[0]), 3 * left : 3 * (left + size[1])]
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("border", [None, *BORDERS])
@pytest.mark.parametrize("size", [(1, 64), (33, 130), (150, 20), (150, 130)])
def test_bands_give_what_one_piece_gives_under_either_border(
    tmp_path: Path, size: tuple[int, int], border: Border | None
) -> None:
    pytest.importorskip("pyvips")
    Image.fromarray(noise(*size, 3)).save(tmp_path / "a.png")
    with Upscaler(transport=MockTransport(blurred, parameters=TILED)) as upscaler:
        for bands in ("always", "never"):
            upscaler.upscale_file(
                tmp_path / "a.png", tmp_path / f"{bands}.png", bands=bands, border=border, halo="exact"
            )
    found, expected = (np.asarray(Image.open(tmp_path / f"{bands}.png")) for bands in ("always", "never"))
    np.testing.assert_array_equal(found, expected)


def test_only_small_pictures_have_margins_unasked() -> None:
    large, small = (SMALL_SIDE_PX, 5000), (SMALL_SIDE_PX - 1, 5000)
    assert margins_of(large, None) == margins_of(large, "zero") == ((0, 0), (0, 0))
    assert margins_of(large, "symmetric") == margins_of(small, "zero") == margins_of(small, None)
    assert margins_of(small, None) == ((MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX))


def test_a_server_with_no_room_for_margins_gets_narrower_ones() -> None:
    transport = MockTransport(parameters={"max_shapes": "8x8", "max_lr_pixels": "64", "halo_px": "4"})
    with Upscaler(transport=transport) as upscaler:
        assert upscaler.upscale(noise(4, 6, 3)).shape == (12, 18, 3)
    assert all(shape[1] <= 8 and shape[2] <= 8 for _, shape in transport.requests)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_a_flat_picture_stays_flat_whatever_the_network_makes_of_it(
    size: tuple[int, int], channels: int, dtype: type[np.uint8 | np.uint16], border: Border
) -> None:
    top = np.iinfo(dtype).max
    colour = np.array({2: [top, top // 3]}.get(channels, [top, 0, top // 3, top // 2][:channels]), dtype)
    image = np.broadcast_to(colour, (*size, channels))
    with Upscaler(transport=MockTransport(rough, parameters=TILED)) as upscaler:
        result = upscaler.upscale(image, border=border)
    np.testing.assert_array_equal(result, np.broadcast_to(colour, (3 * size[0], 3 * size[1], channels)))


@given(st.integers(1, 40), st.integers(2, 40), st.integers(0, 39), st.integers(0, 39))
def test_only_what_is_flat_for_three_pixels_around_is_changed(height: int, width: int, row: int, column: int) -> None:
    plane = np.full((height, width, 3), (255, 9, 0), np.uint8)
    row, column = row % height, column % width
    plane[row, column, 1] = 10
    result = np.full((3 * height, 3 * width, 3), 77, np.uint8)
    keep_flat(plane, Tile(0, 0, (0, height), (0, width)), result, 3)
    y, x = np.mgrid[0:height, 0:width]
    is_flat = (np.maximum(abs(y - row), abs(x - column)) > 3).repeat(3, 0).repeat(3, 1)
    assert (result[is_flat] == (255, 9, 0)).all()
    assert (result[~is_flat] == 77).all()


@pytest.mark.parametrize("border", ["reflect", "", 3, ((1, 2), (3, -4)), ((1, 2), (3, 4), (5, 6)), ((1, 2), (3.5, 4))])
def test_another_border_is_refused_before_anything_is_sent(border: object) -> None:
    with pytest.raises(ValueError, match="border must be 'zero' or 'symmetric'"):
        check_border(border)
    transport = MockTransport()
    with Upscaler(transport=transport) as upscaler, pytest.raises(ValueError, match="border must be"):
        upscaler.upscale(noise(8, 8, 3), border=border)  # type: ignore[arg-type]
    assert not transport.requests
