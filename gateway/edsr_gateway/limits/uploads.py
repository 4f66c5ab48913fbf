"""How a picture comes in: the body of a request, raw or as a form, within bounds of size and time.

Small ones stay in memory, larger ones go to a file of the gateway's own naming. The body is read once and never whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ..errors import Problem
from .limits import Limits
from .scratch import Scratch

FIELDS = ("image", "file")
MOST_FIELDS = 32
MOST_FIELD_BYTES = 1000
MOST_NAME = 255
# What a form may take beside the picture: boundaries, headers of parts, the other fields.
FORM_BYTES = 64 * 1024
HEAD_BYTES = 64
WRITE_BYTES = 1 << 20
BOUNDARY_BYTES = 200


@dataclass
class Upload:
    """What came in.

    Attributes:
        source: the content, or the file that holds it.
        name: as the sender calls it, for messages and the name of the result; never a path here.
        pairs: options, of the query and the form, in their order.
        size: bytes.
        sha256: of the content.
        head: its first bytes.
        held: lets go of what is counted for its file.
    """

    source: bytes | Path
    name: str
    pairs: list[tuple[str, str]]
    size: int
    sha256: str
    head: bytes
    held: ExitStack = field(default_factory=ExitStack)

    def discard(self) -> None:
        """Remove its file."""
        if isinstance(self.source, Path):
            self.source.unlink(missing_ok=True)
        self.held.close()


async def receive(
    request: Request, limits: Limits, scratch: Scratch, *, most_bytes: int, fields: tuple[str, ...] = FIELDS
) -> Upload:
    """Read the body of `request`. Whoever gets the upload discards it.

    A body of type multipart/form-data is a form with one picture in one of `fields`, and options; any other body is
    the picture itself.

    Raises:
        Problem: 400, it is empty, or a form with none, two or a wrong field; 408, it came too slowly; 413, it is larger
            than `most_bytes`; 415, the body is compressed; 429, 507, the disk has no room for it.
        ClientDisconnect: the sender went away.
    """
    pairs = [(name, value) for name, value in request.query_params.multi_items()]
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Problem(415, f"A body in the content encoding {encoding[:40]!r} is not taken; send the picture as it is.")
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    is_form = kind == b"multipart/form-data"
    if kind == b"application/x-www-form-urlencoded" and request.method == "POST" and not _looks_like_curl(request):
        raise Problem(
            400, f"Send the picture as multipart/form-data in the field {fields[0]!r}, or as the body itself."
        )
    most = most_bytes + (FORM_BYTES if is_form else 0)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise _too_large(most_bytes, int(length[:20]))
    sink = _Sink(scratch, limits.memory_bytes, most_bytes)
    try:
        if is_form:
            boundary = parameters.get(b"boundary", b"")
            if not 1 <= len(boundary) <= BOUNDARY_BYTES:
                raise Problem(400, "The form says no boundary; let your program set Content-Type.")
            form = _Form(boundary, fields)
            total = 0
            async for chunk in chunks(request, limits):
                total += len(chunk)
                if total > most:
                    raise _too_large(most_bytes)
                for data in form.feed(chunk):
                    await sink.write(data)
            form.finish()
            pairs += form.pairs
            name = form.name
        else:
            async for chunk in chunks(request, limits):
                await sink.write(chunk)
            name = ""
        source = await sink.finish()
    except BaseException:
        sink.discard()
        raise
    if not sink.size:
        raise Problem(400, "The picture is empty: no byte of it came.")
    return Upload(source, name, pairs, sink.size, sink.digest.hexdigest(), bytes(sink.head), sink.held)


def _looks_like_curl(request: Request) -> bool:
    """`curl --data-binary @picture` says urlencoded, whatever it sends; browsers' forms come with an Origin."""
    return "origin" not in request.headers


def _too_large(limit: int, came: int | None = None) -> Problem:
    came_words = f"{came:,} bytes are announced" if came is not None else "The upload has more bytes"
    detail = f"{came_words}, and {limit:,} are allowed. Send a smaller file."
    return Problem(413, detail, limit_bytes=limit)


async def chunks(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it comes, within the limits of time."""
    end = time.monotonic() + limits.upload_s
    stream = request.stream()
    while True:
        left = min(limits.stall_s, end - time.monotonic())
        try:
            chunk = await asyncio.wait_for(anext_of(stream), max(0.0, left))
        except StopAsyncIteration:
            return
        except (asyncio.TimeoutError, TimeoutError):
            raise Problem(
                408,
                f"The upload came too slowly: {limits.stall_s:g} s without a byte, or {limits.upload_s:g} s in all.",
                headers={"Connection": "close"},
            ) from None
        yield chunk


async def anext_of(stream: Any) -> bytes:
    """The next piece. wait_for turns StopAsyncIteration of a bare anext into a RuntimeError; of this it does not."""
    found: bytes = await stream.__anext__()
    return found


@dataclass
class _Sink:
    """Where the picture's bytes go: memory, then a file."""

    scratch: Scratch
    memory_bytes: int
    most_bytes: int
    size: int = 0
    head: bytearray = field(default_factory=bytearray)
    digest: Any = field(default_factory=hashlib.sha256)
    held: ExitStack = field(default_factory=ExitStack)
    _buffer: bytearray = field(default_factory=bytearray)
    _path: Path | None = None
    _file: IO[bytes] | None = None

    async def write(self, data: bytes) -> None:
        if self.size + len(data) > self.most_bytes:
            raise _too_large(self.most_bytes)
        self.size += len(data)
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self._buffer += data
        if self.size > self.memory_bytes and len(self._buffer) >= WRITE_BYTES:
            await self._flush()

    async def finish(self) -> bytes | Path:
        if self.size <= self.memory_bytes:
            content = bytes(self._buffer)
            self.digest.update(content)
            return content
        await self._flush()
        if self._file is None or self._path is None:
            raise AssertionError("flushed without a file")
        self._file.close()
        return self._path

    async def _flush(self) -> None:
        data, self._buffer = self._buffer, bytearray()
        self.scratch.check_room(len(data))
        self.held.enter_context(self.scratch.holding(len(data)))
        try:
            await asyncio.to_thread(self._store, data)
        except OSError as error:
            raise Problem(507, "The gateway has no room for this upload now. Try again later.") from error

    def _store(self, data: bytearray) -> None:
        if self._file is None:
            self._path = self.scratch.path()
            self._file = self._path.open("xb")
        self._file.write(data)
        self.digest.update(data)

    def discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self.held.close()


class _Form:
    """A form with one picture in it, parsed as it comes."""

    def __init__(self, boundary: bytes, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self._header: list[bytearray] = [bytearray(), bytearray()]
        self._disposition = b""
        self._part = ""
        self._is_picture = False
        self._has_picture = False
        self._ended = False
        self._value = bytearray()
        self._out: list[bytes] = []
        self.name = ""
        self.pairs: list[tuple[str, str]] = []
        self._parts = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._header_begin,
                "on_header_field": lambda data, start, end: self._grow(self._header[0], data[start:end]),
                "on_header_value": lambda data, start, end: self._grow(self._header[1], data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> list[bytes]:
        """Parse a piece; returns what of it is the picture's."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Problem(400, "The form is malformed. Let your program make it: curl -F image=@picture.jpg") from error
        out, self._out = self._out, []
        return out

    def finish(self) -> None:
        """Raises Problem if the form ended early or holds no picture."""
        if not self._ended:
            raise Problem(400, "The form ended before its last boundary: the upload is cut off.")
        if not self._has_picture:
            raise Problem(400, f"The form holds no picture: send it as a file in the field {_names(self._fields)}.")

    def _grow(self, buffer: bytearray, data: bytes) -> None:
        buffer += data
        if len(buffer) > 4 * MOST_FIELD_BYTES:
            raise Problem(400, "The form has a header that is too long.")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_FIELDS:
            raise Problem(400, f"The form has more than {MOST_FIELDS} fields.")
        self._disposition, self._value = b"", bytearray()

    def _header_begin(self) -> None:
        self._header = [bytearray(), bytearray()]

    def _header_end(self) -> None:
        if bytes(self._header[0]).lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        is_file = b"filename" in options or b"filename*" in options
        self._is_picture = self._part in self._fields
        if not self._is_picture:
            if is_file:
                raise Problem(
                    400, f"The file is in the field {self._part[:40]!r}; send it in the field {_names(self._fields)}."
                )
            return
        if self._has_picture:
            raise Problem(400, "The form holds two pictures; send one with each request.")
        self._has_picture = True
        name = options.get(b"filename*") or options.get(b"filename") or b""
        self.name = name.decode("utf-8", "replace")[:MOST_NAME]

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_picture:
            self._out.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MOST_FIELD_BYTES:
            raise Problem(400, f"The value of the field {self._part[:40]!r} is longer than {MOST_FIELD_BYTES} bytes.")

    def _end(self) -> None:
        if not self._is_picture:
            self.pairs.append((self._part, self._value.decode("utf-8", "replace")))

    def _finish(self) -> None:
        self._ended = True


def _names(fields: tuple[str, ...]) -> str:
    return " or ".join(repr(one) for one in fields)


__all__ = ["ClientDisconnect", "Upload", "receive"]
