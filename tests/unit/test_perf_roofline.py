"""The physical limits: arithmetic against figures worked out by hand, the claims judged, and the page in step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.planner import NetworkSize, times
from edsr_conversion.gpu.replaced import CLAIMS, Claim
from edsr_perf.cli import main
from edsr_perf.roofline import page
from edsr_perf.roofline.chart import draw
from edsr_perf.roofline.cli import claimed_networks, datasheets
from edsr_perf.roofline.limits import Limit, card_limits, judge, judge_all, limit, minimum_bytes, peaks_of
from edsr_perf.roofline.peaks import Peak, Work, best, convolution_flop, matrix_flop, take_turns
from edsr_perf.sections import read_results, with_section

ROOT = Path(__file__).resolve().parents[2]
CARDS = load_cards(ROOT, local=False)
LARGE, SMALL = NetworkSize(32, 256, 3), NetworkSize(16, 64, 3)
NETWORKS = {"edsr_x3": LARGE, "edsr_baseline_x3": SMALL}


def result() -> dict[str, Any]:
    """What a measurement writes."""
    row = {
        "precision": "bf16",
        "shape": [256, 256],
        "flop": 10**11,
        "minimum_bytes": 10**6,
        "layer_bytes": 10**9,
        "limit_s": 0.05,
        "bound_by": "computation",
        "measured_s": 0.1,
        "reached": 0.5,
    }
    peaks = {"f32": Peak("f32", "a product", 4e11), "bf16": Peak("bf16", "a convolution", 2e12)}
    return {
        "model": "edsr_baseline_x3",
        "network": {"blocks": 16, "filters": 64, "scale": 3},
        "threads": 2,
        "bandwidth_bytes_s": 2e10,
        "peaks": best(list(peaks.values())),
        "served": [row],
        "gpu": {"reason": "not measured: no NVIDIA GPU"},
        "machine": {"processor": "P", "date": "2026-01-02", "revision": "abc", "packages": {"openvino": "1.2"}},
        **datasheets(ROOT, "edsr_baseline_x3"),
    }


def test_a_picture_takes_as_long_as_the_slower_of_computing_and_moving() -> None:
    px = 512 * 512
    bound = limit(LARGE, px, 2, 65e12, 320e9)
    assert bound.compute_s == pytest.approx(20.13e12 / 65e12, rel=1e-3)
    assert bound.memory_s == pytest.approx((px * 30 + 2 * 38_424_603) / 320e9)
    assert (bound.seconds, bound.bound_by) == (bound.compute_s, "computation")
    assert Limit(1.0, 2.0).bound_by == "memory"
    assert minimum_bytes(SMALL, 10, 4) == 10 * 30 + 4 * SMALL.parameters


def test_the_limit_of_a_card_is_that_of_the_planner() -> None:
    for card in CARDS.values():
        told = card_limits(card, SMALL, [(512, 512)])["limit_s"]["512x512"]
        for precision in ("fp16", "fp32"):
            assert told[precision] == pytest.approx(times(card, SMALL, precision, 512 * 512)[0], rel=1e-3)


def test_what_was_claimed_is_impossible_for_the_large_network_and_possible_for_the_small_one() -> None:
    judged = judge_all(CARDS, NETWORKS)
    assert len(judged) == sum(claim.latency_ms is not None for claims in CLAIMS.values() for claim in claims)
    for claim in judged:
        large, small = claim["networks"]["edsr_x3"], claim["networks"]["edsr_baseline_x3"]
        assert large["possible"] != "fp16"
        assert large["limit_ms"] > claim["claimed_ms"]
        assert large["of_fp16_peak"] > 1
        assert small["possible"] == "fp16"
        assert small["limit_ms"] < claim["claimed_ms"]
    t4 = next(claim for claim in judged if claim["card"] == "t4")
    assert t4["networks"]["edsr_x3"]["needed_tflops"] == pytest.approx(167.8, abs=0.1)
    assert t4["networks"]["edsr_x3"]["possible"] == ""
    assert {c["networks"]["edsr_x3"]["possible"] for c in judged if c["card"] == "a100-40gb"} == {"int8"}
    with pytest.raises(ValueError, match="no time"):
        judge(Claim(2048, 12.6), CARDS["a10g"], NETWORKS)


def test_the_fastest_fp16_of_a_card_counts() -> None:
    faster = [card for card in CARDS.values() if card.fp16_fast_tflops]
    assert faster
    assert all(peaks_of(card)["fp16"] == card.fp16_fast_tflops * 1e12 for card in faster)


def test_benchmarks_run_in_turns_and_the_first_round_warms_up() -> None:
    order: list[str] = []
    works = [Work("f32", name, 1.0, lambda name=name: order.append(name)) for name in "ab"]  # type: ignore[misc]
    seconds = take_turns(works, 2)
    assert order == ["a", "b"] * 3
    assert [len(each) for each in seconds] == [2, 2]
    assert matrix_flop() == 2 * 6 * 2048**3
    assert convolution_flop(64) == 2 * 8 * 9 * 64 * 64 * 128 * 128


def test_the_tables_say_what_was_measured_and_what_was_not() -> None:
    text = page.section([result()])
    assert "| f32 | 400 GFLOP/s | a product |  | not measured |  |" in text
    assert "| bf16 | 2,000 GFLOP/s | a convolution | 50.0 ms | 100 ms | 50% |" in text
    assert "measured on a card: not measured" in text
    assert "A GPU's matrix product: not measured: no NVIDIA GPU." in text
    assert text.count("| `t4` | 512x512 | 120 ms |") == 1
    assert page.section([]) == page.NOT_MEASURED


def test_a_gpu_that_was_measured_is_named() -> None:
    gpu = {"name": "A card", "flop_s": {"fp16": 5e13}}
    assert "A card: 50.0 TFLOP/s fp16." in page.processor_table(result() | {"gpu": gpu})


def test_the_chart_is_the_same_twice(tmp_path: Path) -> None:
    draw([result()], tmp_path / "a.svg")
    draw([result()], tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert text == (tmp_path / "b.svg").read_text("utf-8")
    assert ">claimed<" in text


def test_a_card_is_told_without_measuring(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roofline", "--root", str(ROOT), "--gpu", "T4", "--model", "edsr_x3"]) == 0
    told = capsys.readouterr().out
    assert "not measured on a card" in told
    assert "| `t4` | 65 TFLOP/s | 130 |" in told
    assert "**no**" in told
    assert main(["roofline", "--root", str(ROOT), "--all"]) == 0
    assert all(f"| `{key}` |" in capsys.readouterr().out for key in list(CARDS)[:1])
    assert main(["roofline", "--root", str(ROOT), "--gpu", "t5"]) == 10
    assert capsys.readouterr().err.count("\n") == 1


def test_a_page_that_is_missing_or_has_no_place_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("No such file", "no place for it"):
        assert main(["roofline", "--root", str(tmp_path), "--render-only"]) == 1
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / "performance.md").write_text("# Nothing\n", "utf-8")
    (tmp_path / "perf" / "results").mkdir(parents=True)
    (tmp_path / "perf" / "results" / "baselines-x.json").write_text("{", "utf-8")
    assert main(["baselines", "--root", str(tmp_path), "--render-only"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_page_shows_the_figures_that_are_kept() -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    results = read_results(ROOT, "roofline-*.json")
    again = "run `python -m edsr_perf roofline --render-only`"
    assert with_section(text, page.MARKER, page.section(results)) == text, again
    assert set(claimed_networks(ROOT)) == set(NETWORKS)
    for kept in results:
        fresh = datasheets(ROOT, kept["model"]) if kept["model"] in NETWORKS else {}
        assert {key: kept[key] for key in fresh} == fresh, again
