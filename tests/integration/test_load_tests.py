"""The load test as it is run: the real perf_analyzer, the real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edsr_perf.analyzer.compare import compare, label_of
from edsr_perf.analyzer.open_loop import open_window
from edsr_perf.analyzer.results import measurement, reached, words
from edsr_perf.analyzer.scenarios import Load
from edsr_perf.analyzer.tool import find_tool
from edsr_perf.cli import main
from edsr_perf.errors import ToolError
from edsr_perf.machine import machine
from edsr_perf.publishing import slug
from edsr_serving import RunningServer

MODEL = "edsr_baseline_x3"
SCENARIO = """
windows = 2

[[measurement]]
name = "in flight"
sizes = [[16, 24]]
protocols = ["http", "grpc"]
shared_memory = [false, true]
concurrency = [2]
requests = 12

[[measurement]]
name = "Poisson"
sizes = [[16, 24]]
request_rate = [20]
requests = 20
"""


@pytest.fixture(scope="module")
def tools(root: Path) -> Path:
    folder = root / ".venv" / "perf_analyzer"
    try:
        find_tool(folder)
    except ToolError as error:
        pytest.skip(f"perf_analyzer cannot be had: {error}")
    return folder


def test_a_scenario_is_measured_reported_and_compared(
    tools: Path, embedded_server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO, "utf-8")
    there, out = embedded_server.options, tmp_path / "r.json"
    arguments = ["run", "--scenario", str(tmp_path / "s.toml"), "--tools", str(tools), "--out", str(out)]
    where = [
        "--url",
        there.http_url,
        "--grpc-url",
        there.grpc_url,
        "--metrics-url",
        f"{there.host}:{there.metrics_port}",
    ]
    assert main([*arguments, *where]) == 0, capsys.readouterr().err
    found = json.loads(out.read_text("utf-8"))
    assert (found["model"], found["precision"]) == ("edsr_baseline_x3", "f32")
    assert len(found["measurements"]) == 5
    for entry in found["measurements"]:
        assert entry["latency_ms"]["p50"] <= entry["latency_ms"]["p99"]
        assert entry["throughput_per_s"] > 0
        assert entry["split_ms"]["compute"] > 0
        assert entry["metrics"]["nv_inference_request_success"] >= entry["requests"]
        assert bool(entry["histogram_ms"]) == (entry["shared_memory"] or entry["request_rate"] > 0)
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!doctype html>")
    assert main(["compare", str(out), str(out)]) == 0


def test_a_rate_over_what_the_server_can_do_is_not_reached(embedded_server: RunningServer) -> None:
    """Ten times as many requests as it answers: none waits for another to be sent, and no latency is shown for it."""
    there = embedded_server.options
    alone = open_window(Load("one", 96, 96, request_rate=1, requests=2), MODEL, there.http_url, 3)
    rate = round(10_000 / alone.latency["min"])
    for protocol, url in (("http", there.http_url), ("grpc", there.grpc_url)):
        load = Load("flood", 96, 96, protocol, request_rate=rate, requests=max(rate, 60))
        window = open_window(load, MODEL, url, 3)
        assert not reached(load.request_rate, window.throughput), window.throughput
        assert window.throughput < rate / 2
        assert window.requests + window.refused == load.requests
        assert window.latency["max"] > 5 * alone.latency["min"]  # the wait is counted, for nobody waited to send
        assert "not reached" in words(load, window)
        entry = measurement(load, [window], {})
        assert "not reached" in label_of(entry)
        assert compare({"measurements": [entry]}, {"measurements": [entry]}) == []


def test_a_rate_within_what_the_server_can_do_is_reached(embedded_server: RunningServer) -> None:
    load = Load("calm", 16, 24, request_rate=4, requests=8)
    window = open_window(load, MODEL, embedded_server.options.http_url, 3)
    assert (window.requests, window.refused) == (8, 0)
    assert reached(load.request_rate, window.throughput), window
    assert window.latency["p50"] <= window.latency["p99"]
    assert window.split["compute"] > 0
    assert "p50" in words(load, window)


def test_a_server_that_is_not_there_is_one_line(
    tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO, "utf-8")
    arguments = ["run", "--scenario", str(tmp_path / "s.toml"), "--tools", str(tools), "--url", "localhost:1"]
    assert main(arguments) == 5
    assert capsys.readouterr().err.startswith("error: No Triton server answers at localhost:1")


def test_figures_are_published_only_when_asked(
    embedded_server: RunningServer, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_bytes((root / "docs" / "performance.md").read_bytes())
    before = page.read_text("utf-8")
    measure = ["scaling", "--root", str(tmp_path), "--url", embedded_server.options.http_url, "--most", "64"]
    assert main([*measure, "--rounds", "1"]) == 0
    assert "PUBLISH=1" in capsys.readouterr().out
    local = tmp_path / "perf" / "local" / f"scaling-{MODEL}.json"
    assert json.loads(local.read_text("utf-8"))["points"][0]["side_px"] == 64
    assert page.read_text("utf-8") == before
    assert not (tmp_path / "perf" / "results").exists()
    assert main([*measure, "--rounds", "1", "--publish"]) == 0
    name = f"scaling-{MODEL}-{slug(machine())}"
    assert [path.stem for path in (tmp_path / "perf" / "results").iterdir()] == [name]
    assert f"]({name}.svg)" in page.read_text("utf-8")
    assert (page.parent / f"{name}.svg").is_file()
