"""The signs of life of a backend process: a small file in the run folder, written five times a second.

A backend that computes a large picture answers nothing else for a minute, and is well; one that hangs looks the same
from outside. What it says here tells the two apart. A thread writes, so that it goes on while the inference runs.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .processes import remove_shared_memory

VARIABLE = "EDSR_HEARTBEATS"  # of the environment: the folder
SUFFIX = ".beat"
BEAT_S = 0.2
MODEL_BYTES = 128
# time of the beat, time the request in work began (0: none), its LR pixels, requests worked on so far, model
LAYOUT = struct.Struct(f"<ddQQ{MODEL_BYTES}s")


@dataclass(frozen=True)
class Beat:
    """What a backend process last said.

    Attributes:
        pid: of the process.
        model: which it serves.
        at_s: when, on the clock of time.monotonic().
        since_s: when the request in work began, on the same clock; 0 if there is none.
        lr_pixels: of that request, N x H x W.
        done: requests worked on so far.
    """

    pid: int
    model: str
    at_s: float
    since_s: float
    lr_pixels: int
    done: int

    @property
    def is_busy(self) -> bool:
        return self.since_s > 0


def read_beats(folder: Path) -> list[Beat]:
    """What the backends of a run folder said last, those that have ended too."""
    beats = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            at_s, since_s, lr_pixels, done, model = LAYOUT.unpack(path.read_bytes())
            beats.append(
                Beat(int(path.stem), model.rstrip(b"\0").decode("utf-8", "replace"), at_s, since_s, lr_pixels, done)
            )
        except (OSError, ValueError, struct.error):  # it is just being made
            continue
    return beats


class Heartbeat:
    """The beating side, in the backend. Without a folder, that is without our launcher, it does nothing.

    It also ends its process when tritonserver is gone: Triton's own stub looks for its parent too, but takes a dead
    one that nobody has waited for to be alive.
    """

    def __init__(self, model: str) -> None:
        folder = os.environ.get(VARIABLE)
        self._values = (0.0, 0, 0)  # since, pixels, done
        self._model = model.encode()[:MODEL_BYTES]
        self._ended = threading.Event()
        self._map = self._open(Path(folder) / f"{os.getpid()}{SUFFIX}") if folder else None
        if self._map is not None:
            self._beat()
            threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    @contextmanager
    def working(self, lr_pixels: int) -> Iterator[None]:
        """While this lasts, a request of so many LR pixels is in work."""
        done = self._values[2]
        self._values = (time.monotonic(), min(lr_pixels, 2**63), done)
        self._beat()
        try:
            yield
        finally:
            self._values = (0.0, 0, done + 1)
            self._beat()

    def close(self) -> None:
        """Beat no more."""
        self._ended.set()

    @staticmethod
    def _open(path: Path) -> mmap.mmap | None:
        with suppress(OSError), path.open("w+b") as file:
            file.truncate(LAYOUT.size)
            return mmap.mmap(file.fileno(), LAYOUT.size)
        return None

    def _beat(self) -> None:
        if self._map is not None:
            LAYOUT.pack_into(self._map, 0, time.monotonic(), *self._values, self._model)

    def _run(self) -> None:
        parent = os.getppid()
        while not self._ended.wait(BEAT_S):
            if os.getppid() != parent:
                if prefix := _own_prefix():
                    remove_shared_memory(prefix)
                os._exit(1)
            self._beat()


def _own_prefix() -> str:
    """How all names of this server in shared memory begin, "edsr-PID-PORT-"; "" if that is not said.

    An argument of a stub's command line is the name of its own region.
    """
    arguments = Path("/proc/self/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    name = next((text for text in arguments if text.startswith("edsr-")), "")
    return "".join(f"{part}-" for part in name.split("-")[:3]) if name.count("-") >= 3 else ""
