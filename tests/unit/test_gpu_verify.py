"""What `verify` makes of measurements; the measuring itself is in tests/gpu."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edsr_conversion import load_models
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.planner import make_plan
from edsr_conversion.gpu.verify import Measured, compare, comparison, shapes_to_time
from edsr_conversion.repository import network_size
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
PLAN = make_plan(load_cards(ROOT)["t4"], network_size(load_models(ROOT)["edsr_x3"]), "fp16")
Picture = NDArray[np.uint8]


def inputs() -> Iterator[tuple[str, bool, Picture]]:
    yield "picture", True, np.full((1, 4, 5, 3), 100, np.uint8)
    yield "white", False, np.full((1, 2, 2, 3), 255, np.uint8)


def same(image: Picture) -> Picture:
    return image


def test_equal_upscalers_are_equal_and_an_error_is_measured() -> None:
    assert compare(same, same, inputs()) == (999.0, 0)

    def one_off(image: Picture) -> Picture:
        changed = np.array(image)
        changed[0, 0, 0, 0] -= 3  # also below the unsigned zero of a difference
        return changed

    psnr, worst = compare(same, one_off, inputs())
    assert worst == 3
    assert psnr == pytest.approx(10 * np.log10(255**2 * 60 / 9))


def test_every_profiles_largest_shape_is_timed_once_and_all_fit() -> None:
    shapes = shapes_to_time(PLAN)
    assert {profile.max_hw for profile in PLAN.profiles} <= set(shapes)
    assert len(shapes) == len(set(shapes))
    assert all(PLAN.fits(*shape) for shape in shapes)


def test_measured_stands_beside_planned() -> None:
    measured = Measured(
        memory_bytes=PLAN.total_bytes // 2,
        context_bytes=(PLAN.context_bytes,) * 3,
        load_s=1.0,
        latencies_s={"512x512": 0.62, "1440x1440": 5.0},
        psnr_db=64.2,
        max_difference=1,
    )
    text = comparison("edsr_x3", PLAN, measured)
    assert "64.2 dB against fp32, at most 1 level(s)" in text
    assert f"planned ({0.5:.0%})" in text
    assert "512x512   620.0 ms; 620." in text
    assert "(50% of the peak)" in text
