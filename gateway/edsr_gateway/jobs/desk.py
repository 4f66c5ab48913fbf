"""What routes ask of jobs: take one in, say how it is, give its result, cancel it; and the sweeping behind them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..errors import Problem
from ..limits.scratch import Scratch
from ..settings import Settings
from ..workers.pool import WorkerPool
from ..workers.work import Work
from .files import ID, JobFiles
from .job import FINISHED, GONE, LIVE, Job
from .runner import Runner
from .store import Bounds, Change, FullError, Store, StoreAwayError, When
from .stores import jobs_folder

log = logging.getLogger("edsr_gateway")

GONE_S, MOST_GONE = 24 * 3600.0, 10_000
"""How long it is known of a job that is gone what became of it, and of how many."""
SWEEP_S = 30.0
ORPHANS_EVERY_S = 600.0
FULL_AGAIN_S = 60
_WIPED: dict[str, Any] = {"name": "", "result": None, "bytes": 0, "holder": "", "note": "", "done": 0, "total": None}


class JobDesk:
    """All jobs of this gateway, or of several that share a store and a folder.

    Args:
        settings: limits, folder, workers.
        store: where jobs are written down.
        pool: of workers for jobs.
        scratch: of this gateway.
    """

    def __init__(self, settings: Settings, store: Store, pool: WorkerPool, scratch: Scratch) -> None:
        limits = settings.limits
        self.limits = limits
        self._are_owned = settings.keys is not None
        self._is_shared = settings.redis is not None
        self._store, self._scratch = store, scratch
        self.files = JobFiles(jobs_folder(settings))
        self._bounds = Bounds(limits.jobs, limits.jobs_per_client, limits.job_bytes)
        self.runner = Runner(store, self.files, pool, settings.job_workers, limits, scratch.folder.name)
        self.ending = asyncio.Event()
        """Set when the gateway has been told to stop."""
        self._coming: dict[object, tuple[str, int]] = {}
        self.listeners: Counter[str] = Counter()
        """Streams of events that are open, by client."""
        self._sweeping: asyncio.Task[None] | None = None

    async def pause(self, seconds: float) -> None:
        """Sleep, but not when the gateway is about to stop."""
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self.ending.wait(), seconds)

    async def start(self) -> None:
        """Go on with what another gateway, or this one before, has left."""
        if not self._is_shared:
            with contextlib.suppress(StoreAwayError):
                await self._take_over()
        self.runner.start()
        self._sweeping = asyncio.create_task(self._sweep_all())

    def end(self) -> None:
        """The gateway is about to stop: put running jobs back, end streams of events. Returns at once."""
        self.ending.set()
        self.runner.end()

    async def close(self) -> None:
        """`end`, and wait until it is done; then let go of the store."""
        self.end()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await self.runner.close()
        await self._store.close()

    @contextlib.asynccontextmanager
    async def room(self, client: str, announced: int | None, most: int) -> AsyncIterator[int]:
        """Keep room for an upload while it comes in: uploads together never take more than there is for all jobs.

        Args:
            client: whose job it will be.
            announced: bytes that the upload says it has; None if it does not say.
            most: bytes that one upload may have.

        Returns:
            Bytes that this one may have.

        Raises:
            Problem: 429, too many jobs; 503, the store is away; 507, no room on the disk.
        """
        jobs = await self._store.jobs()
        if len(jobs) + len(self._coming) >= self._bounds.jobs:
            raise self._full("jobs")
        own = sum(job.client == client for job in jobs) + sum(one == client for one, _ in self._coming.values())
        if own >= self._bounds.jobs_per_client:
            raise self._full("jobs_per_client")
        left = self._bounds.job_bytes - sum(job.bytes for job in jobs) - sum(kept for _, kept in self._coming.values())
        asked = most if announced is None else min(announced, most)  # what announces more than `most` is refused by it
        if left <= 0 or (announced is not None and asked > left):
            raise self._full("job_bytes")
        kept, key = min(asked, left), object()
        self._coming[key] = (client, kept)
        try:
            yield min(most, left)
        finally:
            del self._coming[key]

    async def accept(self, work: Work, client: str, name: str) -> Job:
        """Queue a job. A source that is a file is moved away.

        Args:
            work: what is to be done; its target is of no account.
            client: whose it is.
            name: what the client calls it; for showing only.

        Raises:
            Problem: 429, too many jobs; 503, the store is away; 507, no room on the disk.
        """
        job_id = secrets.token_hex(16)
        try:
            size = await asyncio.to_thread(self.files.put, job_id, work.source, self._scratch.path())
        except OSError as error:
            raise _no_space(error) from None
        asked = {
            one.name: getattr(work, one.name)
            for one in dataclasses.fields(work)
            if one.name not in ("source", "target", "in_memory_bytes")
        }
        job = Job(job_id, client, time.time(), asked, name, bytes=size)
        try:
            await self._store.add(job, self._bounds)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(self.files.remove, job_id))
            if isinstance(error, FullError):
                raise self._full(error.bound) from None
            raise
        self.runner.wake()
        return job

    async def find(self, job_id: str, client: str) -> Job:
        """A job as it is now.

        Raises:
            Problem: 404, there is none, or it is somebody else's; 410, it has expired; 503, the store is away.
        """
        job = await self._store.get(job_id) if ID.fullmatch(job_id) else None
        if job is None or (self._are_owned and job.client != client):
            raise Problem(404, "There is no such job. Jobs are forgotten some time after they expire.")
        if job.status == "expired" or (job.status in FINISHED and job.due <= time.time()):
            raise Problem(410, "This job has expired; its files are removed. Send it again.")
        progress = self.runner.progress(job_id) if job.status == "running" else None
        return dataclasses.replace(job, done=progress[0], total=progress[1]) if progress is not None else job

    async def of(self, client: str) -> list[Job]:
        """All jobs of a client, the newest first.

        Raises:
            Problem: 403, nobody's are known to be his; 503, the store is away.
        """
        if not self._are_owned:
            raise Problem(403, "Jobs are listed only where API keys are on: without keys nobody's jobs are his own.")
        now = time.time()
        found = [job for job in await self._store.jobs(client=client) if job.status not in FINISHED or job.due > now]
        return sorted(found, key=lambda job: job.created, reverse=True)

    async def cancel(self, job_id: str, client: str) -> None:
        """Stop a job if it runs, here or elsewhere, and remove its files and its result.

        Raises:
            Problem: 404, there is none, or it is somebody else's; 503, the store is away.
        """
        try:
            await self.find(job_id, client)
        except Problem as problem:
            if problem.status != 410:
                raise
        await self._store.change(job_id, When(LIVE), Change("cancelled", GONE_S, _WIPED))
        await self.runner.stop(job_id)
        await asyncio.to_thread(self.files.remove, job_id)

    async def result(self, job: Job) -> Path:
        """Where the result of a job is.

        Raises:
            Problem: 409, it is not finished; 410, it is cancelled or its file is gone; or why there is no result.
        """
        if job.status == "cancelled":
            raise Problem(410, "This job was cancelled; its files are removed.")
        if job.problem is not None:
            raise _problem_of(job.problem)
        if job.status != "done":
            raise Problem(
                409,
                f"The job is not finished: it is {job.status}. Ask again later, or follow its events.",
                title="The job is not finished",
                headers={"Retry-After": "2"},
            )
        path = self.files.result(job.id, job.work)
        if not await asyncio.to_thread(path.is_file):
            raise Problem(410, "The file of this result is gone from the gateway's disk. Send it again.")
        return path

    async def _take_over(self) -> None:
        """Jobs of gateways on this machine that were killed go on at once, for their locks tell that they are dead."""
        for job in await self._store.jobs(["running"]):
            if not (self._scratch.folder.parent / job.holder).is_dir():
                await self.runner.rescue(job, overdue=False)

    async def _sweep_all(self) -> None:
        pause_s = min(SWEEP_S, max(0.2, self.limits.job_expiry_s / 4))
        next_orphans = 0.0
        while True:
            try:
                await self._sweep()
                if time.monotonic() >= next_orphans:
                    await self._remove_orphans()
                    next_orphans = time.monotonic() + ORPHANS_EVERY_S
            except StoreAwayError:
                pass  # the runner says so
            except Exception:
                log.exception("expired jobs cannot be removed; it is tried again")
            await asyncio.sleep(pause_s)

    async def _sweep(self) -> None:
        for job in await self._store.jobs(FINISHED, overdue=True):
            if await self._store.change(job.id, When(FINISHED, overdue=True), Change("expired", GONE_S, _WIPED)):
                await asyncio.to_thread(self.files.remove, job.id)
        await self._store.forget(MOST_GONE)

    async def _remove_orphans(self) -> None:
        """Folders that a gateway left when it was killed between a job's files and its line in the store."""
        for job_id in await asyncio.to_thread(self.files.orphans):
            job = await self._store.get(job_id)
            if job is None or job.status in GONE:
                await asyncio.to_thread(self.files.remove, job_id)

    def _full(self, bound: str) -> Problem:
        limits = self.limits
        if bound == "job_bytes":
            return self.runner.full()
        says, most = {
            "jobs": ("The gateway keeps up to {} jobs, and has that many.", limits.jobs),
            "jobs_per_client": ("You may have up to {} jobs, and have that many.", limits.jobs_per_client),
        }[bound]
        return Problem(
            429,
            f"{says.format(most)} Delete finished ones, or wait until they expire.",
            title="Too many jobs",
            headers={"Retry-After": str(FULL_AGAIN_S)},
            limit=bound,
            limit_jobs=most,
        )


def _problem_of(body: Any) -> Problem:
    members = {name: value for name, value in body.items() if name not in ("type", "title", "status", "detail")}
    return Problem(int(body["status"]), str(body["detail"]), title=str(body["title"]), **members)


def _no_space(error: OSError) -> Problem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(507, "The gateway's disk is full. Try again later.", title="No room for jobs")
    log.error("the files of a job cannot be written: %s", error)
    return Problem(507, "The gateway cannot write the files of a job; its log says why.", title="No room for jobs")
