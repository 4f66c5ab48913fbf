"""How fast a server is with our requests, and when it will want the next one; pure but for the time it is told.

A request that waits at a server keeps others waiting: whoever comes after it is answered after it. So the next tile of
a picture is not sent when the last one is, but shortly before that will be answered. No server is ever idle, and
somebody else's small picture waits for one tile, not for two.
"""

from __future__ import annotations

# The next request is sent so long before it will be wanted: enough to cut it, send it, and be wrong.
LEAD_S = 0.15
# Smaller requests say nothing of the time that a tile takes.
TELLING_PX = 16_384
NEW_SHARE = 0.5


class Pace:
    """Of one server.

    Args:
        instances: requests that it computes at a time.
        pixels_per_s: what one instance computes, LR, as far as that is known.
    """

    def __init__(self, instances: int = 1, pixels_per_s: float | None = None) -> None:
        self.instances, self.pixels_per_s = instances, pixels_per_s
        self._ends: dict[int, float] = {}
        self._last_answer = 0.0

    def sent(self, request: int, pixels: int, now: float) -> None:
        """A request of so many LR pixels is on its way."""
        busy = sorted(self._ends.values())
        starts = max(now, busy[-self.instances]) if len(busy) >= self.instances else now
        self._ends[request] = starts + (pixels / self.pixels_per_s if self.pixels_per_s else 0.0)

    def answered(self, request: int, pixels: int, sent: float, now: float) -> None:
        """It was answered; how long the server has worked on it is known from the answer before."""
        self.ended(request)
        took = now - max(sent, self._last_answer)
        self._last_answer = now
        if pixels >= TELLING_PX and took > 0:
            found = pixels / took
            known = self.pixels_per_s
            self.pixels_per_s = found if known is None else NEW_SHARE * found + (1 - NEW_SHARE) * known

    def ended(self, request: int) -> None:
        """There will be no answer to it, or there was one."""
        self._ends.pop(request, None)

    def wait_s(self, now: float) -> float:
        """How long until the next request should be sent; 0 for now. Longer means: or when an answer comes."""
        if len(self._ends) < self.instances:
            return 0.0
        first_end = sorted(self._ends.values())[len(self._ends) - self.instances]
        return max(0.0, first_end - LEAD_S - now)
