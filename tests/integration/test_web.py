"""`edsr_serving web`: the gateway with an embedded Triton behind it, in the foreground and in the background."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from edsr_serving.processes import GONE, command_line, state_of, wait_for
from edsr_serving.server import free_ports

MODEL = "edsr_baseline_x3"


@dataclass
class Place:
    """Ports and a folder of one's own."""

    root: Path
    run_dir: Path
    ports: tuple[int, ...]

    def words(self, command: str) -> list[str]:
        http, grpc, metrics, gateway = (str(port) for port in self.ports)
        words = [sys.executable, "-m", "edsr_serving", command, "--run-dir", str(self.run_dir)]
        if command == "web-stop":
            return words
        words += ["--repository", str(self.root / "model_repository"), "--model", MODEL]
        words += ["--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics]
        return [*words, "--gateway-port", gateway, "--workers", "1"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[3]}"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(command), capture_output=True, text=True, timeout=120)

    def parts(self) -> list[int]:
        """Processes that have one of the ports or the folder in their command line."""
        marks = (str(self.ports[0]), str(self.ports[3]), str(self.run_dir))
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return [pid for pid in pids if pid != os.getpid() and any(mark in command_line(pid) for mark in marks)]

    def pid_of(self, has: Callable[[str], bool]) -> int:
        return next(pid for pid in self.parts() if has(command_line(pid)))


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Iterator[Place]:
    found = Place(root, tmp_path / "run", free_ports(4))
    yield found
    for pid in found.parts():
        os.kill(pid, signal.SIGKILL)


def _web(place: Place) -> subprocess.Popen[str]:
    """A web in the foreground, once it says where it is."""
    process = subprocess.Popen(place.words("web"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("open http"):
            return process
    raise AssertionError("the gateway did not start")


def _nothing_left(place: Place) -> bool:
    return wait_for(lambda: all(state_of(pid) == GONE for pid in place.parts()), 30)


def test_ctrl_c_ends_the_gateway_and_then_triton(place: Place) -> None:
    process = _web(place)
    with urllib.request.urlopen(f"{place.url}/readyz", timeout=60) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert _nothing_left(place)


def test_when_the_gateway_dies_triton_is_stopped_and_the_end_is_an_error(place: Place) -> None:
    process = _web(place)
    os.kill(place.pid_of(lambda words: "edsr_gateway\0--address" in words), signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "The gateway" in said.splitlines()[-1]
    assert _nothing_left(place)


def test_when_the_command_is_killed_nothing_stays(place: Place) -> None:
    process = _web(place)
    process.kill()
    process.communicate(timeout=60)
    assert _nothing_left(place)


def test_a_taken_port_is_said_before_anything_starts(place: Place) -> None:
    with socket.create_server(("127.0.0.1", place.ports[3])):
        done = place.run("web")
    assert done.returncode == 7
    assert str(place.ports[3]) in done.stderr
    assert "GATEWAY_PORT=" in done.stderr
    assert done.stdout == ""


def test_in_the_background_it_starts_once_and_comes_back_after_a_kill(place: Place) -> None:
    assert place.run("web-stop").returncode == 3
    started = place.run("web-start")
    assert started.returncode == 0, started.stderr
    assert place.url in started.stdout
    again = place.run("web-start")
    assert (again.returncode, again.stdout) == (8, "")
    assert place.url in again.stderr
    os.kill(place.pid_of(lambda words: "edsr_gateway\0--address" in words), signal.SIGKILL)
    time.sleep(0.1)
    assert place.run("web-start").returncode == 0  # Triton goes on: only the gateway is new
    stopped = place.run("web-stop")
    assert stopped.returncode == 0, stopped.stderr
    assert _nothing_left(place)


def test_other_machines_reach_triton_only_where_somebody_has_said_so(place: Place) -> None:
    refused = subprocess.run([*place.words("web"), "--bind", "0.0.0.0"], capture_output=True, text=True, timeout=60)  # noqa: S104
    assert refused.returncode == 7
    assert "GATEWAY_BIND=0.0.0.0" in refused.stderr
    assert "--expose" in refused.stderr
