"""A server whose process dies or stops while it loads its models: Triton waits for it for ever."""

from __future__ import annotations

import time

from .processes import STOPPED, backends_of, cpu_ticks, state_of

# Triton starts a backend process to read a model's configuration, ends it, and starts those that stay: there may be
# none for a moment. And what fails to load ends by itself, tritonserver after it, with the reason in its log.
GRACE_S = 5.0
# Loading takes the processor. A server without all of its processes that has used less than so much of it waits for one
# that has died before it could be seen here.
IDLE_S, IDLE_TICKS = 8.0, 20


class Loading:
    """Looks at a server that is not ready yet.

    Args:
        pid: of tritonserver.
        stubs: how many backend processes it will have.
    """

    def __init__(self, pid: int, stubs: int) -> None:
        self._pid, self._stubs = pid, stubs
        self._most = 0
        self._busy_at_s, self._ticks = time.monotonic(), 0
        self._well_at_s = time.monotonic()

    def trouble(self) -> str:
        """Why it will never be ready, in a few words; "" if that is not so. To be asked again and again."""
        backends = backends_of(self._pid)
        self._most = max(self._most, len(backends))
        stopped = [pid for pid in (self._pid, *backends) if state_of(pid) in STOPPED]
        is_short = self._most >= self._stubs > len(backends)
        now = time.monotonic()
        ticks = cpu_ticks(self._pid) + sum(map(cpu_ticks, backends))
        if not 0 <= ticks - self._ticks < IDLE_TICKS or len(backends) >= self._stubs:
            self._busy_at_s, self._ticks = now, ticks
        if now - self._busy_at_s >= IDLE_S:
            return "a backend process of it has died while it was loading"
        if not stopped and not is_short:
            self._well_at_s = now
        if now - self._well_at_s < GRACE_S:
            return ""
        if stopped:
            return f"a process of it is stopped (pid {stopped[0]})"
        return "a backend process of it has died while it was loading"
