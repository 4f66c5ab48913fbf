"""A bounded number of worker processes, and the queue in front of them. For one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from edsr_client import DecoderDiedError, EdsrError, ServerTimeoutError
from edsr_client import errors as client_errors

from ..errors import Problem
from . import wire
from .work import Done, Header, Progress, Work

log = logging.getLogger("edsr_gateway")

# Isolated, so that nothing in the folder it is started from takes the place of a library; then with this one's paths.
START = "import sys, json; sys.path[:] = json.loads(sys.argv[2]); from edsr_gateway.workers.process import main; main()"
START_S = 60.0


class WorkerPool:
    """Works on up to `count` things at a time, each in a process of its own.

    Args:
        urls, token: the Tritons, and what opens them.
        count: processes.
        seconds: the longest time for one work, without its waiting.
    """

    def __init__(self, urls: tuple[str, ...], token: str | None, count: int, seconds: float) -> None:
        self._urls, self._token, self._seconds = urls, token, seconds
        self._free = asyncio.Semaphore(count)
        self._count = count
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._fillings: set[asyncio.Task[None]] = set()
        self._closed = False
        self.busy = 0
        """Works that a process is at."""
        self.waiting = 0
        """Works that wait for one."""
        self.replaced = 0
        """Processes that died, took too long, or were ended with their work."""

    async def start(self) -> None:
        """Start all processes, so that the first request does not wait for one."""
        await asyncio.gather(*(self._fill() for _ in range(self._count)))

    async def close(self) -> None:
        """End all processes; what they are at is lost."""
        self._closed = True
        for task in self._fillings:
            task.cancel()
        await asyncio.gather(*self._fillings, return_exceptions=True)
        await asyncio.gather(*(self._end(process) for process in list(self._all)))

    async def run(self, work: Work, progress: Progress | None = None) -> Done:
        """Do one work; waits for a free process first. Cancelling ends the process.

        Raises:
            EdsrError: as the client's calls for files, and DecoderDiedError if the process died of the work.
            ServerTimeoutError: it took longer than the pool's `seconds`.
            Problem: 400, options do not go together; 503, the gateway ends.
        """
        message = dataclasses.asdict(work)
        message["source"] = None if isinstance(work.source, bytes) else str(work.source)
        message["target"] = str(work.target)
        content = work.source if isinstance(work.source, bytes) else b""
        try:
            answer, result = await self._run(message, content, work.name, progress)
        except BaseException:
            work.target.unlink(missing_ok=True)
            raise
        return Done(**{**answer["done"], "content": result if answer["in_memory"] else None})

    async def look(self, source: bytes | Path, name: str) -> Header:
        """Read the header of a picture.

        Raises:
            EdsrError, Problem: as `run`.
        """
        content = source if isinstance(source, bytes) else b""
        message = {"look": True, "source": None if isinstance(source, bytes) else str(source), "name": name}
        answer, _ = await self._run(message, content, name, None)
        return Header(**answer["done"])

    async def _run(
        self, message: dict[str, Any], content: bytes, name: str, progress: Progress | None
    ) -> tuple[dict[str, Any], bytes]:
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.busy += 1
        process: _Process | None = None
        is_whole = False
        try:
            process = await self._taken()
            try:
                done = await asyncio.wait_for(process.ask(message, content, name, progress), self._seconds)
            except (asyncio.TimeoutError, TimeoutError):
                raise ServerTimeoutError(
                    f"{name} took longer than {self._seconds:g} s and was given up. Send it smaller, or as a job."
                ) from None
            except (EdsrError, Problem) as error:
                is_whole = not isinstance(error, DecoderDiedError)
                raise
            is_whole = True
            return done
        finally:
            self.busy -= 1
            if process is None:
                self._free.release()
            elif is_whole and not self._closed:
                self._idle.append(process)
                self._free.release()
            else:
                process.kill()
                self.replaced += 1
                self._all.discard(process)
                task = asyncio.ensure_future(self._replace(process))
                self._fillings.add(task)
                task.add_done_callback(self._fillings.discard)

    async def _taken(self) -> _Process:
        if self._closed:
            raise Problem(503, "The gateway is ending.")
        while self._idle:
            process = self._idle.pop()
            if process.is_alive():
                return process
            await self._end(process)
        return await self._made()

    async def _made(self) -> _Process:
        process = await _Process.started(self._urls, self._token)
        self._all.add(process)
        return process

    async def _fill(self) -> None:
        if not self._closed and len(self._all) < self._count:
            self._idle.append(await self._made())

    async def _replace(self, process: _Process) -> None:
        """Its place is free when another has started: who waits would have to start one as well."""
        try:
            await self._end(process)
            with contextlib.suppress(Problem):
                await self._fill()
        finally:
            self._free.release()

    async def _end(self, process: _Process) -> None:
        self._all.discard(process)
        await process.end()


class _Process:
    """One process, at one work at a time."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer

    @staticmethod
    async def started(urls: tuple[str, ...], token: str | None) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", START, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        made = _Process(process, reader, writer)
        try:
            await made._send({"urls": list(urls), "token": token})
            await asyncio.wait_for(made._receive(), START_S)
        except (EOFError, OSError, ValueError, asyncio.TimeoutError):
            await made.end()
            raise Problem(503, "No worker could be started; the gateway's machine is short of something.") from None
        except BaseException:
            made.kill()
            raise
        return made

    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def ask(
        self, message: dict[str, Any], content: bytes, name: str, progress: Progress | None
    ) -> tuple[dict[str, Any], bytes]:
        try:
            await self._send(message, content)
            while True:
                answer, content = await self._receive()
                if "progress" in answer:
                    if progress is not None:
                        progress(*answer["progress"])
                elif "error" in answer:
                    raise _error_of(answer)
                elif isinstance(answer["done"], dict):
                    return answer, content
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            raise DecoderDiedError(
                f"{name}: the process that worked on it died. "
                "The file is damaged, or needs more memory or time than it should."
            ) from None

    async def _send(self, message: dict[str, Any], content: bytes = b"") -> None:
        for part in wire.packed(message, content):
            self._writer.write(part)
        await self._writer.drain()

    async def _receive(self) -> tuple[dict[str, Any], bytes]:
        text, content = wire.lengths(await self._reader.readexactly(wire.HEAD.size))
        found: dict[str, Any] = json.loads(await self._reader.readexactly(text))
        return found, await self._reader.readexactly(content)

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._process.kill()
        self._writer.close()

    async def end(self) -> None:
        self.kill()
        await asyncio.to_thread(self._process.wait)


def _error_of(answer: dict[str, Any]) -> EdsrError | Problem:
    name, says = str(answer["error"]), str(answer["says"])
    if name == "ValueError":
        return Problem(400, says)
    if answer.get("is_full"):
        return Problem(507, "The gateway has no room for this result now. Try again later.")
    kind = getattr(client_errors, name, None)
    if isinstance(kind, type) and issubclass(kind, EdsrError):
        return kind(says)
    return EdsrError(says)
