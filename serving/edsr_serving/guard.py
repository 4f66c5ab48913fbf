"""Keeps a running server honest: a thread that ends it when it is not well; and the end in good order."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from .heartbeat import read_beats
from .log import stamped
from .options import ServerOptions
from .processes import backends_of, clean_up
from .watch import CHECK_S, Counters, Watch, counters

POLL_S = 0.1
# Answers that have just been made are still on their way to their clients.
FLUSH_S = 1.0
# Triton then ends by itself, unless an idle connection keeps it.
LEAVE_S = 4.0


class Guard:
    """Watches a server from `begin` to `close`, and ends it at once when it is not well.

    Attributes:
        ended: set when it did so.
        reason: why.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        beats: Path,
        options: ServerOptions,
        log: Path,
        shm_prefix: str,
        queues: Mapping[str, int],
    ) -> None:
        self._process, self._beats, self._options = process, beats, options
        self._log, self._shm_prefix, self._queues = log, shm_prefix, queues
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.ended = threading.Event()
        self.reason = ""

    def begin(self) -> None:
        """Watch, now that the server is ready."""
        backends = backends_of(self._process.pid)
        watch = Watch(self._process, backends, self._beats, self._options, self._queues)
        self._thread = threading.Thread(target=self._run, args=(watch,), name="guard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def say(self, text: str, level: str = "I") -> None:
        """Write a line into the server's log."""
        with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(stamped(text, level, "launcher") + "\n")

    def _run(self, watch: Watch) -> None:
        while not self._closed.wait(CHECK_S):
            self.reason = watch.trouble()
            while watch.notes:
                self.say(watch.notes.pop(0), "W")
            if self.reason:
                self.say(f"{self.reason}: ending the server", "E")
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                clean_up(self._process.pid, self._shm_prefix)
                self.ended.set()
                break
        watch.close()


def drain(
    process: subprocess.Popen[bytes], options: ServerOptions, beats: Path, timeout_s: float, hurry: threading.Event
) -> int:
    """Ask a server to end, and wait for its requests; returns how many are left when the time is over, or in a hurry.

    The process may be alive afterwards: Triton itself waits for idle connections, too.
    """
    if process.poll() is not None:
        return 0
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    busy_until = started
    while process.poll() is None:
        now = time.monotonic()
        if left := requests_left(process.pid, options, beats):
            busy_until = now
        if now - started > timeout_s or hurry.is_set():
            return left
        if now - busy_until > FLUSH_S + LEAVE_S:
            return 0
        hurry.wait(POLL_S)
    return 0


def requests_left(pid: int, options: ServerOptions, beats: Path) -> int:
    """Requests that a server still has to answer: those that wait, and those in work."""
    live = set(backends_of(pid))
    counted: Counters | None = counters(options, timeout_s=1.0)
    return sum(counted.pending.values() if counted else ()) + sum(
        beat.is_busy for beat in read_beats(beats) if beat.pid in live
    )
