"""Real gateways in processes of their own, which can be killed, and what a client sees of their jobs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from edsr_serving.server import free_ports

RUN = """
import json, sys
from pathlib import Path
from edsr_gateway.cli import _serve
from edsr_gateway.limits.limits import Limits
from edsr_gateway.settings import Settings
told = json.loads(sys.argv[1])
told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
paths = {name: Path(told[name]) for name in ("folder", "keys") if name in told}
sys.exit(_serve(Settings(**{**told, **paths, "limits": Limits(**told["limits"])})))
"""
PATIENCE_S = 120.0


class Gateway:
    """A gateway with one worker for each kind of work; `settings` are those of Settings, limits among them."""

    def __init__(self, url: str, folder: Path, **settings: Any) -> None:
        limits, (port,) = settings.pop("limits", {}), free_ports(1)
        self.folder = folder
        told = {"urls": [url], "port": port, "folder": str(folder), "workers": 1, "limits": limits, **settings}
        self._command = [sys.executable, "-c", RUN, json.dumps(told)]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Gateway:
        """Start it; it answers when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        for _ in range(600):
            assert self._process.poll() is None, "the gateway ended"
            with contextlib.suppress(httpx.TransportError):
                self.http.get("/healthz")
                return self
            time.sleep(0.1)
        raise AssertionError("the gateway did not listen within a minute")

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.http.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """End it as a power cut would, its workers too."""
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        eventually(lambda: not any(map(alive, workers)))

    def stop(self) -> int:
        """Ask it to end, and wait for it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def workers(self) -> list[int]:
        """The numbers of its processes."""
        with contextlib.suppress(OSError):
            path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            return [int(number) for number in path.read_text("ascii").split()]
        return []

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Workers stand still meanwhile: what is begun is not finished."""
        workers = self.workers()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)

    def post(self, content: bytes, path: str = "/v1/jobs?format=png") -> str:
        """Bring a job; its id."""
        answer = self.http.post(path, content=content, headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """What it says of a job."""
        answer = self.http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, job_id: str, *status: str) -> dict[str, Any]:
        """Wait until a job has one of these states."""
        found: dict[str, Any] = {}

        def has() -> bool:
            nonlocal found
            found = self.job(job_id)
            assert found["status"] in status or found["status"] in ("queued", "running"), found
            return found["status"] in status

        eventually(has)
        return found

    def result(self, job_id: str) -> httpx.Response:
        """The answer with the result of a job."""
        return self.http.get(f"/v1/jobs/{job_id}/result")

    def is_at_rest(self) -> bool:
        """Whether nothing is under way, waits or is left in a file of requests that were waited for."""
        told = self.http.get("/metrics").text
        works = [f"{what}_{how}" for what in ("pictures", "headers") for how in ("busy", "waiting")]
        counts = [f"{what}_in_flight" for what in ("uploads", "pictures", "results", "pixels")]
        names = (*works, *counts, "scratch_bytes")
        at_rest = all(f"edsr_gateway_{name} 0.0" in told.splitlines() for name in names)
        return at_rest and not self.under_way()

    def under_way(self) -> list[Path]:
        """Files of uploads and results that are there."""
        return [path for path in (self.folder / "scratch").glob("*/*") if path.name != "lock"]

    def files(self) -> list[str]:
        """All files and folders of jobs."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob("jobs*/**/*"))


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether a process is there and has not ended; one that has, but for a thread, has not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{process}/task").iterdir())) > 1
    except OSError:
        return False
