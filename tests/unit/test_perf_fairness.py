"""What is made of the runs of a large picture beside small ones."""

from __future__ import annotations

import pytest
from edsr_perf.fairness import ALONE, BESIDE, Run, shape_of, slower


def test_the_large_picture_has_the_pixels_that_were_asked_for() -> None:
    assert shape_of(12) == (3000 // 16 * 16, 4000)
    for megapixels in (0.1, 1, 6, 12, 100):
        height, width = shape_of(megapixels)
        assert height * width == pytest.approx(megapixels * 1e6, rel=0.1)
        assert height % 16 == width % 16 == 0


def test_both_tiles_are_compared_by_their_runs_alone() -> None:
    def run(tile: int, beside: str, seconds: float) -> Run:
        return Run(tile, 10, beside, seconds, 0, None, None, None)

    runs = [run(0, ALONE, 104), run(1152, ALONE, 100), run(0, BESIDE, 900), run(1152, BESIDE, 300)]
    assert slower(runs) == 0.04
    assert slower([*runs, run(0, ALONE, 96), run(0, ALONE, 100)]) == 0.0
