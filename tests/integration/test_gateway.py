"""The command edsr-gateway in front of a real server, from its start to a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from edsr_serving.options import ServerOptions
from edsr_serving.server import free_ports, start


def test_a_gateway_is_ready_as_long_as_its_server_is_and_leaves_on_a_signal(root: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    options = ServerOptions(
        repository=root / "model_repository", run_dir=tmp_path, models=("edsr_baseline_x3",)
    ).with_ports(*free_ports(3))
    command = [sys.executable, "-m", "edsr_gateway", "--port", str(port)]
    command += ["--url", f"http://127.0.0.1:{options.http_port}"]
    with subprocess.Popen(command) as gateway:
        try:
            with start(options):
                assert _readyz(port, gateway) == (200, {"ready": True, "model": "edsr_baseline_x3"})
            status, problem = _readyz(port, gateway)
            assert status == 503
            assert str(options.http_port) in str(problem["detail"])
        finally:
            gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(30) in (0, -signal.SIGTERM)


def _readyz(port: int, gateway: subprocess.Popen[bytes]) -> tuple[int, dict[str, object]]:
    """Status and answer, as soon as it listens."""
    for _ in range(600):
        assert gateway.poll() is None, "the gateway ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError("the gateway did not listen within a minute")
