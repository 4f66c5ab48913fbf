"""A Triton whose computing process was killed while it was at a request: Triton never answers that one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import edsr_client.servers
import numpy as np
import pytest
from edsr_client import BackendLostError, Upscaler
from edsr_serving import RunningServer, ServerOptions, free_ports, start

PICTURE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture(params=["http", "grpc"])
def upscaler(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Upscaler]:
    url = server.options.http_url if request.param == "http" else server.options.grpc_url
    with Upscaler(url, request.param, retries=1) as upscaler:
        yield upscaler


@pytest.fixture
def server(root: Path, tmp_path: Path) -> Iterator[RunningServer]:
    options = ServerOptions(
        repository=root / "model_repository", run_dir=tmp_path / "run", models=("edsr_baseline_x3",), precision="f32"
    )
    with start(options.with_ports(*free_ports(3))) as server:
        server.guard.close()  # as in a container, where nobody ends a server that has lost its backend
        yield server
        server.process.kill()  # in order it would wait half a minute for the request that is never answered


def stubs(server: RunningServer) -> list[int]:
    """Processes that compute, of this server alone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"python_backend_stub" in command and server.shm_prefix.encode() in command:
            found.append(int(process.name))
    return found


def kill(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)


def test_a_process_killed_in_mid_request_is_told_long_before_the_time_out(
    server: RunningServer, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edsr_client.servers, "HEARTBEAT_S", 0.5)
    assert upscaler.upscale(PICTURE).shape == (192, 192, 3)
    computing = stubs(server)
    assert computing
    for process in computing:  # so that the request is not answered before the kill
        os.kill(process, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(upscaler.upscale, PICTURE)
        threading.Timer(1.0, kill, [computing]).start()
        with pytest.raises(BackendLostError, match=r"process that computes there has ended .* Start the server again"):
            answer.result(timeout=60)
