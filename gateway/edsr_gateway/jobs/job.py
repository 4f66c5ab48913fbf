"""What a job is, and what its client is told of it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

Status = Literal["queued", "running", "done", "failed", "lost", "cancelled", "expired"]

FINISHED: tuple[Status, ...] = ("done", "failed", "lost")
"""Kept until they expire."""
LIVE: tuple[Status, ...] = ("queued", "running", *FINISHED)
"""These count: in number, and in bytes on disk."""
GONE: tuple[Status, ...] = ("cancelled", "expired")
"""Of these only the id is kept, for a time, so that it can be said what became of them."""


@dataclass(frozen=True)
class Job:
    """One picture or video to upscale when there is a worker for it.

    Attributes:
        id: 128 random bits, 32 hexadecimal digits.
        client: whose it is, as `client_of` says.
        status: queued -> running -> done, failed; lost if the gateways that worked on it stopped too often; cancelled
            and expired ones are gone.
        created: seconds since 1970.
        due: when something is to be done about it, in seconds since 1970. A queued job is not begun before, the holder
            of a running one has been silent too long after it, a finished one expires, a gone one is forgotten.
        holder: the gateway that works on it.
        attempts: how often a gateway has begun it and was not stopped in an orderly way.
        waits: how often in a row it was put back because no Triton could be reached.
        bytes: of its files on disk.
        done, total: tiles or frames.
        name: what the client calls it; for showing only.
        work: what the worker is asked for: the fields of `Work` without source and target.
        result: what the client is told of the result.
        problem: why there is none, as RFC 9457 has it.
        note: what it waits for, in words.
    """

    id: str
    client: str
    created: float
    work: Mapping[str, Any]
    name: str = ""
    status: Status = "queued"
    due: float = 0.0
    holder: str = ""
    attempts: int = 0
    waits: int = 0
    bytes: int = 0
    done: int = 0
    total: int | None = None
    result: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None
    note: str = ""

    @property
    def tag(self) -> str:
        """What the log calls it: not the whole id, which opens it where there are no keys."""
        return self.id[:8]

    def view(self) -> dict[str, Any]:
        """What the client is told."""
        return {
            "id": self.id,
            "status": self.status,
            "done": self.done,
            "total": self.total,
            "unit": "frames" if self.work.get("kind") == "video" else "tiles",
            "name": self.name,
            "created": _written(self.created),
            "expires": _written(self.due) if self.status in FINISHED else None,
            "note": self.note,
            "result": dict(self.result) if self.result is not None else None,
            "problem": dict(self.problem) if self.problem is not None else None,
            **urls(self.id),
        }

    def receipt(self) -> dict[str, Any]:
        """What the client is told when it brings the job."""
        return {"id": self.id, "status": self.status, **urls(self.id), "name": self.name}


def urls(job_id: str) -> dict[str, str]:
    """The addresses of a job, relative to the gateway."""
    status = f"/v1/jobs/{job_id}"
    return {"status_url": status, "events_url": f"{status}/events", "result_url": f"{status}/result"}


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
