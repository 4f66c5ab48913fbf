"""How much may be under way at a time. What is too much is refused at once, so that nobody waits for nothing."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from ..errors import Problem
from .limits import Limits

UPLOADS_FACTOR = 4
"""Uploads take no worker and little memory: so many more may be under way than pictures."""


class Admission:
    """Counts what is under way, in all and by client. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._uploads: Counter[str] = Counter()
        self._pictures: Counter[str] = Counter()
        self._results: Counter[str] = Counter()
        self.pixels = 0
        """LR pixels that are under way or wait."""

    @property
    def uploads(self) -> int:
        """Uploads that are coming in."""
        return self._uploads.total()

    @property
    def pictures(self) -> int:
        """Pictures that are under way or wait."""
        return self._pictures.total()

    @contextlib.contextmanager
    def upload(self, client: str) -> Iterator[None]:
        """Count an upload while it comes in.

        Raises:
            Problem: 429, there are too many.
        """
        most, each = self._limits.in_flight * UPLOADS_FACTOR, self._limits.in_flight_per_client * UPLOADS_FACTOR
        with _counted(self._uploads, client, most, each, "uploads"):
            yield

    @property
    def results(self) -> int:
        """Results that are being made or sent."""
        return self._results.total()

    @contextlib.contextmanager
    def result(self, client: str) -> Iterator[None]:
        """Count a result from before it is made until it is sent: who does not read them gets no more of them.

        Raises:
            Problem: 429, there are too many.
        """
        most, each = self._limits.in_flight * UPLOADS_FACTOR, self._limits.in_flight_per_client * UPLOADS_FACTOR
        with _counted(self._results, client, most, each, "results"):
            yield

    @contextlib.contextmanager
    def picture(self, client: str, pixels: int) -> Iterator[None]:
        """Count a picture of so many LR pixels while it is under way. One alone may have any number that is allowed.

        Raises:
            Problem: 429, there are too many.
        """
        limits = self._limits
        if self.pixels and self.pixels + pixels > limits.pixels_in_flight:
            raise Problem(
                429,
                f"Pictures of {self.pixels:,} pixels are under way; with this one of {pixels:,} it would be more than "
                f"{limits.pixels_in_flight:,}. Try again in a moment.",
                limit=limits.pixels_in_flight,
            )
        with _counted(self._pictures, client, limits.in_flight, limits.in_flight_per_client, "pictures"):
            self.pixels += pixels
            try:
                yield
            finally:
                self.pixels -= pixels


@contextlib.contextmanager
def _counted(counter: Counter[str], client: str, most: int, each: int, what: str) -> Iterator[None]:
    if counter.total() >= most:
        raise Problem(
            429, f"{most} {what} are under way, which is as many as may be. Try again in a moment.", limit=most
        )
    if counter[client] >= each:
        raise Problem(
            429, f"{each} of your {what} are under way, which is as many as may be. Wait for one.", limit=each
        )
    counter[client] += 1
    try:
        yield
    finally:
        counter[client] -= 1
        if not counter[client]:
            del counter[client]
