"""A run over a folder: what is to be made is found, made and recorded, several pictures at a time.

Reading, encoding and writing happen in threads while the servers work on other pictures, decoding in processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..async_upscaler import AsyncUpscaler
from ..errors import (
    AccessDeniedError,
    BadImageError,
    DecoderDiedError,
    EdsrError,
    ModelContractError,
    ModelNotFoundError,
    OutputError,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
)
from ..files import FileResult, is_there, read_all
from ..pictures.budget import max_file_bytes
from ..pictures.decode import Picture
from ..staged import Identity, Staged, remove_leftovers
from . import sources
from .decoding import Decoders
from .folder import held
from .manifest import BEGUN, DONE, ENDED, FAILED, Decision, Manifest, decide
from .options import BatchOptions, Estimate, Outcome, Summary
from .sources import Job, OwnResult, Problem, Sources

# Decoded pictures that are worked on at a time; upscaled and encoded they take about 60 times as many bytes.
PIXELS_AT_A_TIME = 16_000_000
# Decoded before there is room for them: to ask for their size first would cost as much.
SMALL_PIXELS = 1_000_000
# The first may have been for want of memory.
MOST_DEATHS = 2
FOUND_AT_A_TIME = 64
SYNC_EVERY_S = 1.0
READ_ATTEMPTS, READ_PAUSE_S = 3, 0.2
OUTAGE_PAUSE_S = 2.0
# A server that refuses everything is no reason to try a million pictures.
REFUSALS_IN_A_ROW = 20
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
GONE = (ServerUnreachableError, ServerNotReadyError, ServerBusyError, ServerTimeoutError)
HOPELESS = (AccessDeniedError, ModelNotFoundError, ModelContractError)

GIVEN_UP = (
    "its decoder died of it in two runs, so it was not tried again. Convert it with another program. A changed "
    "file, or --overwrite, is tried."
)

Tell = Callable[[Outcome], None]
Note = Callable[[str], None]


async def run_batch(
    upscaler: AsyncUpscaler,
    named: Sequence[str],
    out: Path,
    options: BatchOptions,
    *,
    listed: Sequence[str] = (),
    tell: Tell = lambda outcome: None,
    note: Note = lambda words: None,
    summary: Summary | None = None,
) -> Summary:
    """Upscale all pictures of folders, files and patterns into a folder.

    What is there is left; the same call after an interruption goes on where that happened. `out` then holds the results
    and `edsr-manifest.jsonl`, a line for every picture.

    Args:
        upscaler: connected or not.
        named: folders, files, patterns.
        out: folder of the results; made if need be.
        options: see there.
        listed: more files, by name.
        tell: called with every picture that was made or failed.
        note: called with what a person should know meanwhile.
        summary: counts into this one, so that it can be looked at meanwhile.

    Raises:
        BadImageError: a name leads nowhere.
        OutputError: `out` cannot be written, or the disk is full; OutputBusyError: another run writes there.
        ServerError: the servers are gone for longer than options.patience_s, or refuse everything.
    """
    looked_for = options.sources(named, listed, out)
    sources.check(looked_for)
    model, compressed = await upscaler.model_info(), await upscaler.compressed_model_info()
    summary = summary if summary is not None else Summary()
    started = time.monotonic()
    with held(out) as scratch:
        try:
            manifest = Manifest(out, scratch)
        except OSError as error:
            raise OutputError(f"Cannot write to {out}: {error.strerror}.") from None
        with manifest:
            jobs = options.jobs or _jobs(model.instances, len(upscaler.urls))
            decoders = Decoders(min(jobs, os.cpu_count() or 1))
            settings = options.digest(model, compressed, self_ensemble=upscaler.self_ensemble)
            run = _Run(upscaler, manifest, looked_for, options, settings, decoders, tell, note, summary)
            try:
                await run.work(jobs)
            except _Stop as stop:
                raise stop.error from None
            finally:
                await asyncio.to_thread(decoders.close)
                summary.seconds = time.monotonic() - started
    return summary


async def estimate(
    upscaler: AsyncUpscaler,
    named: Sequence[str],
    out: Path,
    options: BatchOptions,
    *,
    listed: Sequence[str] = (),
    note: Note = lambda words: None,
) -> Estimate:
    """What `run_batch` would do; nothing is written.

    Raises:
        BadImageError, OutputError: as `run_batch`.
    """
    looked_for = options.sources(named, listed, out)
    sources.check(looked_for)
    to_make = unreadable = left_alone = pixels = 0
    found = sources.find(looked_for)
    decoders = Decoders()
    try:
        while batch := await asyncio.to_thread(lambda: list(islice(found, FOUND_AT_A_TIME))):
            for each in batch:
                if isinstance(each, OwnResult):
                    continue
                if isinstance(each, Problem):
                    unreadable += 1
                elif not options.overwrite and await asyncio.to_thread(is_there, out / each.target):
                    left_alone += 1
                else:
                    to_make += 1
                    size = await _size(decoders, each.source, options)
                    unreadable += size == 0
                    pixels += size
    finally:
        await asyncio.to_thread(decoders.close)
    try:
        seconds: float | None = pixels * await _seconds_per_pixel(upscaler)
    except ServerError as error:
        note(f"no estimate of time: {error}")
        seconds = None
    return Estimate(to_make, pixels / 1e6, unreadable, left_alone, seconds)


class _Run:
    def __init__(
        self,
        upscaler: AsyncUpscaler,
        manifest: Manifest,
        looked_for: Sources,
        options: BatchOptions,
        settings: str,
        decoders: Decoders,
        tell: Tell,
        note: Note,
        summary: Summary,
    ) -> None:
        self._upscaler, self._manifest, self._looked_for, self._options = upscaler, manifest, looked_for, options
        self._settings, self._tell, self._note, self.summary = settings, tell, note, summary
        self._decoders = decoders
        self._pixels = _Budget(PIXELS_AT_A_TIME)
        self._ready: list[tuple[Job, Decision]] = []
        self._finding = asyncio.Lock()
        self._found: Iterator[Job | Problem | OwnResult] = sources.find(looked_for)
        self._clean: set[Path] = set()
        self._refusals = 0
        self._last_answer = time.monotonic()
        self._is_outage = False
        unfinished = manifest.unfinished
        # An interrupted run that makes everything anew is gone on with, not begun again.
        goes_on = unfinished is not None and options.overwrite and unfinished.get("settings") == settings
        self._id = str(unfinished["run"]) if goes_on and unfinished else uuid.uuid4().hex[:12]

    async def work(self, jobs: int) -> None:
        """Everything; the first failure that concerns all ends all."""
        self._write({"status": BEGUN, "run": self._id, "settings": self._settings, "time": _now()})
        workers = [asyncio.ensure_future(self._worker()) for _ in range(jobs)]
        syncing = asyncio.ensure_future(self._sync())
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (*workers, syncing):
                task.cancel()
            await asyncio.gather(*workers, syncing, return_exceptions=True)
        self._write({"status": ENDED, "run": self._id, "time": _now()})
        await asyncio.to_thread(self._to_disk)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            await asyncio.to_thread(self._to_disk)

    def _to_disk(self) -> None:
        try:
            self._manifest.sync()
        except OSError as error:
            raise _Stop(OutputError(f"Cannot write to {self._looked_for.out}: {error.strerror}.")) from None

    async def _worker(self) -> None:
        while (found := await self._next()) is not None:
            job, decision = found
            try:
                await self._make(job, decision)
            except HOPELESS:
                raise
            except DecoderDiedError as error:
                await asyncio.to_thread(self._died, job, error)
            except (BadImageError, OutputError, RequestRefusedError) as error:
                self._failed(job.source, job.target, error)
                if isinstance(error, RequestRefusedError):
                    self._refusals += 1
                    if self._refusals >= REFUSALS_IN_A_ROW:
                        raise

    async def _next(self) -> tuple[Job, Decision] | None:
        """The next picture that is to be made, or compared; what needs nothing is counted on the way."""
        async with self._finding:
            while not self._ready:
                looked = await asyncio.to_thread(self._look_further)
                self._ready = looked.todo[::-1]
                for problem in looked.problems:
                    self._failed(problem.source, None, BadImageError(problem.reason))
                self.summary.done_before += looked.done
                self.summary.other_settings += looked.other_settings
                self.summary.there_already += looked.existing
                self.summary.own_results += looked.own_results
                if looked.ended:
                    return None
            return self._ready.pop()

    def _look_further(self) -> _Looked:
        looked = _Looked()
        batch = list(islice(self._found, FOUND_AT_A_TIME))
        looked.ended = not batch
        for each in batch:
            if isinstance(each, OwnResult):
                looked.own_results += 1
                continue
            if isinstance(each, Problem):
                looked.problems.append(each)
                continue
            target = self._looked_for.out / each.target
            self._clean_up(target.parent)
            try:
                source, result = Identity.of(each.source), Identity.of(target)
            except OSError as error:
                looked.problems.append(Problem(each.source, f"{each.source}: {error.strerror}."))
                continue
            known = self._manifest.known(each.target)
            decision = decide(known, source, result, self._options.overwrite, self._id)
            if decision is Decision.DONE:
                looked.done += 1
                looked.other_settings += known is not None and known.settings != self._settings
            elif decision is Decision.EXISTS:
                looked.existing += 1
            elif not self._options.overwrite and self._manifest.deaths(each.target, source) >= MOST_DEATHS:
                looked.problems.append(Problem(each.source, f"{each.source}: {GIVEN_UP}"))
            else:
                looked.todo.append((each, decision))
        return looked

    def _clean_up(self, folder: Path) -> None:
        """Remove what a killed run left in a folder of results, before anything is written there."""
        if folder not in self._clean:
            self._clean.add(folder)
            remove_leftovers(folder)

    async def _make(self, job: Job, decision: Decision) -> None:
        started = time.monotonic()
        target = self._looked_for.out / job.target
        data, identity = await asyncio.to_thread(_read, job.source, self._options.max_pixels)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        known = self._manifest.known(job.target)
        if known is not None and decision is Decision.COMPARE:
            if known.sha256 == digest:  # only its time has changed
                self.summary.done_before += 1
                self.summary.other_settings += known.settings != self._settings
                return
            self.summary.changed += 1
        if await asyncio.to_thread(_is_same, job.source, target):
            raise OutputError(f"{target} is the picture itself. Name another folder for the results.")
        async with self._decoded(data, str(job.source)) as picture:
            pixels = picture.size[0] * picture.size[1]
            content, result = await self._patiently(picture)
            line = {
                "status": DONE,
                "run": self._id,
                "time": _now(),
                "input": str(job.source),
                "output": str(job.target),
                "input_bytes": identity.bytes,
                "input_mtime_ns": identity.mtime_ns,
                "sha256": digest,
                "settings": self._settings,
                "width": result.width,
                "height": result.height,
                "frames": result.frames,
                "tiles": result.tiles,
                "retries": result.retries,
                "model": result.model,
                "seconds": round(time.monotonic() - started, 3),
                "notes": result.notes,
                "model_scale": result.model_scale,
                "resampled": result.resampled,
            }
            if result.model_reason:
                line["model_reason"] = result.model_reason
            await self._put(target, content, line)
        self.summary.made += 1
        self.summary.megapixels += pixels / 1e6
        self._tell(Outcome(job.source, target, pixels=pixels, line=line))

    @contextlib.asynccontextmanager
    async def _decoded(self, data: bytes, name: str) -> AsyncIterator[Picture]:
        """The picture, while there is room in memory for it and its result."""
        which = (data, name, self._options.max_pixels, self._options.frame)
        found = await self._decoders.decode_small(*which, most=SMALL_PIXELS)
        async with self._pixels.of(found if isinstance(found, int) else _pixels(found)):
            if isinstance(found, int):
                found = await self._decoders.decode(*which, pixels=found)
            yield found

    async def _put(self, target: Path, content: bytes, line: dict[str, Any]) -> None:
        """Whole on the disk, then in the manifest, then in its place. Not to be cancelled between."""

        def put() -> None:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                replaces = Identity.of(target)
                staged = Staged(target, content)
                try:
                    line["output_bytes"], line["output_mtime_ns"] = staged.identity.bytes, staged.identity.mtime_ns
                    line["replaces"] = [replaces.bytes, replaces.mtime_ns] if replaces else None
                    self._manifest.write(line)
                except BaseException:
                    staged.discard()
                    raise
                staged.commit()
            except OSError as error:
                if error.errno in DISK:
                    raise _DiskError(
                        f"Cannot write {target}: {error.strerror}. Nothing half written was left."
                    ) from None
                raise OutputError(f"Cannot write {target}: {error.strerror}.") from None

        try:
            await _to_the_end(put)
        except _DiskError as error:
            raise _Stop(OutputError(str(error))) from None

    async def _patiently(self, picture: Picture) -> tuple[bytes, FileResult]:
        """Upscale; servers that are gone are waited for, by all pictures together."""
        options = self._options
        finishing = replace(options.finishing, format=options.finishing.format or "png")
        while True:
            try:
                done = await self._upscaler.upscale_decoded(
                    picture, finishing=finishing, tile=options.tile, halo=options.halo, border=options.border
                )
            except GONE as error:
                if time.monotonic() - self._last_answer > options.patience_s:
                    raise _Stop(error) from None
                if not self._is_outage:
                    self._is_outage = True
                    self.summary.outages += 1
                    self._note(f"waiting up to {options.patience_s:.0f} s for a server: {error}")
                await asyncio.sleep(OUTAGE_PAUSE_S)
            else:
                self._last_answer, self._refusals = time.monotonic(), 0
                if self._is_outage:
                    self._is_outage = False
                    self._note("a server answers again")
                return done

    def _died(self, job: Job, error: DecoderDiedError) -> None:
        """A failure that counts: the picture is not tried for ever."""
        try:
            source = Identity.of(job.source)
        except OSError:
            source = None
        deaths = 1 + self._manifest.deaths(job.target, source)
        more = {"input_bytes": source.bytes, "input_mtime_ns": source.mtime_ns, "deaths": deaths} if source else {}
        self._failed(job.source, job.target, error, more)

    def _failed(self, source: Path, target: Any, error: EdsrError, more: Mapping[str, Any] | None = None) -> None:
        words = str(error) if str(source) in str(error) else f"{source}: {error}"
        line = {
            "status": FAILED,
            "run": self._id,
            "time": _now(),
            "input": str(source),
            "output": str(target) if target is not None else None,
            "error": words,
            "type": type(error).__name__,
            **(more or {}),
        }
        self._write(line)
        self.summary.failed += 1
        self._tell(Outcome(source, None, words, line=line))

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._manifest.write(line)
        except OSError as error:
            raise _Stop(OutputError(f"Cannot write to {self._looked_for.out}: {error.strerror}.")) from None


@dataclass
class _Looked:
    """What a look at the next few files found."""

    todo: list[tuple[Job, Decision]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    done: int = 0
    other_settings: int = 0
    existing: int = 0
    own_results: int = 0
    ended: bool = False


class _DiskError(Exception):
    """The disk takes nothing more: no other picture would fare better."""


class _Stop(Exception):  # noqa: N818
    """Ends the run with an error that would otherwise be one picture's own."""

    def __init__(self, error: EdsrError) -> None:
        super().__init__(str(error))
        self.error = error


class _Budget:
    """So many pixels at a time; one picture that has more goes alone."""

    def __init__(self, most: int) -> None:
        self._most, self._free = most, most
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def of(self, pixels: int) -> AsyncIterator[None]:
        taken = min(pixels, self._most)
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            self._free += taken
            async with self._changed:
                self._changed.notify_all()


def _pixels(picture: Picture) -> int:
    return picture.size[0] * picture.size[1] * len(picture.frames)


def _read(path: Path, max_pixels: int) -> tuple[bytes, Identity]:
    """The content of a file that nobody writes meanwhile.

    Raises:
        BadImageError: it cannot be read, or changes all the time.
        ImageTooLargeError: no picture of so many pixels can be that large.
    """
    try:
        for attempt in range(READ_ATTEMPTS):
            if attempt:
                time.sleep(READ_PAUSE_S)
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                data = read_all(file, str(path), max_file_bytes(max_pixels))
                after = os.fstat(file.fileno())
            size = Identity(after.st_size, after.st_mtime_ns)
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(data) == size.bytes:
                return data, size
    except OSError as error:
        raise BadImageError(f"Cannot read {path}: {error.strerror}.") from None
    raise BadImageError(f"{path} changes while it is read. Run again when it is whole.")


async def _size(decoders: Decoders, path: Path, options: BatchOptions) -> int:
    try:
        data, _ = await asyncio.to_thread(_read, path, options.max_pixels)
        found = await decoders.decode_small(data, str(path), options.max_pixels, options.frame, most=0)
    except EdsrError:
        return 0
    return found if isinstance(found, int) else _pixels(found)


def _is_same(source: Path, target: Path) -> bool:
    try:
        return target.samefile(source)
    except OSError:
        return False


def _jobs(instances: int, servers: int) -> int:
    """One picture for every request the servers have at a time, and one each that is read and one that is written."""
    return (instances + 1) * servers + 2


async def _seconds_per_pixel(upscaler: AsyncUpscaler) -> float:
    model = await upscaler.model_info()
    side = min(256, *(min(shape) for shape in model.max_shapes)) if model.max_shapes else 256
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    await upscaler.upscale(noise)  # the first prepares the server for its shape
    started = time.monotonic()
    await upscaler.upscale(noise)
    return (time.monotonic() - started) / (side * side) / (model.instances * len(upscaler.urls))


async def _to_the_end(work: Callable[[], None]) -> None:
    """In a thread, and if cancelled only after it is done."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
