"""A picture in, a picture out: /v1/upscale, and /enhance as the Flask service had it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from .. import __version__
from ..errors import Problem
from ..limits.headers import check_pixels, check_result
from ..limits.identity import client_of
from ..limits.kinds import is_video
from ..limits.uploads import Upload, receive
from ..models import Models
from ..services import Services, services
from ..watching import seen
from ..workers.work import Done
from .accepting import accept_job, wants_job
from .negotiation import MEDIA_TYPES, chosen_format, default_format
from .options import Options, shown_name

SEND_BYTES = 256 * 1024
_T = TypeVar("_T")


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    return [
        Route("/enhance", enhance, methods=["POST"]),
        Route("/v1/upscale", upscale, methods=["POST", "PUT"]),
    ]


async def upscale(request: Request) -> Response:
    """One picture, as a form or as the body itself; the answer is the upscaled one, or where to ask for it later."""
    if wants_job(request):
        return await accept_job(request)
    return await _upscaled(request, services(request), ("image", "file"), None)


async def enhance(request: Request) -> Response:
    """The call of the Flask service: a form with `image`; PNG, unless something else is asked for.

    Errors are `{"error": "..."}`: `answers` sees to that.
    """
    return await _upscaled(request, services(request), ("image",), "png")


async def _upscaled(request: Request, of: Services, fields: tuple[str, ...], default: str | None) -> Response:
    client, limits = client_of(request), of.settings.limits
    with ExitStack() as held:
        with of.admission.upload(client):
            upload = await receive(request, limits, of.scratch, most_bytes=limits.upload_bytes, fields=fields)
            held.callback(upload.discard)
            asked = await _looked_at(request, of, upload, default)
        if _matches(request.headers.get("if-none-match", ""), asked.tag):
            return Response(status_code=304, headers={"ETag": asked.tag, "Vary": "Accept"})
        target = of.scratch.path()
        held.callback(target.unlink, missing_ok=True)
        of.scratch.check_room()
        held.enter_context(of.admission.result(client))
        work = asked.options.work(upload, target, asked.format, asked.model, limits)
        with of.admission.picture(client, asked.pixels):
            done = await while_connected(request, of.pictures.run(work))
        upload.discard()
        if done.content is None:
            held.enter_context(of.scratch.holding(done.bytes))
        return _Result(done, target, result_answer(done, upload, asked.tag), held.pop_all())


@dataclass(frozen=True)
class _Asked:
    """What is wanted of a picture, after all that can be refused before the work."""

    options: Options
    model: str
    format: str
    pixels: int
    tag: str


async def _looked_at(request: Request, of: Services, upload: Upload, default: str | None) -> _Asked:
    """Raises Problem, EdsrError."""
    options = Options.of(upload.pairs)
    if is_video(upload.head):
        raise Problem(415, "This is a video. Send it as a job: POST /v1/jobs.")
    model = await of.models.checked(options.model or of.settings.model)
    header = await of.looks.look(upload.source, shown_name(upload.name))
    check_pixels(header, of.settings.limits)
    check_result(header, options.scale or of.models.scale(model), options.max_side, of.settings.limits)
    if options.format is not None and options.format not in MEDIA_TYPES:
        raise Problem(400, f"{options.format} is a format of videos, and this is a picture.", option="format")
    format_ = options.format or chosen_format(
        request.headers.get("accept"), default or default_format(header.format, header.frames)
    )
    seen(request).format, seen(request).pixels = format_, header.pixels
    return _Asked(options, model, format_, header.pixels, etag(upload.sha256, options, format_, of.models, model))


def result_answer(done: Done, upload: Upload, tag: str) -> dict[str, str]:
    """What is to be known of a result, in headers."""
    return {
        "ETag": tag,
        "Vary": "Accept",
        "Content-Disposition": disposition(upload.name, done.format),
        "Content-Length": str(done.bytes),
        "Accept-Ranges": "none",
        "Cache-Control": "private, no-cache",
        **result_headers(done),
    }


def result_headers(done: Done) -> dict[str, str]:
    """What was done, in headers: ASCII; other letters are percent-encoded."""
    found = {
        "Edsr-Model": done.model,
        "Edsr-Precision": done.precision,
        "Edsr-Seconds": f"{done.seconds:.3f}",
        "Edsr-Input-Size": f"{done.lr_width}x{done.lr_height}",
        "Edsr-Output-Size": f"{done.width}x{done.height}",
    }
    if done.notes:
        found["Edsr-Notes"] = "; ".join(done.notes)
    return {name: quote(value, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~\"") for name, value in found.items() if value}


def disposition(name: str, format_: str) -> str:
    """Content-Disposition for a result (RFC 6266): the sender's name without its folder, and the extension that is
    true."""
    stem = shown_name(name).rsplit(".", 1)[0].strip(". ") or "picture"
    stem = "picture" if stem == "the picture" else stem
    extension = {"jpeg": "jpg", "tiff": "tif"}.get(format_, format_)
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in " -_.()") else "_" for letter in stem)
    text = f'inline; filename="{plain}_x3.{extension}"'
    if plain != stem:
        text += f"; filename*=UTF-8''{quote(stem, safe='')}_x3.{extension}"
    return text


def etag(sha256: str, options: Options, format_: str, models: Models, model: str) -> str:
    """A tag for the answer: the same content, weights and options give the same."""
    text = "\n".join((sha256, options.text(), format_, models.weights(model), __version__))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _matches(header: str, tag: str) -> bool:
    tags = [one.strip().removeprefix("W/") for one in header.split(",")]
    return tag in tags or tags == ["*"]


async def while_connected(request: Request, work: Awaitable[_T]) -> _T:
    """What `work` gives; it is cancelled when the other side goes away.

    Raises:
        ClientDisconnect: it did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive_: Callable[[], Awaitable[object]]) -> None:
    while True:
        message = await receive_()
        if isinstance(message, dict) and message.get("type") == "http.disconnect":
            return


class _Result(StreamingResponse):
    """Sends a result. What was held for it is let go when it is sent, or its reader has gone."""

    def __init__(self, done: Done, target: Path, headers: dict[str, str], held: ExitStack) -> None:
        self._held = held
        pieces = _one(done.content) if done.content is not None else _pieces(target)
        super().__init__(pieces, 200, headers, MEDIA_TYPES[done.format])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._held:
            await super().__call__(scope, receive, send)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, SEND_BYTES):
            yield piece
    finally:
        file.close()
