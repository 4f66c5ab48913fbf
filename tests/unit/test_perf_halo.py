"""What a halo costs: measured on a network whose receptive field is known, and the page in step with the figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from edsr_perf.halo import HaloError, measure, smallest_good
from edsr_perf.halo_page import draw_seams, table, with_table
from edsr_perf.sections import read_results
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
RADIUS = 3
PICTURE = np.random.default_rng(5).integers(0, 256, (150, 90, 3), dtype=np.uint8)


def blur(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mean over 7x7 pixels with zeros around, twice as large: it sees 3 pixels far and no further."""
    padded = np.pad(pictures[0].astype(np.float64), ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * RADIUS + 1, 2 * RADIUS + 1), axis=(0, 1))
    small: NDArray[np.uint8] = windows.mean(axis=(-1, -2)).round().astype(np.uint8)
    return small.repeat(2, axis=0).repeat(2, axis=1)[None]


def test_the_error_falls_to_nothing_at_the_radius_of_the_network() -> None:
    told: list[HaloError] = []
    errors = measure(blur, 2, [PICTURE], range(RADIUS + 3), told.append)
    assert told == errors
    assert [error.halo_px for error in errors] == list(range(RADIUS + 3))
    assert errors[0].max_levels > 20
    assert all(error.max_levels > 0 for error in errors[:RADIUS])
    assert all((error.max_levels, error.share_over, error.psnr_db) == (0, 0, None) for error in errors[RADIUS:])
    assert smallest_good(errors) == RADIUS


def test_the_smallest_good_halo_is_good_in_all_that_are_larger() -> None:
    levels = {0: 9, 2: 1, 4: 2, 6: 1, 8: 0}
    errors = [HaloError(halo, level, 0.0, None) for halo, level in levels.items()]
    assert smallest_good(errors) == 6
    with pytest.raises(ValueError, match="larger ones"):
        smallest_good(errors[:3])


def test_work_is_that_of_the_area() -> None:
    assert HaloError(8, 1, 0.0, 80.0).cost(64) == pytest.approx((64 / 48) ** 2)


def test_the_page_shows_the_figures_that_are_kept() -> None:
    page = (ROOT / "docs" / "tiling.md").read_text("utf-8")
    kept = read_results(ROOT, "halo-edsr_baseline_x3-*.json")
    assert with_table(page, kept) == page, "run `python -m edsr_perf halo --render-only`"
    assert all(table(results).count("(default)") == 1 for results in kept)
    with pytest.raises(ValueError, match="no place"):
        with_table("# Nothing here", kept)


def test_the_tiled_figures_stand_in_the_page() -> None:
    page = (ROOT / "docs" / "tiling.md").read_text("utf-8")
    for protocol, name in (("http", "HTTP"), ("grpc", "gRPC")):
        run = json.loads((ROOT / "perf" / "results" / f"tiled-edsr_baseline_x3-{protocol}.json").read_text("utf-8"))
        row = f"| {name} | {run['client_px_s']:,} px/s | {run['server_px_s']:,} px/s | {run['share']:.1%} |"
        assert row in page


def test_the_seams_are_drawn(tmp_path: Path) -> None:
    draw_seams(blur, 2, PICTURE, (0, 3), tmp_path / "seams.png")
    assert (tmp_path / "seams.png").read_bytes().startswith(b"\x89PNG")
