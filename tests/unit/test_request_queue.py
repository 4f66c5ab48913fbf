"""The queue of the CPU backend, with requests that are no more than what it asks of them."""

from __future__ import annotations

import threading
import time

from edsr_serving.request_queue import RequestQueue

FINAL = 1


class Request:
    """Stands for Triton's: a name, whether its client has gone, and what was sent."""

    def __init__(self, name: str, sent: list[str], gone: bool = False) -> None:
        self.name, self.sent, self.gone = name, sent, gone

    def get_response_sender(self) -> Request:
        return self

    def is_cancelled(self) -> bool:
        return self.gone

    def send(self, response: str, flags: int) -> None:
        assert flags == FINAL
        self.sent.append(f"{self.name} {response}")


def test_requests_are_answered_in_order_refused_when_full_and_skipped_when_gone() -> None:
    sent: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def answer(_: Request) -> str:
        started.set()
        assert go_on.wait(10)
        return "answered"

    observed: list[tuple[float, float]] = []
    waiting = RequestQueue(
        2,
        answer,
        lambda _: "refused",
        lambda _: "cancelled",
        FINAL,
        lambda waited, took: observed.append((waited, took)),
    )
    waiting.put(Request("a", sent))
    assert started.wait(10)
    for name, gone in (("b", False), ("c", True), ("d", False), ("e", False)):
        waiting.put(Request(name, sent, gone))
    assert sent == ["d refused", "e refused"]
    time.sleep(0.05)
    go_on.set()
    waiting.close()
    assert sent[2:] == ["a answered", "b answered", "c cancelled"]
    # the refused and the cancelled are not counted
    (first_waited, first_took), (second_waited, second_took) = observed
    assert first_took >= 0.05
    assert second_waited >= 0.05
    assert first_waited >= 0
    assert second_took >= 0
