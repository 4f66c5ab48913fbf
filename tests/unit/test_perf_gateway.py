"""What the gateway adds: the measurement's arithmetic, and that it refuses to compare what differs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from edsr_perf.errors import PerfError
from edsr_perf.gateway import WARM_UP, Pair, jpeg, measure, summary
from PIL import Image


def test_medians_and_ratios_are_of_the_pairs() -> None:
    found = summary([Pair(100, 104, 99.0), Pair(200, 202, 198.0), Pair(100, 101, 99.0)])
    assert found == {
        "client_p50_ms": 100,
        "gateway_p50_ms": 104,
        "work_p50_ms": 99.0,
        "overhead": 0.04,
        "overhead_of_pairs": 0.01,
    }


def test_both_ways_take_turns_and_the_first_runs_do_not_count() -> None:
    order: list[str] = []

    def way(name: str) -> tuple[bytes, float]:
        order.append(name)
        return b"same", 0.5

    pairs = measure(lambda: way("client"), lambda: way("gateway"), 4)
    assert len(pairs) == 4
    assert {pair.work_ms for pair in pairs} == {500}
    assert len(order) == 2 * (WARM_UP + 4)
    assert order[:4] == ["gateway", "client", "client", "gateway"]


def test_results_that_differ_are_not_compared() -> None:
    with pytest.raises(PerfError, match="differs"):
        measure(lambda: (b"one", 0.1), lambda: (b"other", 0.1), 1)


def test_the_picture_is_a_jpeg_of_that_size(root: Path) -> None:
    with Image.open(io.BytesIO(jpeg(root / "demo" / "photograph.png", 64))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))
    with pytest.raises(PerfError, match="Cannot read"):
        jpeg(root / "none.png", 64)
