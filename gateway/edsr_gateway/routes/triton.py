"""/v2: Triton's protocol, checked. Everything that is not listed here is not passed on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ..errors import Problem
from ..limits.identity import client_of
from ..limits.uploads import chunks
from ..services import Services, services
from ..triton.checks import MOST_HEADER_BYTES, MOST_JSON_BYTES, Proved, check
from ..watching import seen

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_VERSION = re.compile(r"[0-9]{1,9}")
# What a request takes along, and what an answer brings back.
PASSED = ("content-type", "traceparent", "tracestate", "triton-request-id", "x-request-id")
RETURNED = ("Content-Type", "Content-Length", "Inference-Header-Content-Length")
HEADER_LENGTH = "inference-header-content-length"


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    found: list[BaseRoute] = [
        Route(path, ask) for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats")
    ]
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [Route(f"{model}{what}", ask) for what in ("", "/config", "/ready", "/stats")]
        found.append(Route(f"{model}/infer", infer, methods=["POST"]))
    return found


async def ask(request: Request) -> Response:
    """What Triton says of itself and its models."""
    path = _path(request)
    status, kind, content = await services(request).triton.ask(path, as_owner=path.endswith("/stats"))
    return Response(content, status, media_type=kind)


async def infer(request: Request) -> Response:
    """One inference: proved first, then streamed to Triton and back."""
    of, client, limits = services(request), client_of(request), services(request).settings.limits
    path = _path(request)
    contract = await of.triton.contract(request.path_params["model"])
    length = _length(request, limits.tensor_bytes)
    with of.admission.upload(client):
        pieces = _Pieces(chunks(request, limits), length)
        head_bytes = _head_length(request, length)
        head = await pieces.exactly(head_bytes)
        proof = await asyncio.to_thread(check, head, length - head_bytes, contract)
        seen(request).pixels, seen(request).format = proof.pixels, "tensor"
        return await _passed_on(request, of, client, path, head, pieces, proof)


async def _passed_on(
    request: Request, of: Services, client: str, path: str, head: bytes, pieces: _Pieces, proof: Proved
) -> Response:
    held = AsyncExitStack()
    admitted = ExitStack()
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield head
        async for piece in pieces.rest():
            yield piece
        admitted.enter_context(of.admission.picture(client, proof.pixels))
        sent.set()

    async def gone() -> None:
        await sent.wait()  # until then the body is read, and says it
        while (await request.receive())["type"] != "http.disconnect":
            pass

    headers = {name: request.headers[name] for name in PASSED if name in request.headers}
    headers["Content-Length"] = str(len(head) + proof.binary_bytes)
    if HEADER_LENGTH in request.headers:
        headers[HEADER_LENGTH] = str(len(head))
    watch = asyncio.ensure_future(gone())
    work = asyncio.ensure_future(held.enter_async_context(of.triton.infer(path, headers, body)))
    try:
        await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        answer = work.result()
    except BaseException:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await held.aclose()
        admitted.close()
        raise
    finally:
        watch.cancel()
    admitted.close()

    async def content() -> AsyncIterator[bytes]:
        async with held:
            async for piece in answer.content.iter_any():
                yield piece

    back = {name: answer.headers[name] for name in RETURNED if name in answer.headers}
    return _Closing(content(), answer.status, back, held)


class _Closing(StreamingResponse):
    """A stream whose source is closed also when nobody reads it."""

    def __init__(
        self, content: AsyncIterator[bytes], status: int, headers: dict[str, str], held: AsyncExitStack
    ) -> None:
        super().__init__(content, status, headers)
        self._held = held

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._held.aclose()


class _Pieces:
    """A body of known length, taken in parts."""

    def __init__(self, source: AsyncIterator[bytes], length: int) -> None:
        self._source, self._left, self._over = source, length, b""

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes. Raises Problem if they do not come."""
        buffer = bytearray(self._over)
        while len(buffer) < count:
            piece = await anext(self._source, b"")
            if not piece:
                raise Problem(400, "The body is shorter than it says.")
            buffer += piece
        self._over = bytes(buffer[count:])
        self._left -= count
        return bytes(buffer[:count])

    async def rest(self) -> AsyncIterator[bytes]:
        """What is left. Raises Problem if it is not as much as was said."""
        left = self._left
        if self._over:
            left -= len(self._over)
            yield self._over
        if left:
            async for piece in self._source:
                left -= len(piece)
                if left < 0:
                    break
                if piece:
                    yield piece
        if left:
            raise Problem(400, "The body has another length than it says.")


def _path(request: Request) -> str:
    """The path for Triton, made anew of parts that were looked at."""
    model, version = request.path_params.get("model"), request.path_params.get("version")
    if model is not None and not _NAME.fullmatch(model):
        raise Problem(404, "There is no such model.")
    if version is not None and not _VERSION.fullmatch(version):
        raise Problem(404, "There is no such version.")
    return request.url.path


def _length(request: Request, most: int) -> int:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(415, "A compressed body is not passed on; send the tensor as it is.")
    text = request.headers.get("content-length", "")
    if not text.isdecimal():
        raise Problem(411, "Say how long the body is: Content-Length.")
    if len(text) > 18 or int(text) > most:
        raise Problem(413, f"A request for inference has at most {most:,} bytes.", limit_bytes=most)
    return int(text)


def _head_length(request: Request, length: int) -> int:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        if length > MOST_JSON_BYTES:
            raise Problem(
                413,
                f"A request in JSON alone has at most {MOST_JSON_BYTES:,} bytes; send the tensor in binary.",
                limit_bytes=MOST_JSON_BYTES,
            )
        return length
    if not text.isdecimal() or len(text) > 9 or int(text) > min(length, MOST_HEADER_BYTES):
        raise Problem(
            400, f"Inference-Header-Content-Length is at most the body's length, and {MOST_HEADER_BYTES:,} bytes."
        )
    return int(text)
