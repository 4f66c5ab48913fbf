"""A server whose processes die, stop, or hang: nobody waits for ever, it says why, and it comes back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import Run
from edsr_conversion import random_network
from edsr_serving import ServerOptions, free_ports
from edsr_serving.processes import backends_of, is_keeper, is_tritonserver, state_of, wait_for

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
