"""The tile that follows from a machine's speed, and what is kept of that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edsr_serving.speed import LEAST_HALOS, LONGEST_TILE_S, STEP_PX, TILE_S, key, measured, parameters, tile_side
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("pixels_per_s", "side"),
    [
        (600_000, 544),  # AMX, bfloat16: half a second
        (330_000, 432),  # AVX-512, 8 bits: the halo is as cheap as it need be in little more than half a second
        (178_000, 384),  # AVX-512, bfloat16: the longest time
        (88_000, 272),  # float32: the longest time
        (1_000, 144),  # no tile is mostly halo, however slow the machine
        (10**9, 1152),  # nor larger than the memory allows
    ],
)
def test_a_tile_takes_half_a_second_or_more_where_that_spares_halo(pixels_per_s: float, side: int) -> None:
    assert tile_side(pixels_per_s, halo_px=9, largest_px=1152) == side


@given(st.floats(1, 1e8), st.integers(0, 70), st.integers(1, 4000))
def test_a_tile_is_of_whole_blocks_and_takes_no_longer_than_it_may(
    pixels_per_s: float, halo_px: int, largest_px: int
) -> None:
    side = tile_side(pixels_per_s, halo_px, largest_px)
    assert 1 <= side <= largest_px
    assert side == largest_px or side % STEP_PX == 0
    least = max(LEAST_HALOS * halo_px, STEP_PX)
    assert side <= least or side * side / pixels_per_s <= LONGEST_TILE_S
    assert side == largest_px or side + STEP_PX > min(least, largest_px)
    assert side == largest_px or (side + STEP_PX) ** 2 / pixels_per_s >= TILE_S


def test_clients_are_told_the_speed_and_the_tile() -> None:
    told = {"tile": "1152x1152", "default_halo_px": "9", "halo_px": "35"}
    assert parameters(told, 600_000.4) == {"lr_pixels_per_second": "600000", "tile": "544x544"}
    assert parameters({"halo_px": "35"}, 600_000) == {"lr_pixels_per_second": "600000"}
    assert parameters(told, None) == {}


def test_what_cannot_be_measured_is_not_told_unless_it_was_once(tmp_path: Path) -> None:
    model = tmp_path / "tiny" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"no graph")
    known = tmp_path / "speed.json"
    assert measured(model, "f32", 1, known) is None
    assert not known.exists()
    known.write_text(json.dumps({f"tiny {model.stat().st_mtime_ns} f32 1": 1234.5}))
    assert measured(model, "f32", 1, known) == 1234.5
    assert measured(model, "f32", 1, known, again=True) == 1234.5
    known.write_text("damaged")
    assert measured(model, "f32", 1, known) is None


def test_a_server_that_is_started_again_measures_nothing_that_is_known(root: Path, tmp_path: Path) -> None:
    """Its clients wait; and its tiles stay the same."""
    model = root / "model_repository" / "edsr_baseline_x3" / "1" / "model.onnx"
    name, known = key(model, "f32", 1), tmp_path / "speed.json"
    known.write_text(json.dumps({name: 1.0}))  # slower than any machine: whoever measures finds more
    assert measured(model, "f32", 1, known, again=True) == 1.0
    found = measured(model, "f32", 1, known)
    assert found is not None
    assert found > 1.0
