"""Scaling, memory and sensitivity: what is computed from measured figures, and the plots of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from edsr_client import MockTransport, Upscaler
from edsr_perf import folder, int8_layers, memory, scaling
from edsr_perf.errors import PerfError
from edsr_perf.sections import END


def is_drawn(svg: bytes, *words: str) -> None:
    text = " ".join(ET.fromstring(svg).itertext())  # noqa: S314  our own
    for word in words:
        assert word in text


def points(*costs: float) -> list[dict[str, float]]:
    sides = (64, 128, 256, 512)
    return [
        {"side_px": side, "tiles": 1 + (side > 256), "sent_share": 1.0, "seconds": cost * side**2}
        for side, cost in zip(sides, costs, strict=True)
    ]


def test_deviations_are_from_the_median_cost_of_a_pixel() -> None:
    assert scaling.deviations(points(2e-6, 1e-6, 1e-6, 1.1e-6)) == pytest.approx(
        [2 / 1.05 - 1, 1 / 1.05 - 1, 1 / 1.05 - 1, 1.1 / 1.05 - 1]
    )


def test_scaling_is_measured_with_tiles_and_rendered(tmp_path: Path) -> None:
    with Upscaler(transport=MockTransport(parameters={"tile": "100x100", "halo_px": "2"})) as upscaler:
        measured = scaling.measure(upscaler, [64, 128, 256], 2)
    assert [point["tiles"] for point in measured] == [1, 2, 8]
    assert all(point["seconds"] > 0 for point in measured)
    assert measured[0]["sent_share"] == 1 < measured[2]["sent_share"] < 1.4
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/performance.md").write_text(f"before\n{scaling.MARKER}\nold\n{END}\nafter\n")
    machine = {"processor": "P", "cores": 2, "date": "today", "revision": "r"}
    facts: dict[str, Any] = {"model": "m", "precision": "f32", "protocol": "http", "rounds": 2, "machine": machine}
    scaling.render(tmp_path, [{**facts, "points": measured}])
    page = (tmp_path / "docs/performance.md").read_text()
    assert "| 256x256 | 0.0655 | 8 |" in page
    assert "old" not in page
    is_drawn((tmp_path / "docs/scaling-m-p-no-avx2-2-cores.svg").read_bytes(), "several tiles", "megapixels (LR)")


def test_the_page_shows_the_figures_that_are_kept(root: Path) -> None:
    kept = json.loads((root / "perf/results/scaling-edsr_baseline_x3-intel-xeon-amx-2-cores.json").read_text())
    page = (root / "docs/performance.md").read_text()
    for point in kept["points"]:
        assert f"| {point['side_px']}x{point['side_px']} | " in page
        assert f"| {point['seconds']:.3g} | {point['seconds'] / point['side_px'] ** 2 * 1e6:.2f} |" in page


def test_memory_of_a_process_is_watched_over_time() -> None:
    code = "import time; data = bytearray(200_000_000); time.sleep(1.2)"
    seconds, seen = memory.watch([sys.executable, "-c", code])
    assert 1.2 <= seconds < 30
    assert max(mb for _, mb in seen) >= 200
    with pytest.raises(PerfError, match="failed: no"):
        memory.watch([sys.executable, "-c", "import sys; sys.exit('no')"])


def test_thinned_points_keep_the_peaks() -> None:
    seen = [(float(index), 1000 if index == 777 else 10) for index in range(1001)]
    kept = memory.thinned(seen, 100)
    assert len(kept) <= 100
    assert (777.0, 1000) in kept


def test_memory_is_drawn() -> None:
    result: dict[str, Any] = {"megapixels": 100.0, "model": "m", "seconds": 9.0, "memory_mb": [[0.0, 100], [9.0, 300]]}
    many = {**result, "pictures": 3000, "side": 24}
    del many["megapixels"]
    is_drawn(memory.draw([many, result]), "100 megapixels, m, 9 s", "3,000 pictures of 24x24, m, 9 s")


def test_the_rate_of_a_short_burst_is_what_a_clock_would_say() -> None:
    answer_s, in_flight, requests = 0.5, 4, 8
    ended = [answer_s * (index + 1) for index in range(requests)]  # one after the other
    sent = [0.0] * in_flight + ended[: requests - in_flight]
    mean = sum(end - start for start, end in zip(sent, ended, strict=True)) / requests
    assert folder.bare_rate(in_flight / mean, requests, in_flight) == pytest.approx(requests / ended[-1])


def test_small_pictures_are_all_different(tmp_path: Path) -> None:
    memory.make_pictures(tmp_path / "in", 20)
    assert len({path.read_bytes() for path in (tmp_path / "in").glob("*.png")}) == 20


@pytest.mark.parametrize("model", ["edsr_baseline_x3", "edsr_x3"])
def test_the_documents_show_the_throughput_of_folders(root: Path, model: str) -> None:
    kept = json.loads((root / f"perf/results/folder-{model}.json").read_text())
    shares = " | ".join(f"{kept['kinds'][kind]['share']:.0%}" for kind in ("jpg", "png"))
    pictures = f"{kept['pictures']} pictures of {kept['side']}x{kept['side']}"
    assert f"{pictures} | {shares} |" in (root / "docs/batch.md").read_text()


def test_the_documents_show_the_memory_that_is_kept(root: Path) -> None:
    kept = json.loads((root / "perf/results/memory-100000-pictures-edsr_baseline_x3.json").read_text())
    assert f"took {kept['seconds']:.0f} s on two cores and {kept['peak_mb']} MB" in (root / "docs/batch.md").read_text()
    page = (root / "docs/client.md").read_text()
    peaks = [
        json.loads((root / f"perf/results/memory-{megapixels}mp-edsr_baseline_x3.json").read_text())["peak_mb"]
        for megapixels in (100, 400)
    ]
    assert f"{peaks[0]} and {peaks[1]} MB at most" in page
    assert max(peaks) < 1000


def test_a_large_picture_is_made_piece_by_piece(tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    from PIL import Image

    memory.make_picture(tmp_path / "a.tif", 100, 70)
    with Image.open(tmp_path / "a.tif") as image:
        assert (image.size, image.mode) == ((100, 70), "RGB")
        assert image.getcolors(20) is None


def test_sensitivities_are_drawn(tmp_path: Path) -> None:
    int8_layers.draw({f"conv{index}": 0.1 + index / 10 for index in range(9)}, tmp_path / "chart.svg")
    is_drawn((tmp_path / "chart.svg").read_bytes(), "reads a ReLU", "convolution, from input to output")
