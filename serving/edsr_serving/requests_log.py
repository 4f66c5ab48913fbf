"""One line in the server's log for each request that reaches a backend."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .log import say

LONGEST_ID = 64


def log_request(request_id: str, shape: Sequence[int], started: float, problem: str = "") -> None:
    """Say what was asked and how long it took.

    Args:
        request_id: as the client sent it (ours gives one to every tile), "" for none.
        shape: of the image, [N, H, W, 3]; () for one that was not looked at.
        started: time.monotonic() when the work began.
        problem: why the request failed, "" if it did not.
    """
    ended_ms = (time.monotonic() - started) * 1000
    name = "".join(c if c.isprintable() else "?" for c in request_id[:LONGEST_ID]) or "without an id"
    size = "x".join(map(str, shape))
    details = ", ".join(each for each in (size, problem or "done") if each)
    say(f"request {name}: {details} ({ended_ms:.1f} ms)", "W" if problem else "I", "request")
