"""How a job comes in: POST /v1/jobs, and any request for a picture that prefers an answer by a job."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import Problem
from ..limits.headers import check_pixels, check_result
from ..limits.identity import client_of
from ..limits.kinds import is_video
from ..limits.uploads import Upload, receive
from ..services import Services, services
from ..workers.work import Work
from .negotiation import MEDIA_TYPES, VIDEO_TYPES, chosen_format, default_format
from .options import Options, shown_name


def wants_job(request: Request) -> bool:
    """Whether a request for a picture shall be answered by a job: Prefer: respond-async (RFC 7240)."""
    asked = ",".join(request.headers.getlist("prefer")).split(",")
    return any(one.split(";")[0].strip().lower() == "respond-async" for one in asked)


async def accept_job(request: Request) -> Response:
    """Take in a picture or a video: 202, and where to ask for it.

    Raises:
        Problem: as for a picture that is waited for; 429, there are too many jobs; 507, no room for one more.
    """
    of, client = services(request), client_of(request)
    limits = of.settings.limits
    length = request.headers.get("content-length", "")
    announced = int(length[:20]) if length.isdecimal() else None
    async with of.jobs.room(client, announced, max(limits.upload_bytes, limits.video_bytes)) as most_bytes:
        with of.admission.upload(client):
            upload = await receive(request, limits, of.scratch, most_bytes=most_bytes)
        return await _queued(request, of, client, upload)


async def _queued(request: Request, of: Services, client: str, upload: Upload) -> Response:
    try:
        options = Options.of(upload.pairs)
        model = await _checked(of, options.model or of.settings.model)
        if is_video(upload.head):
            work = _video(of, upload, options, model)
        else:
            work = await _picture(of, upload, options, model, request.headers.get("accept", ""))
        job = await of.jobs.accept(work, client, upload.name and shown_name(upload.name))
    finally:
        upload.discard()
    receipt = job.receipt()
    headers = {"Location": receipt["status_url"], "Cache-Control": "no-store"}
    if wants_job(request):
        headers["Preference-Applied"] = "respond-async"
    return JSONResponse(receipt, 202, headers)


async def _checked(of: Services, model: str) -> str:
    """The model; while no Triton answers, a job is taken in all the same, and waits."""
    try:
        return await of.models.checked(model)
    except Problem as problem:
        if problem.status != 503:
            raise
        return model


async def _picture(of: Services, upload: Upload, options: Options, model: str, accept: str) -> Work:
    limits = of.settings.limits
    if upload.size > limits.upload_bytes:
        raise Problem(
            413,
            f"The picture has {upload.size:,} bytes, and {limits.upload_bytes:,} are allowed. Send a smaller file.",
            limit_bytes=limits.upload_bytes,
        )
    if options.format in VIDEO_TYPES:
        raise Problem(400, f"{options.format} is a format of videos, and this is a picture.", option="format")
    header = await of.looks.look(upload.source, shown_name(upload.name))
    check_pixels(header, limits)
    check_result(header, options.scale or of.models.scale(model), options.max_side, limits)
    usual = default_format(header.format, header.frames)
    # The answer to a job is JSON: Accept speaks of the result only where it names pictures.
    format_ = options.format or (chosen_format(accept, usual) if "image/" in accept else usual)
    return options.work(upload, Path(), format_, model, limits)


def _video(of: Services, upload: Upload, options: Options, model: str) -> Work:
    for name, value in (
        ("quality", options.quality),
        ("scale", options.scale),
        ("max_side", options.max_side),
        ("metadata", options.strip_metadata or None),
        ("png_effort", options.png_effort),
    ):
        if value is not None:
            raise Problem(400, f"The option {name!r} is for pictures, and this is a video.", option=name)
    if options.format in MEDIA_TYPES:
        raise Problem(400, f"{options.format} is a format of pictures, and this is a video.", option="format")
    format_ = options.format or container_of(upload.head)
    return options.work(upload, Path(), format_, model, of.settings.limits, kind="video")


def container_of(head: bytes) -> str:
    """The container for the result of a video that begins so: its own, or MP4 where that is not written."""
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "webm" if b"webm" in head else "mkv"
    is_quicktime = head[4:12] == b"ftypqt  " or head[4:8] in (b"moov", b"mdat", b"wide")
    return "mov" if is_quicktime else "mp4"
