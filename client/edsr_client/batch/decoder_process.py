"""A process that decodes pictures for another, within limits of memory and time: python -c with the socket's number.

Whatever a damaged file does to a decoder happens here. The limits follow what the file's structure claims, and are set
anew for every picture. They guard against accidents; they are no sandbox.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..errors import EdsrError, ImageTooLargeError
from ..pictures.decode import Picture, decode, size_of

# What every picture may take, and more for each pixel: 16 bits and transparency, divided by alpha, take the most.
BASE_BYTES, BYTES_PER_PIXEL = 512_000_000, 64
# Slow decoders on slow machines need a microsecond for a pixel.
BASE_CPU_S, CPU_S_PER_MEGAPIXEL = 60, 4
# What libraries may write on standard error, for one picture.
STDERR_BYTES = 100_000


@dataclass(frozen=True)
class Request:
    """What to decode; the file's content follows it.

    Attributes:
        name, max_pixels, frame: as for `decode`.
        at_once_pixels: answer with the number of pixels alone if there are more; None never.
    """

    name: str
    max_pixels: int
    frame: int | None
    at_once_pixels: int | None


@dataclass(frozen=True)
class Answer:
    """What became of it; the frames follow it, each as its bytes.

    Attributes:
        pixels: of all frames.
        picture: without its frames; None if it was too large at once, or failed.
        frames: shape and dtype of each.
        error: why it failed.
    """

    pixels: int = 0
    picture: Picture | None = None
    frames: tuple[tuple[tuple[int, ...], str], ...] = ()
    error: EdsrError | None = None


def limits_of(pixels: int) -> tuple[int, int]:
    """Bytes beyond those of the idle process, and CPU seconds, that decoding so many pixels may take."""
    return BASE_BYTES + BYTES_PER_PIXEL * pixels, BASE_CPU_S + CPU_S_PER_MEGAPIXEL * pixels // 1_000_000


def main() -> None:
    """Answer requests until the other side closes its end."""
    connection = Connection(int(sys.argv[1]))
    _prepare()
    idle_bytes = _data_bytes()
    with contextlib.suppress(EOFError, OSError):
        while True:
            request: Request = pickle.loads(connection.recv_bytes())  # noqa: S301  of the process that started this one
            data = connection.recv_bytes()
            _answer(connection, request, data, idle_bytes)
            del data


def _answer(connection: Connection, request: Request, data: bytes, idle_bytes: int) -> None:
    frames: Any = ()
    try:
        _limit(idle_bytes + len(data), 0)
        pixels = size_of(data, request.name, request.max_pixels, request.frame)
        if request.at_once_pixels is not None and pixels > request.at_once_pixels:
            answer = Answer(pixels)
        else:
            _limit(idle_bytes + len(data), pixels)
            picture = decode(data, request.name, request.max_pixels, request.frame)
            frames = picture.frames
            shapes = tuple((frame.shape, frame.dtype.str) for frame in frames)
            answer = Answer(pixels, picture.with_frames(()), shapes)
    except EdsrError as error:
        answer = Answer(error=type(error)(str(error)))
    except MemoryError:  # outside of decoders
        answer = Answer(
            error=ImageTooLargeError(f"{request.name} needs more memory than a picture of its size should.")
        )
    _limit(idle_bytes, None)
    connection.send_bytes(pickle.dumps(answer))
    for frame in frames:
        connection.send_bytes(frame.data.cast("B"))


def _prepare() -> None:
    """Everything is loaded before the limits are taken; whoever started this one decides when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, STDERR_BYTES)
    with contextlib.suppress(OSError):  # the system, short of memory, ends this one before others
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"  # several of these processes work side by side
    import warnings

    from PIL import AvifImagePlugin, Image

    from ..pictures.plugins import register_plugins

    warnings.simplefilter("ignore")
    register_plugins()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 2
    # Budget has looked at all sizes before.
    Image.MAX_IMAGE_PIXELS = None


def _limit(idle_bytes: int, pixels: int | None) -> None:
    """Set the limits for a picture of so many pixels; None lifts those of memory, for the answer."""
    if pixels is None:
        _lower(resource.RLIMIT_DATA, resource.RLIM_INFINITY)
        return
    memory, seconds = limits_of(pixels)
    _lower(resource.RLIMIT_DATA, idle_bytes + memory)
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
