"""Finds out that a running server is not well: a process of it is dead, stopped or silent. A large request is not."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from .heartbeat import Beat, read_beats
from .options import ServerOptions
from .processes import GONE, STOPPED, cpu_ticks, state_of

CHECK_S = 0.25
PULSE_S = 2.0
# How long each may last, in time that was watched: a machine that slept or was frozen is no sign of anything.
STOPPED_S = 1.0
SILENT_S = 20.0  # a heartbeat comes five times a second
STUCK_S = 60.0  # a request in work that uses no processor
DEAF_S = 30.0  # no answer to the smallest question
IGNORED_S = 20.0  # requests wait, and a backend with nothing to do takes none
REJECTED = "they waited longer than their clients wanted"
METRIC = re.compile(
    r"^(nv_inference_pending_request_count|nv_inference_request_failure)\{([^}]*)\} ([0-9.eE+]+)$", re.M
)
LABEL = re.compile(r'(\w+)="([^"]*)"')
# No proxies: these are questions to our own server, whatever the environment says of the way out.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, timeout_s: float) -> bytes | None:
    """What a GET brings; None if that is no success."""
    with contextlib.suppress(OSError, HTTPException), _direct.open(url, timeout=timeout_s) as response:
        return bytes(response.read())
    return None


class Counters:
    """What Triton's /metrics say of the queues, by model."""

    def __init__(self, text: str) -> None:
        self.pending: dict[str, int] = {}
        self.failures: dict[tuple[str, str], int] = {}
        for name, labels, value in METRIC.findall(text):
            label = dict(LABEL.findall(labels))
            if name.endswith("failure"):
                self.failures[label.get("model", ""), label.get("reason", "")] = int(float(value))
            else:
                self.pending[label.get("model", "")] = int(float(value))


def counters(options: ServerOptions, timeout_s: float = 2.0) -> Counters | None:
    """Triton's counters now; None if they cannot be had."""
    text = fetch(f"http://{options.host}:{options.metrics_port}/metrics", timeout_s)
    return None if text is None else Counters(text.decode("utf-8", "replace"))


class _Durations:
    """How long each of several conditions has held, in time that was watched."""

    def __init__(self) -> None:
        self._held: dict[str, float] = {}
        self._last = time.monotonic()
        self._step = 0.0

    def tick(self, longest_s: float) -> None:
        now = time.monotonic()
        self._step, self._last = min(now - self._last, longest_s), now

    def of(self, name: str, holds: bool) -> float:
        self._held[name] = self._held.get(name, 0.0) + self._step if holds else 0.0
        return self._held[name]


class Watch:
    """Looks at a server's processes, at what its backends say, and whether it answers.

    Args:
        process: tritonserver.
        backends: ids of its backend processes.
        beats: folder of their heartbeats.
        options: where it listens.
        queues: how many requests may wait, by model.

    Attributes:
        notes: for the log, to be written and taken out by who asks.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        backends: Sequence[int],
        beats: Path,
        options: ServerOptions,
        queues: Mapping[str, int],
    ) -> None:
        self._process, self._backends, self._beats, self._options = process, tuple(backends), beats, options
        self._durations = _Durations()
        self._seen: dict[int, tuple[float, int]] = {}
        self._done: dict[str, int] = {}
        self.notes: list[str] = []
        self._queues = queues
        self._ended = threading.Event()
        self._deaf_s = 0.0
        self._counters: Counters | None = None
        threading.Thread(target=self._feel_pulse, name="pulse", daemon=True).start()

    def close(self) -> None:
        """Ask the server nothing more."""
        self._ended.set()

    def trouble(self) -> str:
        """Why the server must be ended, in a few words; "" if it is well. To be asked every CHECK_S seconds."""
        self._durations.tick(2 * CHECK_S)
        return self._dead() or self._stopped() or self._silent() or self._deaf()

    def _dead(self) -> str:
        code = self._process.poll()
        if code is not None:
            return f"tritonserver {how_it_ended(code)}"
        gone = [pid for pid in self._backends if state_of(pid) == GONE]
        return f"a backend process of {self._name(gone[0])} has died (pid {gone[0]})" if gone else ""

    def _stopped(self) -> str:
        for pid in (self._process.pid, *self._backends):
            if self._durations.of(f"stopped {pid}", state_of(pid) in STOPPED) >= STOPPED_S:
                what = "tritonserver" if pid == self._process.pid else f"a backend process of {self._name(pid)}"
                return f"{what} is stopped (pid {pid})"
        return ""

    def _silent(self) -> str:
        beats = self._live_beats()
        counted = self._counters
        for beat in beats:
            is_same = self._seen.get(beat.pid, (0.0, 0))[0] == beat.at_s
            ticks = cpu_ticks(beat.pid)
            is_idle = beat.is_busy and ticks == self._seen.get(beat.pid, (0.0, -1))[1]
            self._seen[beat.pid] = (beat.at_s, ticks)
            if self._durations.of(f"silent {beat.pid}", is_same) >= SILENT_S:
                return f"a backend process of {beat.model} gives no sign of life (pid {beat.pid})"
            if self._durations.of(f"stuck {beat.pid}", is_idle) >= STUCK_S:
                return f"a backend process of {beat.model} is stuck in a request (pid {beat.pid})"
        for model in {beat.model for beat in beats}:
            waiting = counted.pending.get(model, 0) if counted else 0
            is_ignored = waiting > 0 and not any(beat.is_busy for beat in beats if beat.model == model)
            done = sum(beat.done for beat in beats if beat.model == model)
            is_same, self._done[model] = done == self._done.get(model), done
            if self._durations.of(f"ignored {model}", is_ignored and is_same) >= IGNORED_S:
                return f"requests for {model} wait, and no backend process takes them"
        return ""

    def _deaf(self) -> str:
        return f"tritonserver does not answer at {self._options.http_url}" if self._deaf_s >= DEAF_S else ""

    def _live_beats(self) -> list[Beat]:
        return [beat for beat in read_beats(self._beats) if beat.pid in self._backends]

    def _name(self, pid: int) -> str:
        return next((beat.model for beat in self._live_beats() if beat.pid == pid), "a model")

    def _feel_pulse(self) -> None:
        """In a thread of its own, because an answer may be slow to come."""
        while not self._ended.wait(PULSE_S):
            started = time.monotonic()
            if fetch(f"http://{self._options.http_url}/v2/health/live", timeout_s=5.0) is None:
                self._deaf_s += min(time.monotonic() - started, 5.0) + PULSE_S
            else:
                self._deaf_s = 0.0
            if (now := counters(self._options)) is not None:
                earlier = self._counters.failures if self._counters else {}
                self.notes += failure_lines(earlier, now.failures)
                was = self._counters.pending if self._counters else {}
                self.notes += queue_lines(self._queues, was, now.pending)
                self._counters = now


def failure_lines(before: dict[tuple[str, str], int], after: dict[tuple[str, str], int]) -> list[str]:
    """What Triton has refused or failed on between two counts; it logs none of it itself."""
    lines = []
    for (model, reason), count in sorted(after.items()):
        if new := count - before.get((model, reason), 0):
            why = REJECTED if reason == "REJECTED" else f"reason {reason}"
            lines.append(f"{new} request(s) for {model} refused or failed: {why}")
    return lines


def queue_lines(queues: Mapping[str, int], before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Which queues have become full, or are so no more. Triton counts no request that it refuses for that reason."""
    lines = []
    for model, size in queues.items():
        was_full, is_full = before.get(model, 0) >= size, after.get(model, 0) >= size
        if is_full and not was_full:
            lines.append(f"the queue of {model} is full ({size} requests wait): further ones are refused")
        elif was_full and not is_full:
            lines.append(f"the queue of {model} has room again")
    return lines


def how_it_ended(code: int) -> str:
    """A return code of subprocess in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
