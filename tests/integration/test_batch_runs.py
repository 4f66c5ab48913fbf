"""`edsr batch` on a real server: killed, resumed, interrupted, without its server, twice at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run, assert_one_line_error
from edsr_client.batch import MANIFEST
from edsr_perf.analyzer.metrics import metrics_of
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from PIL import Image
from proxies import Gate

MODEL = "edsr_baseline_x3"
EDSR = [sys.executable, "-m", "edsr_client", "batch"]
PICTURES, KILLS, DYING = 200, 4, 400


def pictures(folder: Path, count: int, side: int = 24) -> Path:
    random = np.random.default_rng(count)
    for index in range(count):
        path = folder / f"{index % 5}" / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (side, side + index % 3, 3), np.uint8)).save(path)
    return folder


def results(out: Path) -> dict[str, bytes]:
    paths = (path for path in out.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def lines(out: Path, status: str = "done") -> list[dict[str, Any]]:
    found = []
    if (out / MANIFEST).exists():
        for line in (out / MANIFEST).read_bytes().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # cut short by a kill
                continue
    return [line for line in found if line.get("status") == status]


def requests(server: RunningServer) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.options.metrics_port}/metrics") as response:
        return metrics_of(response.read().decode(), MODEL)["nv_inference_request_success"]


def command(source: Path, out: Path, url: str, *more: str) -> list[str]:
    return [*EDSR, str(source), str(out), "--recursive", "--url", url, *more]


def until(process: subprocess.Popen[Any], out: Path, count: int) -> None:
    """Wait until that many results are recorded, or the process has ended."""
    deadline = time.monotonic() + 60
    while len(lines(out)) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_again_and_again_it_goes_on_and_makes_nothing_twice(
    embedded_server: RunningServer, tmp_path: Path
) -> None:
    source, url = pictures(tmp_path / "in", PICTURES), embedded_server.options.http_url
    subprocess.run(command(source, tmp_path / "whole", url), check=True, capture_output=True)
    expected = results(tmp_path / "whole")
    assert len(expected) == PICTURES

    out, before = tmp_path / "out", requests(embedded_server)
    jobs = 4
    each = PICTURES // (KILLS + 1)
    for kill in range(1, KILLS + 1):
        with Gate(url, left=each) as gate:  # what was let through before a kill is under way or recorded
            process = subprocess.Popen(command(source, out, gate.url, "--jobs", str(jobs)), stderr=subprocess.PIPE)
            until(process, out, kill * each - 2 * jobs * kill)
            process.kill()
            process.communicate()
        for path, data in results(out).items():
            if not Path(path).name.startswith(".edsr-") and ".edsr-batch" not in path:
                assert data == expected[path]  # whole, or not there
    assert len(lines(out)) < PICTURES, "it was never killed in the middle"
    done = subprocess.run(command(source, out, url), check=True, capture_output=True, text=True)
    assert results(out) == expected
    recorded = len(lines(out))
    assert PICTURES <= recorded <= PICTURES + KILLS * jobs  # a kill between record and rename
    assert requests(embedded_server) - before <= PICTURES + KILLS * jobs
    assert " done before" in done.stdout
    again = requests(embedded_server)
    subprocess.run(command(source, out, url), check=True, capture_output=True)
    assert requests(embedded_server) == again


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_says_how_far_it_is(
    embedded_server: RunningServer, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    source, out = pictures(tmp_path / "in", 100), tmp_path / "out"
    url = embedded_server.options.http_url
    with Gate(url, left=40) as gate:
        run_it = command(source, out, gate.url)
        process = subprocess.Popen(run_it, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until(process, out, 10)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert "The same command goes on from here." in errors
    assert "Traceback" not in errors
    assert 10 <= len(results(out)) == len(lines(out)) < 100
    assert not [name for name in results(out) if ".edsr" in name]


def test_a_bad_picture_is_named_and_counted(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 3)
    (source / "bad.png").write_text("no picture")
    url = embedded_server.options.http_url
    done = run("edsr_client", "batch", "in", "--recursive", "--format", "webp", "out", "--url", url)
    assert done.returncode == 10, done.stderr
    assert done.stdout.startswith("3 made, 1 failed; ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("failed: in/bad.png is not a picture")
    assert sorted(results(tmp_path / "out")) == ["0/000.webp", "1/001.webp", "2/002.webp"]
    told = run("edsr_client", "batch", "in", "out", "-r", "--format", "webp", "--json", "--url", url)
    assert told.returncode == 10
    failed, summary = (json.loads(line) for line in told.stdout.splitlines())
    assert (failed["status"], failed["type"], failed["input"]) == ("failed", "BadImageError", "in/bad.png")
    assert (summary["made"], summary["done_before"], summary["failed"]) == (0, 3, 1)


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_results_are_of_formats_that_only_the_decoders_would_load(
    run: Run, embedded_server: RunningServer, tmp_path: Path, kind: str
) -> None:
    source = pictures(tmp_path / "in", 2)
    url = embedded_server.options.http_url
    ended = run("edsr_client", "batch", str(source), "--recursive", "--format", kind, "out", "--url", url)
    assert ended.returncode == 0, ended.stderr
    assert sorted(results(tmp_path / "out")) == [f"0/000.{kind}", f"1/001.{kind}"]


def test_a_reader_that_goes_away_ends_it_quietly(embedded_server: RunningServer, tmp_path: Path) -> None:
    command_line = command(pictures(tmp_path / "in", 30), tmp_path / "out", embedded_server.options.http_url, "--json")
    process = subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["status"] == "done"
    process.stdout.close()
    told = process.stderr.read()
    assert process.wait(30) == 1
    assert "Traceback" not in told
    assert "The same command goes on from here." in told


def test_names_come_from_standard_input(embedded_server: RunningServer, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    done = subprocess.run(
        [*EDSR, "--from-file", "-", "out", "--url", embedded_server.options.http_url],
        input=b"in/0/000.png\0in/1/001.png\0",
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(results(tmp_path / "out")) == ["in/0/000.png", "in/1/001.png"]


def test_the_dry_run_says_what_there_is_to_do(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 10)
    url = embedded_server.options.http_url
    told = run("edsr_client", "batch", "in", "out", "-rn", "--url", url)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("to make: 10 pictures, 0.0 megapixels\nleft alone: 0 ")
    assert "time: about " in told.stdout
    assert not (tmp_path / "out").exists()
    found = json.loads(run("edsr_client", "batch", "in", "out", "-rn", "--json", "--url", url).stdout)
    assert found["to_make"] == 10
    assert found["seconds"] > 0


def test_a_folder_without_pictures_is_said_to_be_one(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    (tmp_path / "in" / "a.txt").write_text("no picture")
    url = embedded_server.options.http_url
    for more in ((), ("--dry-run",)):
        told = run("edsr_client", "batch", "in", "out", *more, "--url", url)
        assert told.returncode == 0
        assert told.stderr.startswith("note: there is no picture to be found there")
        assert "--recursive" in told.stderr


def test_two_runs_do_not_write_into_one_folder(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in", 15, side=160), tmp_path / "out"
    url = embedded_server.options.http_url
    with Gate(url, left=1) as gate:
        first = subprocess.Popen(command(source, out, gate.url), stdout=subprocess.DEVNULL)
        until(first, out, 1)
        second = run("edsr_client", "batch", source, out, "-r", "--url", url)
        assert_one_line_error(second, 4, f"Another run (process {first.pid})")
        gate.left = PICTURES
        assert first.wait(60) == 0
    assert len(results(out)) == 15


@pytest.fixture
def own_server(root: Path, tmp_path: Path) -> ServerOptions:
    options = ServerOptions(
        repository=root / "model_repository", run_dir=tmp_path / "run", models=(MODEL,), precision="f32"
    )
    return options.with_ports(*free_ports(3))


def test_a_server_that_dies_and_comes_back_costs_time_only(own_server: ServerOptions, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in", DYING), tmp_path / "out"
    with start(own_server) as server:
        process = subprocess.Popen(
            command(source, out, own_server.http_url, "--retries", "1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(process, out, 10)
        os.kill(server.process.pid, signal.SIGKILL)
        assert len(lines(out)) < DYING, "it was too late to kill it"
    until_waiting = time.monotonic() + 4
    while time.monotonic() < until_waiting and process.poll() is None:
        time.sleep(0.1)
    assert process.poll() is None
    with start(replace(own_server, run_dir=tmp_path / "run2")):
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert told.startswith(f"{DYING} made; ")
    assert "note: waiting up to 300 s for a server" in errors
    assert "note: a server answers again" in errors
    assert len(results(out)) == DYING


def test_wrong_usage_is_one_line(run: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    (tmp_path / "file").write_text("")
    url = ("--url", f"127.0.0.1:{free_ports(1)[0]}", "--retries", "0")
    for arguments, code, words in (
        (["in"], 2, "Name the folder of the results"),
        (["missing", "out"], 3, "There is no missing"),
        (["in", "in"], 4, "folder of the pictures"),
        (["in", "out", "--jobs", "0"], 2, "jobs must be"),
        (["in", "out", "--patience", "-1"], 2, "patience_s"),
        (["in", "out", "-r"], 5, "No Triton server answers"),
        (["--from-file", "missing", "out"], 3, "Cannot read the list"),
    ):
        assert_one_line_error(run("edsr_client", "batch", *arguments, *url), code, words)
    assert not (tmp_path / "out").exists()
