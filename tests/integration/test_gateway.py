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

from edsr_serving.server import RunningServer, free_ports


def test_a_gateway_is_ready_once_its_server_is_and_leaves_on_a_signal(
    embedded_server: RunningServer, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "edsr_gateway", "--port", str(port), "--folder", str(tmp_path)]
    command += ["--url", f"http://127.0.0.1:{embedded_server.options.http_port}"]
    with subprocess.Popen(command) as gateway:
        try:
            answer = json.loads(_read(f"http://127.0.0.1:{port}/readyz", gateway))
        finally:
            gateway.send_signal(signal.SIGTERM)
        assert answer == {"ready": True, "model": "edsr_baseline_x3"}
        assert gateway.wait(30) in (0, -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def _read(url: str, gateway: subprocess.Popen[bytes]) -> bytes:
    """What it answers as soon as it listens."""
    for _ in range(600):
        assert gateway.poll() is None, "the gateway ended"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError("the gateway did not listen within a minute")
