"""A server whose processes die, stop, or hang: nobody waits for ever, it says why, and it comes back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run, assert_one_line_error
from edsr_client import Upscaler
from edsr_conversion import random_network
from edsr_serving import ServerOptions, free_ports, start
from edsr_serving.guard import requests_left
from edsr_serving.processes import (
    backends_of,
    command_line,
    is_keeper,
    is_tritonserver,
    stat_fields,
    state_of,
    wait_for,
)
from edsr_serving.server import BEATS

# Only to tell "hangs" from "answers" on a busy machine.
PATIENCE_S = 60.0


@dataclass
class Kept:
    """A server in the foreground or in the background."""

    options: ServerOptions
    run_dir: Path
    run: Run

    @property
    def facts(self) -> dict[str, Any]:
        """What its run folder says."""
        return dict(json.loads((self.run_dir / "server.json").read_text("utf-8")))

    @property
    def log(self) -> str:
        return (self.run_dir / "triton.log").read_text("utf-8", errors="replace")

    def ask(self, shape: tuple[int, ...] = (1, 8, 8, 3), data: bytes | None = None) -> int | None:
        """Status of a request; None if the connection was refused or lost. Raises TimeoutError if it hangs."""
        content = bytes(shape[1] * shape[2] * 3) if data is None else data
        tensor = {"name": "image", "shape": shape, "datatype": "UINT8"}
        header = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(content)}}]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.options.http_port, timeout=PATIENCE_S)
        try:
            length = {"Inference-Header-Content-Length": str(len(header))}
            connection.request("POST", "/v2/models/tiny/infer", header + content, length)
            response = connection.getresponse()
            response.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return response.status

    def status(self) -> subprocess.CompletedProcess[str]:
        return self.run("edsr_serving", "status", "--repository", self.options.repository, "--run-dir", self.run_dir)

    def comes_back(self) -> bool:
        return wait_for(lambda: not self.facts["trouble"] and self.ask() == 200, PATIENCE_S)


@pytest.fixture
def options(tmp_path: Path, build_repository: Any) -> ServerOptions:
    repository = build_repository(random_network(1, 8))
    return ServerOptions(repository=repository, run_dir=tmp_path / "run").with_ports(*free_ports(3))


def command(options: ServerOptions, verb: str) -> list[str]:
    ports = (options.http_port, options.grpc_port, options.metrics_port)
    named = zip(("--http-port", "--grpc-port", "--metrics-port"), map(str, ports), strict=True)
    places = ["--repository", str(options.repository), "--run-dir", str(options.run_dir)]
    return [sys.executable, "-m", "edsr_serving", verb, *places, *sum(named, ())]


@pytest.fixture(params=["run", "start"])
def kept(request: pytest.FixtureRequest, options: ServerOptions, run: Run) -> Iterator[Kept]:
    in_foreground = request.param == "run"
    process = subprocess.Popen(command(options, request.param), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "ready:" not in (line := process.stdout.readline()):
        assert line
    run_dir = options.run_dir / f"foreground-{options.http_port}" if in_foreground else options.run_dir
    kept = Kept(options, run_dir, run)
    keeper = kept.facts["keeper"]
    yield kept
    if is_keeper(keeper):
        os.kill(keeper, signal.SIGTERM)
    assert wait_for(lambda: state_of(keeper) == "", PATIENCE_S)
    process.communicate(timeout=PATIENCE_S)


def busy_while(kept: Kept, harm: Any) -> None:
    """Do harm while clients ask: each gets an answer or an error, and none waits for ever."""
    end = time.monotonic() + 3

    def client(_: int) -> None:
        while time.monotonic() < end:
            if kept.ask((1, 90, 90, 3)) is None:
                time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        asking = pool.map(client, range(4))
        time.sleep(0.3)
        harm()
        list(asking)


def test_whatever_happens_to_a_process_the_server_comes_back_and_says_why(kept: Kept) -> None:
    """Both processes, killed and stopped, in both modes; the log keeps every reason."""
    in_foreground = "foreground" in str(kept.run_dir)

    def backend() -> int:
        return backends_of(kept.facts["pid"])[0]

    harms = {
        "a backend process of tiny has died": lambda: os.kill(backend(), signal.SIGKILL),
        "a backend process of tiny is stopped": lambda: os.kill(backend(), signal.SIGSTOP),
    }
    if not in_foreground:
        harms = {
            "tritonserver was ended by SIGKILL": lambda: os.kill(kept.facts["pid"], signal.SIGKILL),
            "tritonserver is stopped": lambda: os.kill(kept.facts["pid"], signal.SIGSTOP),
        }
    for reason, harm in harms.items():
        before = kept.facts["pid"]
        busy_while(kept, harm)
        assert kept.comes_back(), kept.log
        assert not is_tritonserver(before)
        assert reason in kept.log
    assert kept.status().returncode == 0
    assert len(backends_of(kept.facts["pid"])) == 2
    assert list(Path("/dev/shm").glob(f"edsr-{kept.facts['keeper']}-*"))  # noqa: S108 - of the server that lives


def test_a_request_that_ends_a_backend_does_not_end_the_server(options: ServerOptions, run: Run) -> None:
    """2^32 times 2^32 is 0 for Triton, and its stub aborts on it."""
    assert run(*command(options, "start")[2:]).returncode == 0
    kept = Kept(options, options.run_dir, run)
    assert kept.ask((1, 2**32, 2**32, 3), b"") is None
    assert wait_for(lambda: kept.facts["trouble"] != "" or "has died" in kept.log, PATIENCE_S)
    assert kept.comes_back(), kept.log
    assert kept.ask((1, 2**20, 2**20, 3), b"abc") == 400
    assert kept.ask((0, 4, 4, 3), b"") == 400
    assert kept.ask((1, 0, 4, 3), b"") == 400
    assert run("edsr_serving", "stop", "--run-dir", options.run_dir).returncode == 0


def test_a_keeper_that_is_killed_takes_its_server_along(options: ServerOptions, run: Run) -> None:
    assert run(*command(options, "start")[2:]).returncode == 0
    kept = Kept(options, options.run_dir, run)
    facts = kept.facts
    processes = [facts["pid"], *backends_of(facts["pid"])]
    assert len(processes) == 3
    os.kill(facts["pid"], signal.SIGSTOP)  # it would not hear a polite signal
    os.kill(facts["keeper"], signal.SIGKILL)
    assert wait_for(lambda: all(state_of(pid) == "" for pid in processes), PATIENCE_S)
    status = kept.status()
    assert status.returncode == 3
    assert "was killed" in status.stdout
    assert wait_for(lambda: not list(Path("/dev/shm").glob(f"{facts['shm_prefix']}*")), PATIENCE_S)  # noqa: S108
    assert run(*command(options, "start")[2:]).returncode == 0
    assert (options.run_dir / "triton.log.1").exists()  # the evidence stays
    assert run("edsr_serving", "stop", "--run-dir", options.run_dir).returncode == 0


def test_a_short_stop_is_no_reason(options: ServerOptions, run: Run) -> None:
    """Of the keeper, too: what slept is not taken for dead."""
    assert run(*command(options, "start")[2:]).returncode == 0
    kept = Kept(options, options.run_dir, run)
    facts = kept.facts
    os.kill(facts["keeper"], signal.SIGSTOP)
    status = kept.status()
    assert (status.returncode, "keeper is stopped" in status.stdout) == (3, True)
    time.sleep(2)
    os.kill(facts["keeper"], signal.SIGCONT)
    time.sleep(1.5)
    assert kept.facts["pid"] == facts["pid"]
    assert kept.status().returncode == 0
    assert run("edsr_serving", "stop", "--run-dir", options.run_dir).returncode == 0


def test_a_client_with_shared_memory_goes_on_with_it_after_a_restart(
    options: ServerOptions, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The new server has another key, and knows none of the regions that the client has registered."""
    assert run(*command(options, "start")[2:]).returncode == 0
    kept = Kept(options, options.run_dir, run)
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with (
        Upscaler(options.http_url, model="tiny", shared_memory=True) as over_http,
        Upscaler(options.grpc_url, "grpc", model="tiny", shared_memory=True) as over_grpc,
    ):
        before = [each.upscale(picture) for each in (over_http, over_grpc)]
        os.kill(kept.facts["pid"], signal.SIGKILL)
        assert wait_for(lambda: "start 1 of" in kept.log, PATIENCE_S)
        assert kept.comes_back(), kept.log
        for upscaler, earlier in zip((over_http, over_grpc), before, strict=True):
            np.testing.assert_array_equal(upscaler.upscale(picture), earlier)
            assert upscaler.server_info()[0]["models"] == ["tiny"]
    assert "shared memory" not in caplog.text
    assert run("edsr_serving", "stop", "--run-dir", options.run_dir).returncode == 0


def test_a_run_folder_that_cannot_be_written_does_not_end_the_server(options: ServerOptions, run: Run) -> None:
    """As on a full disk: its state stays what it was, it comes back all the same, and stops without a lie."""
    assert run(*command(options, "start")[2:]).returncode == 0
    kept = Kept(options, options.run_dir, run)
    for name in ("server.json.part", "exit-timeout"):
        (options.run_dir / name).mkdir()
    os.kill(kept.facts["pid"], signal.SIGKILL)
    assert wait_for(lambda: "start 1 of" in kept.log, PATIENCE_S)
    assert kept.comes_back(), kept.log
    elsewhere = run("edsr_serving", "status", "--repository", "nowhere", "--run-dir", options.run_dir)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert "  tiny: ready" in elsewhere.stdout  # whatever the folder of models has become
    stopped = run("edsr_serving", "stop", "--run-dir", options.run_dir)
    assert stopped.returncode == 0, stopped.stderr


def test_a_keeper_killed_while_it_stops_is_not_called_a_good_end(options: ServerOptions, run: Run) -> None:
    """`stop` cannot know that every request was answered."""
    assert run(*command(options, "start")[2:]).returncode == 0
    kept = Kept(options, options.run_dir, run)
    keeper = kept.facts["keeper"]
    with ThreadPoolExecutor(1) as pool:
        os.kill(kept.facts["pid"], signal.SIGSTOP)  # so that its stop takes a while
        stopping = pool.submit(run, "edsr_serving", "stop", "--run-dir", options.run_dir)
        assert wait_for(lambda: (options.run_dir / "exit-timeout").exists(), PATIENCE_S)
        os.kill(keeper, signal.SIGKILL)
        stopped = stopping.result()
    assert_one_line_error(stopped, 1, "may have been cut off")


def test_a_server_whose_output_nobody_reads_goes_on_and_stops_well(options: ServerOptions, run: Run) -> None:
    """`make serve | head`: the pipe closes, the server is none the worse."""
    process = subprocess.Popen(command(options, "run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "ready:" not in (line := process.stdout.readline()):
        assert line
    process.stdout.close()
    kept = Kept(options, options.run_dir / f"foreground-{options.http_port}", run)
    for _ in range(3):
        assert kept.ask() == 200  # the log grows
    os.kill(kept.facts["pid"], signal.SIGKILL)
    assert wait_for(lambda: "start 1 of" in kept.log, PATIENCE_S)
    assert kept.comes_back(), kept.log
    process.terminate()
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(PATIENCE_S) == 0, said
    assert "Broken pipe" not in said
    assert "Traceback" not in said
    assert kept.log.rstrip().endswith('"stopped; every request was answered"')


def test_what_a_killed_server_left_in_shared_memory_goes_with_the_next_start(options: ServerOptions, run: Run) -> None:
    """Killed whole, or while it was starting, when no run folder knows of it; what lives keeps its own."""
    shared = Path("/dev/shm")  # noqa: S108
    assert run(*command(options, "start")[2:]).returncode == 0
    facts = Kept(options, options.run_dir, run).facts
    other = replace(options, run_dir=options.run_dir.with_name("other")).with_ports(*free_ports(3))
    starting = subprocess.Popen(command(other, "keep"), stdout=subprocess.PIPE)
    prefix = f"edsr-{starting.pid}-{other.http_port}-"
    assert wait_for(lambda: len(list(shared.glob(f"{prefix}*"))) > 1, PATIENCE_S)  # its backends are being made
    processes = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
    backends = [pid for pid in processes if prefix in command_line(pid)]
    for pid in (*backends, starting.pid):
        os.kill(pid, signal.SIGKILL)
    starting.communicate()
    assert wait_for(lambda: not any(state_of(pid) for pid in backends), PATIENCE_S)
    assert list(shared.glob(f"{prefix}*"))
    third = replace(other, run_dir=options.run_dir.with_name("third"))
    assert run(*command(third, "start")[2:]).returncode == 0
    assert not list(shared.glob(f"{prefix}*"))
    assert len(list(shared.glob(f"{facts['shm_prefix']}*"))) == 3
    for run_dir in (third.run_dir, options.run_dir):
        assert run("edsr_serving", "stop", "--run-dir", run_dir).returncode == 0


def test_a_stop_does_not_wait_for_a_start_that_hangs(options: ServerOptions, run: Run) -> None:
    """Its server was ended, and the next one hangs while it loads: `stop` ends both, and says that all is well."""
    assert run(*command(options, "start")[2:]).returncode == 0
    kept = Kept(options, options.run_dir, run)
    before, keeper = kept.facts["pid"], kept.facts["keeper"]
    os.kill(before, signal.SIGKILL)

    def next_one() -> list[int]:
        processes = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
        ours = [pid for pid in processes if pid != before and stat_fields(pid)[1:2] == [str(keeper)]]
        return [pid for pid in ours if is_tritonserver(pid)]

    assert wait_for(lambda: bool(next_one()), PATIENCE_S)
    hanging = next_one()[0]
    os.kill(hanging, signal.SIGSTOP)
    stopped = run("edsr_serving", "stop", "--run-dir", options.run_dir)
    assert stopped.returncode == 0, stopped.stderr
    assert wait_for(lambda: not state_of(hanging) and not state_of(keeper), PATIENCE_S)
    assert not list(Path("/dev/shm").glob(f"edsr-{keeper}-*"))  # noqa: S108


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, "has died"), (signal.SIGSTOP, "is stopped")])
def test_a_process_lost_while_it_loads_is_said_soon(
    options: ServerOptions, run: Run, number: signal.Signals, words: str
) -> None:
    """Triton itself would wait for it for ever, and so would whoever starts the server: two minutes."""

    def backends() -> list[int]:
        processes = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
        servers = [pid for pid in processes if is_tritonserver(pid) and f"={options.http_port}" in command_line(pid)]
        return backends_of(servers[0]) if servers else []

    for _ in range(8):  # the model is small: it may be loaded before the signal comes
        starting = subprocess.Popen(command(options, "start"), stderr=subprocess.PIPE, text=True)
        seen: list[int] = []
        while len(seen) < 2 and starting.poll() is None:  # the first only reads the configuration
            seen += [pid for pid in backends() if pid not in seen]
        with contextlib.suppress(ProcessLookupError):
            os.kill(seen[-1], number)
        said = starting.communicate(timeout=PATIENCE_S)[1]
        if starting.returncode:
            break
        run("edsr_serving", "stop", "--run-dir", options.run_dir)
    assert starting.returncode == 7, said
    assert re.search(f"{words}|not healthy", said), said  # Triton may see it first
    assert not list(Path("/dev/shm").glob(f"edsr-*-{options.http_port}-*"))  # noqa: S108


def test_requests_of_a_server_that_dies_while_it_is_stopped_are_cut_off(options: ServerOptions, run: Run) -> None:
    with start(options) as server, ThreadPoolExecutor(4) as pool:
        server.guard.close()  # or it would end the server for what follows
        for backend in backends_of(server.process.pid):
            os.kill(backend, signal.SIGSTOP)
        kept = Kept(options, options.run_dir, run)
        asking = [pool.submit(kept.ask) for _ in range(3)]
        assert wait_for(lambda: requests_left(server.process.pid, options, options.run_dir / BEATS) > 0, PATIENCE_S)
        stopping = pool.submit(server.stop, PATIENCE_S)
        time.sleep(1)
        server.process.kill()
        assert stopping.result() > 0
        assert 200 not in [each.result() for each in asking]
