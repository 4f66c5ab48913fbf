"""One line in the server's log for each request that has an id: the client gives one to every tile."""

from __future__ import annotations

import time
from collections.abc import Sequence

LONGEST_ID = 64


def log_request(request_id: str, shape: Sequence[int], started: float, problem: str = "") -> None:
    """Say what was asked and how long it took.

    Requests without an id are not logged: load tests send none.

    Args:
        request_id: as the client sent it, "" for none.
        shape: of the image, [N, H, W, 3]; () for one that was not looked at.
        started: time.monotonic() when the work began.
        problem: why the request failed, "" if it did not.
    """
    if not request_id:
        return
    ended_ms = (time.monotonic() - started) * 1000
    name = "".join(c if c.isprintable() else "?" for c in request_id[:LONGEST_ID])
    size = "x".join(map(str, shape))
    details = ", ".join(each for each in (size, problem or "done") if each)
    print(f"request {name}: {details} ({ended_ms:.1f} ms)", flush=True)  # noqa: T201
