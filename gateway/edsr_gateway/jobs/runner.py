"""Works on jobs: claims them one after the other, says that it is alive, writes down how they end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from edsr_client.errors import (
    EdsrError,
    OutputBusyError,
    ServerBusyError,
    ServerNotReadyError,
    ServerUnreachableError,
)

from ..errors import Problem, problem_of
from ..limits.limits import Limits
from ..workers.pool import WorkerPool
from ..workers.work import Done, Work
from .files import JobFiles, synced
from .job import FINISHED, GONE, Job
from .store import BEAT_S, LEASE_S, Change, Store, StoreAwayError, When

log = logging.getLogger("edsr_gateway")

MOST_ATTEMPTS = 3
"""A job during which this many gateways were killed is lost: it may well be what kills them."""
MOST_WAITS, LONGEST_WAIT_S = 30, 60.0
"""How often in a row a job waits for a Triton that is away, first for a second, then for twice as long each time."""
POLL_S = 1.0
TRY_AGAIN_S = 1.0
PASSING = (ServerUnreachableError, ServerNotReadyError, ServerBusyError, OutputBusyError)
"""Errors that are not the job's, and pass."""
WORK = frozenset(one.name for one in dataclasses.fields(Work))
TOLD = (
    *("format", "width", "height", "lr_width", "lr_height", "frames", "tiles", "retries"),
    *("model", "model_reason", "precision", "seconds", "notes"),
)
LOST = Problem(
    500,
    f"The gateway was stopped {MOST_ATTEMPTS} times while it worked on this job, and has given it up. "
    "The job may need more memory than there is. Send it again, or smaller.",
    title="The job was lost",
)
NO_FILES = Problem(
    500,
    "The files of this job are gone from the gateway's disk. Send it again.",
    title="The job was lost",
)


@dataclass
class _Running:
    """A job under way here."""

    job: Job
    done: int
    total: int | None
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """It is no longer ours: cancelled, or another gateway's."""
    is_too_large: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Runner:
    """Works on up to `count` jobs at a time.

    Args:
        store, files: where jobs are written down, and where their files are.
        pool: of workers.
        count: jobs at a time.
        limits: bounds of disk and time.
        holder: the name of this gateway.
    """

    def __init__(
        self, store: Store, files: JobFiles, pool: WorkerPool, count: int, limits: Limits, holder: str
    ) -> None:
        self._store, self._files, self._pool = store, files, pool
        self._limits, self._holder = limits, holder
        self._slots = asyncio.Semaphore(count)
        self._wake, self._ending = asyncio.Event(), asyncio.Event()
        self._running: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to claim jobs."""
        self._claiming = asyncio.create_task(self._claim_all())

    def wake(self) -> None:
        """There is a job: do not wait until you look again."""
        self._wake.set()

    def end(self) -> None:
        """Put running jobs back into the queue, and claim no more."""
        self._ending.set()
        self._wake.set()

    async def close(self) -> None:
        """`end`, and wait until it is done."""
        self.end()
        if self._claiming is not None:
            await self._claiming
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def progress(self, job_id: str) -> tuple[int, int | None] | None:
        """How far a job is that runs here; None if none of that id does."""
        found = self._running.get(job_id)
        return (found.done, found.total) if found is not None else None

    async def stop(self, job_id: str) -> None:
        """End the work on a job that is cancelled already, if it runs here. Its worker has ended when this returns."""
        found = self._running.get(job_id)
        if found is not None:
            found.taken.set()
            await found.ended.wait()

    async def _claim_all(self) -> None:
        while not self._ending.is_set():
            await self._slots.acquire()
            job: Job | None = None
            try:
                job = await self._next()
            except Exception:
                log.exception("jobs cannot be claimed; they are tried again")
                await asyncio.sleep(TRY_AGAIN_S)
            if job is None:
                self._slots.release()
            else:
                task = asyncio.create_task(self._work(job))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _next(self) -> Job | None:
        """The next job, as soon as there is one; None at the end."""
        is_away = False
        while not self._ending.is_set():
            self._wake.clear()
            try:
                await self._rescue()
                job = await self._store.claim(self._holder)
            except StoreAwayError as error:
                if not is_away:
                    log.warning("jobs wait: %s", error.why)
                is_away = True
            else:
                if is_away:
                    log.info("the list of jobs can be reached again")
                is_away = False
                if job is not None:
                    return job
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                if not self._ending.is_set():
                    await asyncio.wait_for(self._wake.wait(), POLL_S)
        return None

    async def _rescue(self) -> None:
        """Jobs whose gateway has fallen silent go back into the queue, or are lost."""
        for job in await self._store.jobs(["running"], overdue=True):
            if job.id not in self._running:  # a machine that slept wakes up with all of its own overdue
                await self.rescue(job, overdue=True)

    async def rescue(self, job: Job, *, overdue: bool) -> None:
        """Take a running job from a gateway that works no more."""
        when = When(["running"], job.holder, overdue=overdue)
        if job.attempts < MOST_ATTEMPTS:
            found = await self._store.change(job.id, when, Change("queued", 0, {"holder": ""}))
            if found is not None:
                log.warning("job %s goes on: its gateway has stopped", job.tag)
        else:
            await self._finish_without(job, when, "lost", LOST)

    async def _work(self, job: Job) -> None:
        running = _Running(job, job.done, job.total)
        self._running[job.id] = running
        try:
            await self._attempt(running)
        except Exception:
            log.exception("a mistake of the gateway's at job %s", job.tag)
            with contextlib.suppress(Exception):
                mistake = Problem(500, "The gateway made a mistake; its log says which. The picture is not at fault.")
                await self._finish_without(job, self._ours, "failed", mistake)
        finally:
            del self._running[job.id]
            running.ended.set()
            self._slots.release()

    @property
    def _ours(self) -> When:
        return When(["running"], self._holder)

    async def _attempt(self, running: _Running) -> None:
        """Work on a job until it is done, fails, is taken from us, or the gateway ends."""
        job = running.job
        if not await asyncio.to_thread(self._files.source(job.id).is_file):
            log.error("job %s: its files are not in %s", job.tag, self._files.parent)
            await self._finish_without(job, self._ours, "lost", NO_FILES)
            return
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._complete(running)),
            asyncio.create_task(self._beats(running)),
            asyncio.create_task(running.taken.wait()),
            asyncio.create_task(self._ending.wait()),
        ]
        completing = tasks[0]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if completing.done() and not completing.cancelled():
            completing.result()  # a mistake of ours comes to light
        elif running.is_too_large:
            await self._finish_without(job, self._ours, "failed", self.full())
        elif not running.taken.is_set():
            await self._put_back(job, job.created - time.time(), job.waits, "")  # before those that came later
        if running.taken.is_set():
            await self._leave(job)

    async def _complete(self, running: _Running) -> None:
        job = running.job
        target = self._files.result(job.id, job.work)
        asked = {name: value for name, value in job.work.items() if name in WORK}  # another version may have queued it
        work = Work(**{**asked, "source": self._files.source(job.id), "target": target, "in_memory_bytes": 0})

        def told(done: int, total: int | None) -> None:
            running.done, running.total = done, total

        try:
            done = await self._pool.run(work, told)
        except (EdsrError, Problem) as error:
            failed = partial(self._failed, running, error)
            await self._until_written(failed)
            return
        result, size = await asyncio.to_thread(self._settled, job, done)
        await self._until_written(partial(self._done, running, result, size))

    def _settled(self, job: Job, done: Done) -> tuple[dict[str, Any], int]:
        """What is said of a result that is on the disk, and its bytes."""
        target = self._files.result(job.id, job.work)
        synced(target)
        synced(target.parent)
        size = target.stat().st_size
        notes = [self._without_paths(job, note) for note in done.notes]
        return {**{name: getattr(done, name) for name in TOLD}, "notes": notes, "bytes": size}, size

    def _without_paths(self, job: Job, text: str) -> str:
        """What the client says of its files, without where they are on this machine."""
        for path, name in (
            (self._files.source(job.id), str(job.work["name"])),
            (self._files.result(job.id, job.work), "the result"),
            (self._files.folder(job.id), "the folder of the job"),
        ):
            text = text.replace(str(path), name)
        return text

    async def _done(self, running: _Running, result: dict[str, Any], size: int) -> None:
        job = running.job
        found = await self._store.get(job.id)
        others = await self._store.size() - (found.bytes if found is not None else 0)
        if others + size > self._limits.job_bytes:
            await self._finish_without(job, self._ours, "failed", self.full())
            return
        fields = {"result": result, "bytes": size, "holder": "", "note": "", "done": running.done}
        fields["total"] = running.total
        change = Change("done", self._limits.job_expiry_s, fields)
        if await self._store.change(job.id, self._ours, change) is not None:
            log.info("job %s of %s is done: %s s", job.tag, job.client, result["seconds"])
            await asyncio.to_thread(self._files.settle, job.id, self._files.result(job.id, job.work))
        else:
            running.taken.set()

    async def _failed(self, running: _Running, error: EdsrError | Problem) -> None:
        job = running.job
        problem = error if isinstance(error, Problem) else problem_of(error)
        problem.detail = self._without_paths(job, problem.detail)
        passes = problem.status == 503 if isinstance(error, Problem) else isinstance(error, PASSING)
        waits = 0 if running.done > job.done else job.waits  # it came further since
        if passes and waits < MOST_WAITS:
            wait_s = min(LONGEST_WAIT_S, 2.0**waits)
            log.warning("job %s waits: %s", job.tag, error)
            await self._put_back(job, wait_s, waits + 1, f"It is tried again: {problem.detail}")
        else:
            await self._finish_without(job, self._ours, "failed", problem)

    async def _finish_without(self, job: Job, when: When, status: Any, problem: Problem) -> None:
        fields = {"problem": problem.body(), "bytes": 0, "holder": "", "note": ""}
        if await self._store.change(job.id, when, Change(status, self._limits.job_expiry_s, fields)) is not None:
            log.info("job %s of %s %s: %d %s", job.tag, job.client, status, problem.status, problem.title)
            await asyncio.to_thread(self._files.remove, job.id)

    async def _put_back(self, job: Job, due_in: float, waits: int, note: str) -> None:
        fields = {"holder": "", "attempts": max(0, job.attempts - 1), "waits": waits, "note": note}
        with contextlib.suppress(StoreAwayError):  # another gateway then takes it, as from one that was killed
            await self._store.change(job.id, self._ours, Change("queued", due_in, fields))

    async def _until_written(self, write: Callable[[], Awaitable[None]]) -> None:
        """What has become of a job is not lost because its store is away for a while."""
        while True:
            try:
                await write()
            except StoreAwayError:
                await asyncio.sleep(TRY_AGAIN_S)
            else:
                return

    async def _beats(self, running: _Running) -> None:
        """Say that we are at it, until the job is ours no more or takes too much room."""
        job = running.job
        while True:
            await asyncio.sleep(BEAT_S)
            size = await asyncio.to_thread(self._files.size, job.id)
            fields = {"done": running.done, "total": running.total, "bytes": size}
            try:
                if await self._store.change(job.id, self._ours, Change(None, LEASE_S, fields)) is None:
                    running.taken.set()
                    return
                if size > job.bytes and await self._store.size() > self._limits.job_bytes:
                    running.is_too_large = True
                    return
            except StoreAwayError:
                continue

    async def _leave(self, job: Job) -> None:
        """A job that is not ours any more: if it is gone, nothing of it stays."""
        with contextlib.suppress(StoreAwayError):
            found = await self._store.get(job.id)
            if found is None or found.status in GONE or (found.status in FINISHED and found.bytes == 0):
                await asyncio.to_thread(self._files.remove, job.id)

    def full(self) -> Problem:
        """The problem of a job for which there is no room on the disk."""
        most = self._limits.job_bytes
        return Problem(
            507,
            f"The files of all jobs may take {most:,} bytes on the gateway's disk, and with this one they would take "
            "more. Fetch and delete finished jobs, or wait until they expire.",
            title="No room for jobs",
            limit="job_bytes",
            limit_bytes=most,
        )
