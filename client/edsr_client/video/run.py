"""From a video file to a video file: decoding, inference and encoding side by side, in segments that are kept."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..border import margins_of
from ..errors import IncompleteVideoError, OutputError, OutputExistsError
from ..model_info import ModelInfo
from . import library
from .encoder import Encoder, Plan, check
from .joining import join, plan_copies
from .options import VideoOptions, VideoProgress, VideoResult, default_name, encoding_for
from .reader import Reader, SourceFrame
from .segments import Ending, SegmentInfo, SegmentWriter, Workshop, input_identity

if TYPE_CHECKING:
    from ..async_upscaler import AsyncUpscaler

# Frames under way beyond what the servers take at a time: so that none waits for a decoder or an encoder.
AHEAD = 3
logger = logging.getLogger("edsr_client")
Large = NDArray[np.uint8]


async def upscale_video(
    upscaler: AsyncUpscaler,
    src: str | Path,
    dst: str | Path | None = None,
    *,
    options: VideoOptions | None = None,
    progress: VideoProgress | None = None,
    overwrite: bool = False,
    restart: bool = False,
) -> VideoResult:
    """Upscale a video; sound, subtitles, chapters and titles are copied. See `AsyncUpscaler.upscale_video`."""
    from ..async_upscaler import check_tiling, grid_for

    options, source, started = options or VideoOptions(), Path(src), time.monotonic()
    check_tiling(options.tile, options.halo, options.border)
    named = Path(dst) if dst is not None and not files.is_folder(dst) else None
    if named is not None:
        files.check_place(source, named)
        encoding_for(named, options)
    reader = await asyncio.to_thread(Reader, source, options.max_pixels)
    try:
        model = await upscaler.model_info()
        target = named or _default_target(source, dst, model.scale, options, overwrite)
        plan = Plan(reader.source, encoding_for(target, options), model.scale)
        halo: Any = options.halo
        frame, turns = (plan.source.height, plan.source.width), upscaler.self_ensemble
        grid_for(frame, model, options.tile, halo, options.border, turns=turns)
        await asyncio.to_thread(check, plan)
        copies = await asyncio.to_thread(plan_copies, source, target, plan, options.sound)
        notes = [*plan.source.notes, *plan.notes, *copies.notes]
        for note in notes:
            logger.warning("%s", note)
        real = Path(os.path.realpath(target))
        workshop = await asyncio.to_thread(Workshop, real, _identity(source, options, plan, model, turns), restart)
        try:
            retries, answers = upscaler.retries, dict(upscaler.answers)
            resumed = workshop.frames
            await _fill(upscaler, reader, workshop, plan, options, progress)
            await _to_the_end(lambda: join(source, real, plan, copies, workshop))
            notes += workshop.ending.notes if workshop.ending else []
            result = VideoResult(
                path=str(target),
                codec=plan.encoding.codec.name,
                width=plan.size[0],
                height=plan.size[1],
                frames=workshop.frames,
                reused=workshop.reused,
                resumed=resumed,
                complete=_is_complete(workshop.ending),
                streams=list(copies.streams),
                retries=upscaler.retries - retries,
                model=model.name,
                servers=[url for url, count in upscaler.answers if count > answers.get(url, 0)],
                self_ensemble=upscaler.self_ensemble,
                seconds=round(time.monotonic() - started, 3),
                notes=notes,
            )
            await asyncio.to_thread(workshop.remove)
        finally:
            _leave(workshop)
    finally:
        reader.close()
    if not result.complete:
        raise IncompleteVideoError(_incomplete(source, result, plan), result)
    return result


async def _to_the_end(work: Callable[[], None]) -> None:
    """Work in a thread; who cancels it waits until it is done, for it is at files that others take next."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _default_target(source: Path, dst: str | Path | None, scale: int, options: VideoOptions, overwrite: bool) -> Path:
    target = (source.parent if dst is None else Path(dst)) / default_name(source, scale, options)
    files.check_place(source, target)
    if not overwrite and target.exists():
        raise OutputExistsError(
            f"{target} exists; nothing was changed. Name the output, or take overwrite=True (`--overwrite`)."
        )
    return target


def _identity(source: Path, options: VideoOptions, plan: Plan, model: ModelInfo, self_ensemble: bool) -> dict[str, Any]:
    """Everything that makes the segments what they are. As JSON gives it back: no tuples."""
    av = library.load()
    encoding = plan.encoding
    return {
        "input": input_identity(source),
        "model": {
            "name": model.name,
            "scale": model.scale,
            "source_sha256": model.source_sha256,
            "precision": model.inference_precision,
        },
        "encoding": {
            "encoder": encoding.codec.encoder,
            "crf": encoding.crf,
            "preset": encoding.preset,
            "pixel_format": encoding.pixel_format,
        },
        "tile": list(options.tile) if isinstance(options.tile, tuple) else options.tile,
        "halo": options.halo,
        "margins": [list(axis) for axis in margins_of((plan.source.height, plan.source.width), options.border)],
        "segment_s": options.segment_s,
        "colour": asdict(plan.source.colour),
        "libraries": {name: list(version) for name, version in av.library_versions.items()},
        **({"self_ensemble": True} if self_ensemble else {}),  # videos begun before there was a choice go on
    }


def _leave(workshop: Workshop) -> None:
    """Keep what is worth going on from, and say where it is."""
    if not workshop.folder.exists():
        return
    if not workshop.segments:
        workshop.remove()
        return
    workshop.close()
    size = sum(path.stat().st_size for path in workshop.folder.iterdir())
    logger.warning(
        "%d frames (%.1f MB) are kept in %s. The same command goes on after them; with --restart it begins anew, and "
        "removing the folder frees the disk.",
        workshop.frames,
        size / 1e6,
        workshop.folder,
    )


def _is_complete(ending: Ending | None) -> bool:
    return ending is not None and not ending.truncated and not ending.damaged


def _incomplete(source: Path, result: VideoResult, plan: Plan) -> str:
    expected = plan.source.frames
    of = f" of about {expected}" if expected and expected > result.frames else ""
    return f"{source} is damaged or cut off: {result.frames}{of} frames could be decoded, and {result.path} holds them."


async def _fill(
    upscaler: AsyncUpscaler,
    reader: Reader,
    workshop: Workshop,
    plan: Plan,
    options: VideoOptions,
    progress: VideoProgress | None,
) -> None:
    """Make all segments that are not there yet."""
    if workshop.began_anew:
        logger.warning("the work kept in %s is of another input, model or encoding: begun anew", workshop.folder)
    total = plan.source.frames
    tell = progress or (lambda _done, _total: None)
    tell(workshop.frames, total)
    if workshop.ending is not None:
        return
    if workshop.frames:
        logger.warning("goes on after the first %d frames, which an earlier run has done", workshop.frames)
    sink = _Sink(workshop, plan, options.segment_s)
    pipeline = _Pipeline(upscaler, options, reader.frames(workshop.frames), sink)
    try:
        await pipeline.run(workshop.frames, total, tell)
        notes = []
        if reader.spoilt:
            notes.append(f"{reader.spoilt} frame(s) are damaged in the input, and upscaled as they look")
        if reader.retimed:
            notes.append(f"{reader.retimed} frame(s) had no usable time and got the next one")
        await asyncio.to_thread(workshop.finish, Ending(reader.damaged, reader.is_truncated, notes))
    except (OSError, library.load().FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"Cannot write in {workshop.folder}: {reason}.") from None
    finally:
        sink.close()


class _Pipeline:
    """Decoding in one thread, encoding in another, inference between them; in order, and a bounded number at a time."""

    def __init__(
        self, upscaler: AsyncUpscaler, options: VideoOptions, frames: Iterator[SourceFrame], sink: _Sink
    ) -> None:
        self._upscaler, self._options, self._frames, self._sink = upscaler, options, frames, sink
        self._previous: Large | None = None
        self._tasks: set[asyncio.Task[Large]] = set()
        self._queue: asyncio.Queue[tuple[SourceFrame, asyncio.Task[Large], bool] | None] = asyncio.Queue(
            upscaler.slots + AHEAD
        )

    async def run(self, done: int, total: int | None, tell: VideoProgress) -> None:
        """All frames, from file to segments."""
        threads = [ThreadPoolExecutor(1, f"edsr-{name}") for name in ("decode", "encode")]
        jobs = [
            asyncio.ensure_future(self._decode(threads[0])),
            asyncio.ensure_future(self._encode(threads[1], done, total, tell)),
        ]
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in (*jobs, *self._tasks):
                job.cancel()
            await asyncio.gather(*jobs, *self._tasks, return_exceptions=True)
            for thread in threads:  # what a thread is at cannot be cancelled, and it holds the file
                await asyncio.to_thread(thread.shutdown)

    async def _decode(self, thread: ThreadPoolExecutor) -> None:
        loop, task = asyncio.get_running_loop(), None
        while (fetched := await loop.run_in_executor(thread, self._fetch)) is not None:
            frame, is_same = fetched
            if task is None or not is_same:
                task = asyncio.ensure_future(self._upscale(frame.rgb))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await self._queue.put((frame, task, is_same))
        await self._queue.put(None)

    def _fetch(self) -> tuple[SourceFrame, bool] | None:
        """The next frame, and whether it is the one before once more."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        is_same = self._previous is not None and np.array_equal(self._previous, frame.rgb)
        self._previous = frame.rgb
        return frame, is_same

    async def _upscale(self, rgb: Large) -> Large:
        halo: Any = self._options.halo
        return await self._upscaler.upscale(rgb, tile=self._options.tile, halo=halo, border=self._options.border)

    async def _encode(self, thread: ThreadPoolExecutor, done: int, total: int | None, tell: VideoProgress) -> None:
        loop = asyncio.get_running_loop()
        while (item := await self._queue.get()) is not None:
            frame, task, is_same = item
            large = await task
            await loop.run_in_executor(thread, self._sink.write, large, frame.pts, frame.duration, is_same)
            done += 1
            tell(done, total)
        await loop.run_in_executor(thread, self._sink.finish)


class _Sink:
    """Encodes frames into segments. For one thread at a time."""

    def __init__(self, workshop: Workshop, plan: Plan, segment_s: float) -> None:
        self._workshop, self._plan = workshop, plan
        self._ticks = segment_s / float(plan.source.time_base)
        self._encoder: Encoder | None = None
        self._writer: SegmentWriter | None = None
        self._start = self._frames = self._reused = 0

    def write(self, rgb: Large, pts: int, duration: int, is_same: bool) -> None:
        """The next frame; the first one after `segment_s` begins a new segment."""
        if self._encoder is not None and pts - self._start >= self._ticks:
            self.finish()
        if self._encoder is None or self._writer is None:
            self._encoder, self._writer = Encoder(self._plan), self._workshop.write()
            self._start, self._frames, self._reused = pts, 0, 0
        for packet in self._encoder.encode(rgb, pts, duration):
            self._writer.write(packet)
        self._frames += 1
        self._reused += is_same

    def finish(self) -> None:
        """End the segment that is open."""
        if self._encoder is None or self._writer is None:
            return
        for packet in self._encoder.finish():
            self._writer.write(packet)
        self._writer.finish(SegmentInfo(self._frames, self._reused))
        self._encoder = self._writer = None

    def close(self) -> None:
        """Throw an open segment away."""
        if self._writer is not None:
            self._writer.close()
