"""Processes that decode pictures, so that a decoder which dies, or never ends, costs one picture and not the run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ..errors import BadImageError, DecoderDiedError
from ..pictures.alpha import Array
from ..pictures.decode import Picture
from .decoder_process import STDERR_BYTES, Answer, Request, limits_of

# Isolated, so that nothing in the folder it is started from takes the place of a library; then with this one's paths.
START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from edsr_client.batch.decoder_process import main; main()"
)
MOST_PROCESSES = 16
# A process that waits takes no CPU time: this much longer than that, and it is not coming back.
WALL_FACTOR = 10
END_S = 5.0
LINES_TOLD = 3


class Decoders:
    """Up to so many processes, started when they are needed. For one event loop.

    Args:
        most: processes at a time; by default one for each CPU.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = max(1, min(most or os.cpu_count() or 1, MOST_PROCESSES))
        self._free = asyncio.Semaphore(self._most)
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._closed = False

    def close(self) -> None:
        """End all processes; what they are at is lost."""
        self._closed = True
        for process in list(self._all):
            self._end(process)

    async def decode(
        self, data: bytes, name: str, max_pixels: int, frame: int | None = None, *, pixels: int = 0
    ) -> Picture:
        """As `pictures.decode.decode`, in a process.

        Args:
            data, name, max_pixels, frame: see there.
            pixels: of all frames, as far as they are known; more are given more time.

        Raises:
            BadImageError, ImageTooLargeError: as `decode`.
            DecoderDiedError: the process died, took too long, or needed more memory than a picture of its size should.
        """
        answer = await self._answer(Request(name, max_pixels, frame, None), data, pixels)
        if answer.picture is None:  # never
            raise DecoderDiedError(f"{name}: its decoder gave no picture.")
        return answer.picture

    async def decode_small(
        self, data: bytes, name: str, max_pixels: int, frame: int | None = None, *, most: int
    ) -> Picture | int:
        """The same, if it has at most so many pixels over all frames; else how many it has.

        Raises:
            BadImageError, ImageTooLargeError, DecoderDiedError: as `decode`.
        """
        answer = await self._answer(Request(name, max_pixels, frame, most), data, most)
        return answer.pixels if answer.picture is None else answer.picture

    async def _answer(self, request: Request, data: bytes, pixels: int) -> Answer:
        async with self._free:
            return await asyncio.to_thread(self._ask, request, data, limits_of(pixels)[1])

    def _ask(self, request: Request, data: bytes, seconds: int) -> Answer:
        process = self._taken()
        try:
            try:
                found = process.ask(request, data, seconds)
            except _Died as death:
                self._end(process)
                if not death.is_crash or not process.served or self._closed:
                    raise
                # A picture before may have spoilt its memory: only a fresh one tells.
                process = self._taken(fresh=True)
                found = process.ask(request, data, seconds)
        except _Died as death:
            self._end(process)
            raise DecoderDiedError(f"{request.name}: {death}") from None
        except BadImageError:
            self._idle.append(process)
            raise
        self._idle.append(process)
        return found

    def _taken(self, fresh: bool = False) -> _Process:
        if self._closed:
            raise DecoderDiedError("The run is ending.")
        with contextlib.suppress(IndexError):
            if not fresh:
                return self._idle.pop()
        process = _Process()
        self._all.add(process)
        if self._closed:  # meanwhile
            self._end(process)
        return process

    def _end(self, process: _Process) -> None:
        process.end()
        self._all.discard(process)


class _Died(Exception):  # noqa: N818
    """A process is gone, or must go; `is_crash` if its memory may have been spoilt by the picture before."""

    def __init__(self, words: str, is_crash: bool = False) -> None:
        super().__init__(words)
        self.is_crash = is_crash


class _Process:
    """One process, for one thread at a time.

    Attributes:
        served: pictures that it has answered for.
    """

    def __init__(self) -> None:
        self.served = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", START, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )
        self._connection = Connection(ours.detach())

    def ask(self, request: Request, data: bytes, seconds: int) -> Answer:
        """Raises BadImageError, or _Died."""
        os.ftruncate(self._errors.fileno(), 0)
        os.lseek(self._errors.fileno(), 0, os.SEEK_SET)  # the process writes at the same place
        try:
            self._connection.send_bytes(pickle.dumps(request))
            self._connection.send_bytes(data)
            if not self._connection.poll(seconds * WALL_FACTOR):
                raise _Died(f"its decoder did not answer within {seconds * WALL_FACTOR} s and was ended.")
            answer: Answer = pickle.loads(self._connection.recv_bytes())  # noqa: S301  of our own process
            frames = [self._frame(shape, dtype) for shape, dtype in answer.frames]
        except (EOFError, OSError):
            raise self._death(seconds) from None
        self.served += 1
        words = self._words()
        if answer.error is not None:
            said = f" Its decoder says: {'; '.join(words)}." if words else ""
            raise type(answer.error)(f"{answer.error}{said}")
        if answer.picture is None:
            return answer
        return replace(answer, picture=_with_notes(answer.picture.with_frames(frames), words))

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        if not self._connection.closed:
            self._connection.close()

    def _frame(self, shape: Sequence[int], dtype: str) -> Array:
        frame: Any = np.empty(shape, dtype)
        self._connection.recv_bytes_into(frame.data.cast("B"))
        return np.asarray(frame)

    def _death(self, seconds: int) -> _Died:
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return _Died("its decoder closed the connection and was ended.", is_crash=True)
        if code == -signal.SIGXCPU:
            return _Died(f"its decoder took more than {seconds} s of CPU time and was ended.")
        if code == -signal.SIGKILL:
            return _Died("its decoder was killed, as systems do that are short of memory.", is_crash=True)
        how = f"by signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        said = f" It said: {'; '.join(words)}." if (words := self._words()) else ""
        return _Died(f"its decoder died ({how}).{said} Convert the picture with another program.", is_crash=True)

    def _words(self) -> list[str]:
        """The last of what libraries wrote on standard error, each line once."""
        text = os.pread(self._errors.fileno(), STDERR_BYTES, 0).decode("utf-8", "replace")
        lines = dict.fromkeys(line.strip().rstrip(".") for line in text.splitlines() if line.strip())
        return [line[:200] for line in lines][-LINES_TOLD:]


def _with_notes(picture: Picture, words: Sequence[str]) -> Picture:
    return replace(picture, notes=(*picture.notes, *(f"its decoder says: {line}" for line in words)))
