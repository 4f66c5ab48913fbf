"""The replaced service, started as it was run: gunicorn with one worker; and a request to it."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import BaselineFailed
from .workers import environment

READY_TIMEOUT_S, REQUEST_TIMEOUT_S, STOP_TIMEOUT_S, POLL_S = 60, 600, 10, 0.1


@contextlib.contextmanager
def running(
    python: Path, code: Path, graph: Path, scale: int, threads: int, port: int, log: IO[bytes]
) -> Iterator[dict[str, str]]:
    """Run it on a loopback port; yields the versions of what serves.

    Raises:
        BaselineFailed: it ended, or was not ready in time.
    """
    command = [str(python), "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    command += ["--timeout", str(REQUEST_TIMEOUT_S), "--log-level", "warning", "baselines.flask_opencv.app:app"]
    settings = {"EDSR_GRAPH": str(graph), "EDSR_SCALE": str(scale), "EDSR_THREADS": str(threads)}
    process = subprocess.Popen(
        command, stdout=log, stderr=log, env=environment(code) | settings, preexec_fn=_end_with_parent()
    )
    try:
        yield _ready(process, port, log.name)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def enhance(port: int, content: bytes, mimetype: str) -> bytes:
    """The content of a picture file through POST /enhance, as a browser's form sends it.

    Raises:
        BaselineFailed: no answer, or another than 200.
    """
    body, content_type = multipart("image", content, mimetype)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request("POST", "/enhance", body, {"Content-Type": content_type})
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BaselineFailed(f"The Flask service did not answer: {error}.") from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise BaselineFailed(f"The Flask service answered {response.status}: {answer[:200].decode(errors='replace')}")
    return answer


def multipart(field: str, content: bytes, mimetype: str) -> tuple[bytes, str]:
    """Body and content type of a form with one file (RFC 7578)."""
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="picture"\r\n'
        f"Content-Type: {mimetype}\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _ready(process: subprocess.Popen[bytes], port: int, log: str) -> dict[str, str]:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BaselineFailed(f"The Flask service ended with exit code {process.returncode}; see {log}.")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection.request("GET", "/health")
            health: dict[str, Any] = json.loads(connection.getresponse().read())
            return dict(health["versions"])
        connection.close()
        time.sleep(POLL_S)
    raise BaselineFailed(f"The Flask service was not ready after {READY_TIMEOUT_S} s; see {log}.")


def _end_with_parent() -> Callable[[], None]:
    """For the child: ask the kernel to end it when its parent does."""
    libc, pr_set_pdeathsig = ctypes.CDLL(None), 1
    return lambda: libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
