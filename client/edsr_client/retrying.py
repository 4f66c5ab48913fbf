"""What may be tried again, and when; pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .errors import (
    EdsrError,
    NotTritonError,
    ServerBusyError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """How a tile that failed is sent again. An inference changes nothing on the server: sending it twice is safe.

    Attributes:
        retries: further attempts of one tile; 0 for none.
        first_delay_s, longest_delay_s: the delay doubles from one to the other.
    """

    retries: int = 6
    first_delay_s: float = 0.25
    longest_delay_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= 100:
            raise ValueError(f"retries must be 0 to 100, not {self.retries!r}")
        if not 0 <= self.first_delay_s <= self.longest_delay_s:
            raise ValueError(f"delays must not be negative, the first not over the longest: {self!r}")

    def delay_s(self, attempt: int) -> float:
        """The pause before attempt 1, 2, ..., in seconds: half of it drawn by chance, so that clients do not march in
        step ("equal jitter", aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter)."""
        whole = min(self.longest_delay_s, self.first_delay_s * 2.0 ** (attempt - 1))
        return whole / 2 + random.uniform(0, whole / 2)  # noqa: S311


def is_transient(error: EdsrError, other_servers: bool) -> bool:
    """Whether the same request may succeed later, or elsewhere. A time-out is repeated only where there is elsewhere:
    the same server would take as long again."""
    if isinstance(error, ServerTimeoutError):
        return other_servers
    if isinstance(error, NotTritonError):
        return other_servers
    return isinstance(error, (ServerUnreachableError, ServerNotReadyError, ServerBusyError))
