"""Where jobs are written down: what every store does, and how it fails.

Why no task library: huey, which has SQLite and Redis, takes a task out of its queue when a worker begins it and knows
no acknowledgement. Its documentation says that a task is lost when its consumer is killed. A job here must go on in
that case, or say that it was lost; it also has progress, an owner, a bound on disk, and an end by another gateway. What
that takes beside a library is more than the two stores themselves.

How nothing is lost: a gateway that begins a job holds it for LEASE_S and says so again every BEAT_S. If it falls
silent, another one takes the job over, with all that was done of it. Every change names the state it starts from, so
that of two gateways one wins and the other is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import Problem
from .job import LIVE, Job, Status

BEAT_S = 1.0
LEASE_S = 15.0


class StoreAwayError(Problem):
    """The store cannot be asked now; it may come back. `why` is for the gateway's log, not for strangers."""

    def __init__(self, why: str) -> None:
        super().__init__(503, "The gateway cannot reach its list of jobs now. Try again in a moment.")
        self.why = why


class StoreBrokenError(Exception):
    """The store cannot be used at all; somebody must do what the message says."""


class FullError(Exception):
    """A bound was reached: `bound` is the name of the limit."""

    def __init__(self, bound: str) -> None:
        super().__init__(bound)
        self.bound = bound


@dataclass(frozen=True)
class Bounds:
    """What all jobs together may take; as in `Limits`."""

    jobs: int
    jobs_per_client: int
    job_bytes: int


@dataclass(frozen=True)
class When:
    """The state a change starts from. In any other nothing is changed.

    Attributes:
        status: one of these.
        holder: the gateway that holds it; None for any.
        overdue: whether its time must have come.
    """

    status: Sequence[Status] = LIVE
    holder: str | None = None
    overdue: bool = False


@dataclass(frozen=True)
class Change:
    """What becomes of a job.

    Attributes:
        status: the new one; None leaves it.
        due_in: seconds from now, by the store's clock; None leaves it.
        fields: any others of `Job`, but not id, client, created, status, due.
    """

    status: Status | None = None
    due_in: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


class Store(Protocol):
    """A list of jobs that outlives the gateway. Every method is atomic, and raises StoreAwayError if it cannot be."""

    async def close(self) -> None:
        """Let go of it."""

    async def add(self, job: Job, bounds: Bounds) -> None:
        """Queue a job.

        Raises:
            FullError: with it a bound would be passed.
        """

    async def get(self, job_id: str) -> Job | None:
        """One job; a gone one too."""

    async def jobs(
        self, status: Sequence[Status] = LIVE, *, client: str | None = None, overdue: bool = False
    ) -> list[Job]:
        """All in one of these states, the earliest due first."""

    async def claim(self, holder: str) -> Job | None:
        """Begin the next queued job: it is running, and held for LEASE_S.

        First come those of which something is done already; then one of the client whose last turn is longest ago; of
        these the one that was due first. So nobody waits for all the jobs of another.
        """

    async def change(self, job_id: str, when: When, change: Change) -> Job | None:
        """Change one job; the changed one, or None if it was not in that state."""

    async def size(self) -> int:
        """On disk, of all jobs."""

    async def forget(self, most: int) -> None:
        """Remove gone jobs whose time has come, and the first due of those beyond `most`."""
