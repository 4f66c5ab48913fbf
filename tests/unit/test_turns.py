"""Self-ensemble: the eight flips and quarter turns, their mean, and tiles that may lie on their side."""

from __future__ import annotations

import numpy as np
import pytest
from edsr_client.self_ensemble import TURNS, mean, turnable, turned, turned_back
from edsr_client.tiling import TileLimits, cut


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (4, 7, 3), np.uint8)


def test_the_turns_are_eight_different_ones(image: np.ndarray) -> None:
    assert len({(turned(image, turn).shape, turned(image, turn).tobytes()) for turn in range(TURNS)}) == TURNS


@pytest.mark.parametrize("turn", range(TURNS))
def test_turning_back_is_the_inverse(image: np.ndarray, turn: int) -> None:
    assert np.array_equal(turned_back(turned(image, turn), turn), image)


def test_half_of_the_turns_swap_the_sides(image: np.ndarray) -> None:
    assert sum(turned(image, turn).shape == (7, 4, 3) for turn in range(TURNS)) == TURNS // 2


def test_the_mean_is_rounded_once() -> None:
    totals = np.array([0, 3, 4, 8 * 255, 8 * 100 + 3, 8 * 100 + 4], np.uint16)
    assert mean(totals).tolist() == [0, 0, 1, 255, 100, 101]


@pytest.mark.parametrize(
    "shapes", [(), ((512, 512),), ((1024, 2048),), ((256, 4096), (1024, 1024)), ((640, 480), (480, 640))]
)
def test_tiles_fit_lying_on_their_side(shapes: tuple[tuple[int, int], ...]) -> None:
    limits = TileLimits(1024 * 1024, shapes)
    grid = cut((1500, 3000), turnable(limits), 10)
    assert limits.takes(*grid.shape)
    assert limits.takes(*reversed(grid.shape))


def test_as_much_of_the_limits_is_used_as_may_be() -> None:
    """A tile of 640x480 may be turned where 480x640 is taken, too: nothing is lost then."""
    limits = turnable(TileLimits(10**7, ((640, 480), (480, 640))))
    assert limits.takes(640, 480)
    assert limits.takes(480, 640)
    assert not limits.takes(640, 640)
