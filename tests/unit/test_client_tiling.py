"""Cutting a picture into tiles and putting it together again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edsr_client.tiling import ALIGNMENT_PX, Grid, TileLimits, cut
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

sides = st.integers(1, 300)
halos = st.integers(0, 20)


@st.composite
def limits(draw: st.DrawFn) -> TileLimits:
    max_px = draw(st.integers(1, 40_000))
    shapes = draw(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=3))
    return TileLimits(max_px, tuple(shapes))


def cut_or_none(picture: tuple[int, int], limits: TileLimits, halo_px: int) -> Grid | None:
    try:
        return cut(picture, limits, halo_px)
    except ValueError as error:
        assert "halo" in str(error)  # noqa: PT017
        return None


@given(st.tuples(sides, sides), limits(), halos)
def test_the_tiles_cover_every_pixel_once_and_keep_the_limits(
    picture: tuple[int, int], limits: TileLimits, halo_px: int
) -> None:
    grid = cut_or_none(picture, limits, halo_px)
    if grid is None:
        return
    assert limits.takes(*grid.shape)
    times = np.zeros(picture, int)
    for tile in grid:
        rows, columns = tile.source(grid.shape)
        assert 0 <= rows.start < rows.stop <= picture[0]
        assert 0 <= columns.start < columns.stop <= picture[1]
        times[tile.target(1)] += 1
    assert (times == 1).all()
    assert len(list(grid)) == len(grid)


@given(st.tuples(sides, sides), limits(), halos)
def test_what_is_kept_has_the_halo_around_it_or_lies_on_the_border(
    picture: tuple[int, int], limits: TileLimits, halo_px: int
) -> None:
    grid = cut_or_none(picture, limits, halo_px)
    for tile in grid or ():
        axes = zip(tile.source(grid.shape), (tile.keep_y, tile.keep_x), picture, strict=True)  # type: ignore[union-attr]
        for window, (start, end), length in axes:
            assert window.start == 0 or start - window.start >= halo_px
            assert window.stop == length or window.stop - end >= halo_px


@given(st.tuples(sides, sides), limits(), halos, st.integers(1, 4))
def test_tiles_of_a_local_operation_give_what_the_whole_picture_gives(
    picture: tuple[int, int], limits: TileLimits, halo_px: int, scale: int
) -> None:
    """A box filter of the halo's radius with zero padding, then repetition: like the network, only cheap."""
    grid = cut_or_none(picture, limits, halo_px)
    if grid is None or len(grid) > 200:
        return
    image = np.random.default_rng(0).integers(0, 256, picture)
    whole = local_operation(image, halo_px, scale)
    stitched = np.full_like(whole, -1)
    for tile in grid:
        answer = local_operation(image[tile.source(grid.shape)], halo_px, scale)
        stitched[tile.target(scale)] = answer[tile.kept(scale)]
    np.testing.assert_array_equal(stitched, whole)


def local_operation(image: NDArray[np.int64], radius: int, scale: int) -> NDArray[np.int64]:
    for axis in (0, 1):
        pad = [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)]
        sums = np.cumsum(np.pad(image, pad), axis=axis)
        ends, starts = [slice(None)] * 2, [slice(None)] * 2
        ends[axis], starts[axis] = slice(2 * radius + 1, None), slice(0, -(2 * radius + 1))
        image = sums[tuple(ends)] - sums[tuple(starts)]
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


@given(st.tuples(sides, sides), st.integers(1, 40_000), halos)
def test_one_tile_if_the_picture_is_within_the_limits(picture: tuple[int, int], max_px: int, halo_px: int) -> None:
    if math.prod(picture) <= max_px:
        grid = cut(picture, TileLimits(max_px), halo_px)
        assert (grid.shape, len(grid), grid.sent_px) == (picture, 1, math.prod(picture))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_small_halo_and_a_sensible_tile_cost_little(height: int, width: int) -> None:
    """Not much more than what the halo of full tiles costs."""
    grid = cut((height, width), TileLimits(512 * 512), 10)
    if min(height, width) >= 512:
        assert grid.sent_px / (height * width) < (512 / 492) ** 2 * 1.08


def test_a_narrow_strip_is_cut_across_into_few_tiles() -> None:
    grid = cut((10, 1_000_000), TileLimits(1024 * 1024), 10)
    assert (grid.rows, grid.columns) == (1, 10)


def test_profiles_of_an_engine_are_kept() -> None:
    shapes = ((1440, 1440), (1080, 1920), (1920, 1080))
    assert len(cut((1080, 1920), TileLimits(1440 * 1440, shapes), 35)) == 1
    grid = cut((2000, 3800), TileLimits(1440 * 1440, shapes), 35)
    assert any(grid.shape[0] <= h and grid.shape[1] <= w for h, w in shapes)


def test_all_tiles_are_as_small_as_their_number_and_whole_blocks_allow() -> None:
    grid = cut((1000, 100), TileLimits(10**6, ((600, 600),)), 50)
    assert (grid.rows, grid.shape) == (2, (560, 100))  # 550, and 100 is the picture's own width


def test_sides_are_whole_blocks_where_there_is_room_for_them() -> None:
    grid = cut((6144, 6144), TileLimits(1152 * 1152), 9)
    assert grid.shape[0] % ALIGNMENT_PX == grid.shape[1] % ALIGNMENT_PX == 0
    assert grid.shape[0] * grid.shape[1] <= 1152 * 1152
    assert cut((300, 300), TileLimits(10**6, ((103, 103),)), 1).shape == (102, 102)  # 112 would be over the limit


@pytest.mark.parametrize(
    ("picture", "limits", "halo_px", "words"),
    [
        ((100, 100), TileLimits(100), 5, "larger tile or a smaller halo"),
        ((0, 5), TileLimits(100), 5, "a picture has pixels"),
        ((5, 5), TileLimits(100), -1, "not negative"),
    ],
)
def test_what_cannot_be_cut_is_refused(picture: tuple[int, int], limits: TileLimits, halo_px: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cut(picture, limits, halo_px)


def test_limits_that_allow_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        TileLimits(0)
