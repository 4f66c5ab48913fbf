"""A worker: a process that decodes, upscales and encodes one thing after another, within limits of memory and time.

Started by `pool`, with the number of its socket. Whatever a damaged file does to a decoder happens here. The limits
follow what the file's header claims, and are set anew for every work. They guard against accidents and bombs; they are
no sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import errno
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from edsr_client import (
    AsyncUpscaler,
    BadImageError,
    EdsrError,
    Finishing,
    ImageTooLargeError,
    ModelNotFoundError,
    outline,
)

from . import wire
from .work import Done, Header, Work

# What every work may take beyond the idle process, and more for each LR pixel of all frames: decoding takes up to 64
# bytes, the nine HR pixels up to 8 bytes each, twice while they are encoded, and some for tiles under way.
BASE_BYTES, BYTES_PER_PIXEL = 768_000_000, 256
# Of a result that is larger than the network's x3: what Lanczos and the encoder take for each further pixel.
USUAL_SCALE, BYTES_PER_FURTHER_PIXEL = 3, 16
# CPU time: slow encoders on slow machines take microseconds for an HR pixel.
BASE_CPU_S, CPU_S_PER_MEGAPIXEL = 60, 60
# Reading a header decodes nothing.
LOOK_BYTES, LOOK_CPU_S = 256_000_000, 20
VIDEO_BYTES, VIDEO_CPU_S = 8_000_000_000, 1_000_000
PROGRESS_EVERY_S = 0.1


def main() -> None:
    """Work until the gateway closes its end."""
    _prepare()
    with contextlib.suppress(EOFError, OSError), socket.socket(fileno=int(sys.argv[1])) as connection:
        asyncio.run(_Worker(connection).run())


class _Worker:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._upscalers: dict[tuple[str, bool], AsyncUpscaler] = {}
        self._idle_bytes = 0
        self._urls: list[str] = []
        self._token: str | None = None

    async def run(self) -> None:
        start, _ = self._receive()
        self._urls, self._token = start["urls"], start["token"]
        self._idle_bytes = _data_bytes()
        self._send({"ready": True})
        while True:
            message, content = await asyncio.to_thread(self._receive)
            if message.pop("look", False):
                await self._look(message, content)
                continue
            work = _work_of(message, content)
            del content
            try:
                done = await (self._picture(work) if work.kind == "picture" else self._video(work))
            except EdsrError as error:
                self._send({"error": type(error).__name__, "says": str(error), "is_full": _is_full(error)})
            except MemoryError:
                says = f"{work.name} needs more memory than a file of its size should."
                self._send({"error": ImageTooLargeError.__name__, "says": says})
            except ValueError as error:  # options that only the client knows to be wrong
                self._send({"error": "ValueError", "says": str(error)})
            else:
                answer = dataclasses.asdict(dataclasses.replace(done, content=None))
                self._send({"done": answer, "in_memory": done.content is not None}, done.content or b"")
            finally:
                _limit(self._idle_bytes, None, 0)

    async def _look(self, message: dict[str, Any], content: bytes) -> None:
        _limit(self._idle_bytes + len(content), LOOK_BYTES, LOOK_CPU_S)
        source: bytes | Path = content if message["source"] is None else Path(message["source"])
        try:
            header = await asyncio.to_thread(outline, source, message["name"], None)
            width, height = header.size
            found = Header(header.format, width, height, header.frames, header.jpeg_quality)
            self._send({"done": dataclasses.asdict(found), "in_memory": False})
        except EdsrError as error:
            self._send({"error": type(error).__name__, "says": str(error)})
        except MemoryError:
            self._send(
                {"error": BadImageError.__name__, "says": f"Cannot read {message['name']}: its header is damaged."}
            )
        finally:
            _limit(self._idle_bytes, None, 0)

    async def _picture(self, work: Work) -> Done:
        started = time.monotonic()
        in_memory = len(work.source) if isinstance(work.source, bytes) else 0
        _limit(self._idle_bytes + in_memory, BASE_BYTES, BASE_CPU_S)
        header = await asyncio.to_thread(outline, work.source, work.name, None)
        if header.frames > work.max_frames:
            raise ImageTooLargeError(f"{work.name} has {header.frames:,} frames, more than {work.max_frames:,}.")
        pixels = header.size[0] * header.size[1] * header.frames
        if pixels > work.max_pixels:
            frames = f" x {header.frames} frames" if header.frames > 1 else ""
            raise ImageTooLargeError(
                f"{work.name} claims {header.size[0]}x{header.size[1]}{frames} = {pixels:,} pixels, "
                f"more than {work.max_pixels:,}. Send it in parts, or smaller."
            )
        _limit(
            self._idle_bytes + in_memory,
            BASE_BYTES + BYTES_PER_PIXEL * pixels + _further_bytes(work.scale, pixels),
            BASE_CPU_S + CPU_S_PER_MEGAPIXEL * pixels // 1_000_000,
        )
        finishing = Finishing(
            format=work.format,
            quality=work.quality,
            scale=work.scale,
            max_side=work.max_side,
            strip_metadata=work.strip_metadata,
            png_effort=work.png_effort,
        )
        upscaler = await self._upscaler(work.model, work.self_ensemble)
        content: bytes | None = None
        if isinstance(work.source, bytes):
            content, result = await upscaler.upscale_bytes(
                work.source,
                finishing=finishing,
                max_pixels=work.max_pixels,
                progress=self._progress(),
                name=work.name,
            )
            size = len(content)
            if size > work.in_memory_bytes:
                await asyncio.to_thread(work.target.write_bytes, content)
                content = None
        else:
            result = await upscaler.upscale_file(
                work.source,
                work.target,
                finishing=finishing,
                max_pixels=work.max_pixels,
                progress=self._progress(),
                overwrite=True,
            )
            size = work.target.stat().st_size
            if size <= work.in_memory_bytes:
                content = await asyncio.to_thread(work.target.read_bytes)
                work.target.unlink()
        precision = await self._precision(result.model, upscaler)
        return Done(
            content=content,
            format=result.format,
            width=result.width,
            height=result.height,
            lr_width=header.size[0],
            lr_height=header.size[1],
            bytes=size,
            frames=result.frames,
            tiles=result.tiles,
            retries=result.retries,
            model=result.model,
            model_reason=result.model_reason,
            precision=precision,
            seconds=round(time.monotonic() - started, 4),
            notes=result.notes,
        )

    async def _video(self, work: Work) -> Done:
        from edsr_client.errors import IncompleteVideoError
        from edsr_client.video import VideoOptions

        if isinstance(work.source, bytes):
            raise ValueError("a video must be in a file")
        _limit(self._idle_bytes, VIDEO_BYTES, VIDEO_CPU_S)
        upscaler = await self._upscaler(work.model, work.self_ensemble)
        tell, notes = self._progress(), []

        def told(done: int, total: int | None) -> None:
            if max(done, total or 0) > work.max_frames:
                raise ImageTooLargeError(f"{work.name} has more than {work.max_frames:,} frames. Send it in parts.")
            tell(done, total)

        try:
            result = await upscaler.upscale_video(
                work.source,
                work.target,
                options=VideoOptions(max_pixels=work.max_pixels),
                progress=told,
                overwrite=True,
            )
        except IncompleteVideoError as error:
            notes.append(str(error))
            result = error.result
        scale = (await upscaler.model_info()).scale
        return Done(
            content=None,
            format=work.format,
            width=result.width,
            height=result.height,
            lr_width=result.width // scale,  # 4:2:0 wants even sizes: a column may have been added
            lr_height=result.height // scale,
            bytes=work.target.stat().st_size,
            frames=result.frames,
            tiles=result.frames - result.reused,
            retries=result.retries,
            model=result.model,
            model_reason="",
            precision=await self._precision(result.model, upscaler),
            seconds=result.seconds,
            notes=[*result.notes, *notes],
        )

    async def _upscaler(self, model: str, self_ensemble: bool) -> AsyncUpscaler:
        found = self._upscalers.get((model, self_ensemble))
        if found is None:
            found = AsyncUpscaler(self._urls, model=model, token=self._token, self_ensemble=self_ensemble)
            try:
                await found.model_info()
            except ModelNotFoundError:
                await found.close()  # names that strangers make up are not kept
                raise
            self._upscalers[model, self_ensemble] = found
        return found

    async def _precision(self, model: str, upscaler: AsyncUpscaler) -> str:
        for info in (await upscaler.model_info(), await upscaler.compressed_model_info()):
            if info is not None and info.name == model:
                return info.inference_precision or info.precision
        return ""

    def _progress(self) -> Any:
        last = 0.0

        def told(done: int, total: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS_EVERY_S or done == total:
                last = now
                self._send({"progress": [done, total]})

        return told

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        text, content = wire.lengths(self._exactly(wire.HEAD.size))
        return json.loads(self._exactly(text)), self._exactly(content)

    def _exactly(self, count: int) -> bytes:
        buffer = bytearray(count)
        view, got = memoryview(buffer), 0
        while got < count:
            more = self._socket.recv_into(view[got:])
            if not more:
                raise EOFError
            got += more
        return bytes(buffer)

    def _send(self, message: dict[str, Any], content: bytes = b"") -> None:
        for part in wire.packed(message, content):
            self._socket.sendall(part)


def _further_bytes(scale: float | None, pixels: int) -> int:
    further = pixels * max(0.0, (scale or USUAL_SCALE) ** 2 - USUAL_SCALE**2)
    return int(further) * BYTES_PER_FURTHER_PIXEL


def _work_of(message: dict[str, Any], content: bytes) -> Work:
    source = Path(message["source"]) if message["source"] is not None else content
    return Work(**{**message, "source": source, "target": Path(message["target"])})


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        error = error.__cause__ or error.__context__
    return False


def _prepare() -> None:
    """Everything is loaded before the limits are taken; the gateway decides when this ends."""
    for one in (signal.SIGINT, signal.SIGTERM):  # both may go to all processes of a service at once
        signal.signal(one, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _die_with_the_gateway()
    with contextlib.suppress(OSError):  # the system, short of memory, ends this one before the gateway
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    import warnings

    from edsr_client.pictures.plugins import register_plugins
    from PIL import Image

    warnings.simplefilter("ignore")
    register_plugins()
    Image.MAX_IMAGE_PIXELS = None  # the header's size is looked at before


def _die_with_the_gateway() -> None:
    """Linux ends this process with the one that started it, also while a decoder never looks at its socket."""
    set_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)


def _limit(idle_bytes: int, memory: int | None, seconds: int) -> None:
    """Set the limits for one work; None lifts that of memory."""
    _lower(resource.RLIMIT_DATA, resource.RLIM_INFINITY if memory is None else idle_bytes + memory)
    if memory is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def _lower(which: int, value: int) -> None:
    """A soft limit: the hard one stays, so that it can be raised again."""
    hard = resource.getrlimit(which)[1]
    most = value if hard == resource.RLIM_INFINITY else min(value, hard) if value != resource.RLIM_INFINITY else hard
    with contextlib.suppress(OSError, ValueError):  # systems that know no such limit
        resource.setrlimit(which, (most, hard))


def _data_bytes() -> int:
    """What of this process RLIMIT_DATA counts; 0 where that is not known."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    return 0
