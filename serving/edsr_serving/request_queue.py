"""A queue with a limit between Triton and the inference, in the backend's own process.

Triton limits a queue only as a part of dynamic batching, whose scheduler can miss a wake-up and then sleeps 500 ms; and
the queue it has otherwise grows for ever. Here `execute` returns at once, so that Triton hands over every request when
it comes; one that finds the queue full is refused within milliseconds, and one whose client has gone is not computed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

DEFAULT_SIZE = 32


class RequestQueue:
    """Answers requests one after the other in a thread of its own.

    Args:
        size: requests that may wait, beside the one that is computed.
        answer: makes the response to a request; must not raise.
        refuse: makes the response to one that finds the queue full.
        cancelled: makes the response to one whose client has gone.
        final: Triton's flag of a last response.
        observe: told, after each answer, how long its request waited and how long `answer` took, in seconds.
    """

    def __init__(
        self,
        size: int,
        answer: Callable[[Any], Any],
        refuse: Callable[[Any], Any],
        cancelled: Callable[[Any], Any],
        final: int,
        observe: Callable[[float, float], None] = lambda waited_s, took_s: None,
    ) -> None:
        self._waiting: queue.Queue[tuple[Any, Any, float] | None] = queue.Queue(size)
        self._answer, self._refuse, self._cancelled, self._final = answer, refuse, cancelled, final
        self._observe = observe
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def put(self, request: Any) -> None:
        """Take a request over; it is answered later, or refused now."""
        sender = request.get_response_sender()
        try:
            self._waiting.put_nowait((request, sender, time.monotonic()))
        except queue.Full:
            sender.send(self._refuse(request), flags=self._final)

    def close(self) -> None:
        """Answer what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            request, sender, came = job
            if request.is_cancelled():
                sender.send(self._cancelled(request), flags=self._final)
            else:
                started = time.monotonic()
                response = self._answer(request)
                took = time.monotonic() - started
                sender.send(response, flags=self._final)
                self._observe(started - came, took)
                del response  # it holds shared memory, and so do these
            del job, request, sender
