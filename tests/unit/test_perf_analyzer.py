"""The load test's pure parts: scenarios, what perf_analyzer writes, results, comparisons, reports."""

from __future__ import annotations

import copy
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from edsr_perf.analyzer import report
from edsr_perf.analyzer.compare import BETTER, SAME, WORSE, as_text, compare
from edsr_perf.analyzer.metrics import difference, metrics_of
from edsr_perf.analyzer.results import checked, histogram, measurement, read_results, split_of
from edsr_perf.analyzer.runner import Window, arguments, percentile, run_window, window_of
from edsr_perf.analyzer.scenarios import Load, read_scenario, scenario_of
from edsr_perf.analyzer.tool import VARIABLE, find_tool, glibc_of, mirror_of
from edsr_perf.cli import main
from edsr_perf.errors import ScenarioError, ToolError

ROOT = Path(__file__).resolve().parents[2]
# Two requests of version 2.60, 2 in flight, through shared memory.
CSV = """Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,Avg latency,\
request/response,response wait
2,59.8963,171,574,7258,32,7718,248,0,15167,18930,19842,22977,16005,171,15822
"""
START = 1795460615811299853
EXPORT = {
    "experiments": [
        {
            "experiment": {"mode": "concurrency", "value": 2},
            "requests": [
                {"timestamp": START + 20_000_000, "response_timestamps": [START + 50_000_000]},
                {"timestamp": START, "response_timestamps": [START + 10_000_000]},
            ],
        }
    ]
}
LOAD = Load("throughput", 64, 64, "http", True, 2, 0.0, 2)


@pytest.mark.parametrize("path", sorted((ROOT / "perf" / "scenarios").glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_can_be_read(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.loads
    assert len({load.label + load.name for load in scenario.loads}) == len(scenario.loads)


def test_a_scenario_is_all_combinations() -> None:
    table = {
        "name": "a",
        "sizes": [[64, 32], [8, 8]],
        "protocols": ["http", "grpc"],
        "shared_memory": [False, True],
        "concurrency": [1, 4],
        "requests": 7,
    }
    loads = scenario_of({"measurement": [table]}, "s").loads
    assert len(loads) == 2 * 2 * 2 * 2
    assert {(load.height, load.width) for load in loads} == {(64, 32), (8, 8)}
    assert loads[0].label == "64x32 http, 1 in flight"
    assert all(load.requests == 7 and not load.request_rate for load in loads)


SIZE = {"name": "a", "sizes": [[8, 8]]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "measures nothing"),
        ({"windos": 3}, "knows no windos"),
        ({"windows": 0, "tiled": []}, "whole number"),
        ({"measurement": [SIZE]}, "either concurrency or request_rate"),
        ({"measurement": [SIZE | {"concurrency": [1], "request_rate": [1]}]}, "either"),
        ({"measurement": [SIZE | {"concurrency": [True]}]}, "whole number"),
        ({"measurement": [SIZE | {"request_rate": [-1]}]}, "above 0"),
        ({"measurement": [SIZE | {"request_rate": [50], "requests": 40}]}, "less than one second"),
        ({"measurement": [SIZE | {"concurrency": [1], "protocols": ["smtp"]}]}, "http, grpc, in-process"),
        ({"measurement": [SIZE | {"concurrency": [2], "protocols": ["in-process"]}]}, "table of its own"),
        ({"measurement": [SIZE | {"concurrency": [1], "protocols": ["http", "in-process"]}]}, "table of its own"),
        ({"measurement": [SIZE | {"concurrency": [1], "sizes": [[8]]}]}, "height, width"),
        ({"measurement": [{"sizes": [[8, 8]], "concurrency": [1]}]}, "needs a name"),
        ({"tiled": [{"name": "a", "sides": [1.5]}]}, "whole number"),
    ],
)
def test_what_cannot_be_measured_is_refused(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scenario_of(data, "s")


def test_a_broken_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text("a = ", "utf-8")
    (tmp_path / "r.json").write_text('{"format": 2}', "utf-8")
    for command in (
        ["run", "--scenario", str(tmp_path / "s.toml")],
        ["run", "--scenario", str(tmp_path / "none.toml")],
        ["report", str(tmp_path / "r.json")],
        ["compare", str(tmp_path / "r.json"), str(tmp_path / "none.json")],
    ):
        assert main(command) == 2
        told = capsys.readouterr()
        assert re.fullmatch(r"error: .*\n", told.err), told.err


def test_times_come_from_every_request_where_they_are_known() -> None:
    window = window_of(CSV, EXPORT, LOAD)
    assert window.latencies == (10.0, 30.0)
    assert window.throughput == pytest.approx(2 / 0.05)
    assert window.latency == {
        "p50": 10.0,
        "p90": 30.0,
        "p95": 30.0,
        "p99": 30.0,
        "mean": 20.0,
        "min": 10.0,
        "max": 30.0,
    }
    assert window.split == pytest.approx({"client": 0.171, "network": 0.574, "queue": 7.258, "compute": 7.998})


def test_without_an_export_littles_law_gives_the_throughput() -> None:
    window = window_of(CSV, None, LOAD)
    assert window.throughput == pytest.approx(2 / 0.016005)
    assert window.latency["p99"] == 22.977
    assert window.latencies == ()


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", CSV.replace("15167", "fast")])
def test_another_version_of_perf_analyzer_is_noticed(table: str) -> None:
    with pytest.raises(ToolError, match=r"2\.60"):
        window_of(table, None, LOAD)
    with pytest.raises(ToolError, match=r"2\.60"):
        window_of(CSV, {"experiments": []}, LOAD)


def test_pictures_are_not_exported() -> None:
    plain = arguments(Load("a", 8, 9, concurrency=1), "m", "h:1", 3, Path("d"))
    assert "--profile-export-file" not in plain
    assert "image:8,9,3" in plain
    shared = arguments(LOAD, "m", "h:1", 3, Path("d"))
    assert shared[shared.index("--output-shared-memory-size") + 1] == str(192 * 192 * 3)
    assert "--warmup-request-count" not in plain  # with which it may never end
    keyed = arguments(LOAD, "m", "h:1", 3, Path("d"), {"edsr-key": "secret"})
    assert keyed[keyed.index("-H") + 1] == "edsr-key:secret"


def test_a_run_that_hangs_is_ended_and_started_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edsr_perf.analyzer.runner.PATIENCE_S", 0.5)
    script = tmp_path / "tool.py"
    script.write_text(
        "import pathlib, sys, time\n"
        "seen = pathlib.Path(sys.argv[1])\n"
        "if not seen.exists():\n    seen.touch()\n    time.sleep(60)\n"
        f"pathlib.Path(sys.argv[sys.argv.index('-f') + 1]).write_text({CSV!r})\n"
    )
    tool, load = [sys.executable, str(script), str(tmp_path / "seen")], Load("a", 8, 8, concurrency=1)
    assert run_window(tool, load, "m", "h:1", 3).latency["p50"] > 0
    (tmp_path / "seen").unlink()
    monkeypatch.setattr("edsr_perf.analyzer.runner.ATTEMPTS", 1)
    with pytest.raises(ToolError, match="did not end"):
        run_window(tool, load, "m", "h:1", 3)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, p) for p in (50, 90, 99, 100)] == [50, 90, 99, 100]
    assert percentile([7.0], 99) == 7.0


def test_a_histogram_counts_everything() -> None:
    found = histogram([1.0, 1.0, 2.0, 5.0], 4)
    assert found == {"edges": [1.0, 2.0, 3.0, 4.0, 5.0], "counts": [2.0, 1.0, 0.0, 1.0]}
    assert histogram([3.0, 3.0], 2) == {"edges": [3.0, 3.5 + 0.5, 5.0], "counts": [2.0, 0.0]}
    assert histogram([]) is None


def test_the_split_is_the_median_of_the_windows() -> None:
    splits = [{"client": 1.0, "network": n, "queue": 0.1, "compute": 0.2} for n in (8.0, 2.0, 3.0)]
    windows = [Window(2, 1.0, {"p50": 9.0}, split, ()) for split in splits]
    assert split_of(windows) == {"client": 1.0, "network": 3.0, "queue": 0.1, "compute": 0.2}


METRICS = """# HELP nv_inference_request_success x
nv_inference_request_success{model="m",version="1"} 5
nv_inference_request_failure{model="m",reason="OTHER"} 1
nv_inference_request_failure{model="m",reason="BACKEND"} 2
nv_inference_request_success{model="other",version="1"} 9
nv_cpu_utilization{} 0.5
"""


def test_metrics_are_those_of_the_model() -> None:
    found = metrics_of(METRICS, "m")
    assert found == {"nv_inference_request_success": 5, "nv_inference_request_failure": 3, "nv_cpu_utilization": 0.5}
    grown = difference(found, {**found, "nv_inference_request_success": 8.0, "nv_cpu_utilization": 0.7})
    assert grown == {"nv_inference_request_success": 3, "nv_inference_request_failure": 0, "nv_cpu_utilization": 0.7}


def results(factor: float = 1.0) -> dict[str, Any]:
    """A file of results of two sizes and four concurrencies, all times multiplied by `factor`."""
    loads = [Load("sizes", side, side, "http", False, 1, 0.0, 3) for side in (64, 128)]
    loads += [Load("ladder", 64, 64, "http", True, n, 0.0, 3) for n in (1, 2, 4)]
    loads += [Load("poisson", 64, 64, "http", True, 0, rate, 3) for rate in (5.0, 9.0)]
    entries = []
    for load in loads:
        base = load.pixels / 400 * max(1, load.concurrency) * factor
        windows = []
        for noise in (0.98, 1.0, 1.02):
            times = tuple(base * noise * step for step in (0.9, 1.0, 1.3))
            latency = {"mean": base, "p50": base * noise, "p90": base * 1.2, "p95": base * 1.3, "p99": base * 1.3}
            split = {"client": 0.1, "network": 0.2, "queue": 0.0, "compute": base}
            windows.append(
                Window(3, load.request_rate or 1000 / base, latency, split, times if load.shared_memory else ())
            )
        entries.append(measurement(load, windows, {"nv_inference_request_success": 3.0}))
    packages = {"openvino": "1"}
    machine = {"processor": "a<b", "cores": 2, "system": "s", "python": "3", "packages": packages}
    return {
        "format": 1,
        "scenario": "s",
        "description": "d",
        "model": "m",
        "precision": "bf16",
        "runtime": "r",
        "url": "h",
        "machine": machine | {"revision": "1", "date": "2026-01-01"},
        "measurements": entries,
        "tiled": [],
    }


def test_the_schema_takes_results_and_nothing_else() -> None:
    good = json.loads(json.dumps(results()))
    assert checked(good, "it") == good
    for path, value in (
        (("format",), 2),
        (("measurements", 0, "latency_ms", "p50"), -1),
        (("measurements", 0, "protocol"), "smtp"),
        (("measurements", 0, "window_p50_ms"), []),
        (("more",), 1),
    ):
        bad = copy.deepcopy(good)
        *way, last = path
        place: Any = bad
        for step in way:
            place = place[step]
        place[last] = value
        with pytest.raises(ScenarioError, match="not a file of results"):
            checked(bad, "it")


def test_differences_within_the_noise_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = results()
    assert all(change.noise == pytest.approx(0.08, abs=0.001) for change in compare(before, results()))
    assert {change.verdict for change in compare(before, results(1.05))} == {SAME}
    assert {change.verdict for change in compare(before, results(1.2))} == {WORSE}
    assert {change.verdict for change in compare(before, results(0.8))} == {BETTER}
    for name, factor, code in (("same", 1.0, 0), ("worse", 1.3, 20)):
        (tmp_path / "a.json").write_text(json.dumps(before), "utf-8")
        (tmp_path / f"{name}.json").write_text(json.dumps(results(factor)), "utf-8")
        page = tmp_path / "c.html"
        found = main(["compare", str(tmp_path / "a.json"), str(tmp_path / f"{name}.json"), "--html", str(page)])
        assert found == code
        assert ("worse" in capsys.readouterr().out) == bool(code)
        assert "Two runs" in page.read_text("utf-8")
    assert "1.300" in as_text(compare(before, results(1.3)))


def test_measurements_of_one_file_alone_are_not_compared() -> None:
    other = results()
    other["measurements"] = other["measurements"][:1]
    assert len(compare(results(), other)) == 1


def test_the_report_is_one_whole_page_with_every_plot(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(results()), "utf-8")
    assert main(["report", str(tmp_path / "r.json")]) == 0
    text = (tmp_path / "r.html").read_text("utf-8")
    for title in (
        "Latency by size",
        "Concurrency, 64x64",
        "How even, 64x64",
        "Poisson arrivals",
        "Where the time goes",
    ):
        assert f"<h2>{title}</h2>" in text
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(pictures) == 5
    for picture in pictures:
        ET.fromstring(picture)  # noqa: S314  our own
    assert "a&lt;b" in text
    assert not re.search(r"(src|href)=\"https?://", re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
    assert read_results(tmp_path / "r.json")["model"] == "m"
    assert report.page({**results(), "measurements": results()["measurements"][:1]}).count("<svg") == 1


DEB822 = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/debian.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def test_the_mirror_is_that_of_the_system() -> None:
    assert mirror_of(["", DEB822], "bookworm") == ("http://mirror.example/debian", "/keys/debian.gpg")
    line = "deb [arch=amd64 signed-by=/k.gpg] https://m.example/debian bookworm main contrib\n"
    assert mirror_of([line], "bookworm") == ("https://m.example/debian", "/k.gpg")
    assert mirror_of(["deb http://m.example/debian bookworm main\n"], "bookworm") == ("http://m.example/debian", "")
    with pytest.raises(ToolError, match="PERF_ANALYZER="):
        mirror_of([DEB822], "trixie")


def test_the_c_library_is_known() -> None:
    assert glibc_of(("glibc", "2.36")) < (2, 38) <= glibc_of(("glibc", "2.40"))
    assert glibc_of(("", "")) == ()


def test_a_tool_that_is_named_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "/bin/true")
    assert find_tool(tmp_path) == ["/bin/true"]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ToolError, match="no program"):
        find_tool(tmp_path)
