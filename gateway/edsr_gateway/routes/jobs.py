"""/v1/jobs: long work, which outlives its request."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import PurePath
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ..errors import Problem
from ..jobs.desk import JobDesk
from ..jobs.job import FINISHED, GONE, Job
from ..jobs.store import StoreAwayError
from ..services import services

LOOK_EVERY_S, COMMENT_EVERY_S = 0.5, 15.0
MOST_LISTENERS = 512
_NOT_KEPT = {"Cache-Control": "no-store"}


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    return [
        Route("/v1/jobs", all_jobs, methods=["GET", "POST"]),
        Route("/v1/jobs/{id}", one_job, methods=["GET", "DELETE"]),
        Route("/v1/jobs/{id}/events", events, methods=["GET"]),
        Route("/v1/jobs/{id}/result", result, methods=["GET"]),
    ]


def wants_job(request: Request) -> bool:
    """Whether a request for a picture shall be answered by a job: Prefer: respond-async (RFC 7240)."""
    asked = ",".join(request.headers.getlist("prefer")).split(",")
    return any(one.split(";")[0].strip().lower() == "respond-async" for one in asked)


async def all_jobs(request: Request) -> Response:
    """POST queues a job; GET lists those of the key that asks."""
    if request.method == "POST":
        return await accept_job(request)
    jobs = await services(request).jobs.of(client_of(request))
    return JSONResponse({"jobs": [job.view() for job in jobs]}, headers=_NOT_KEPT)


async def one_job(request: Request) -> Response:
    """GET says how a job is, DELETE cancels it and removes all of it."""
    desk, job_id, client = services(request).jobs, request.path_params["id"], client_of(request)
    if request.method == "DELETE":
        await desk.cancel(job_id, client)
        return Response(status_code=204)
    job = await desk.find(job_id, client)
    headers = dict(_NOT_KEPT)
    if job.status not in (*FINISHED, *GONE):
        headers["Retry-After"] = "1"
    return JSONResponse(job.view(), headers=headers)


async def result(request: Request) -> Response:
    """The content of the result; parts of it too (Range)."""
    desk = services(request).jobs
    job = await desk.find(request.path_params["id"], client_of(request))
    path = await desk.result(job)
    assert job.result is not None  # noqa: S101 - it is done
    headers = {"ETag": f'"{job.id}"', "Cache-Control": "private, no-cache"}
    if f'"{job.id}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    format_ = str(job.result["format"])
    headers["Content-Disposition"] = _disposition(job, format_)
    try:
        found = await asyncio.to_thread(path.stat)
    except OSError:
        raise Problem(410, "This job was cancelled or has expired; its files are removed.") from None
    return FileResponse(path, headers=headers, media_type=MEDIA_TYPES[format_], stat_result=found)


async def events(request: Request) -> Response:
    """The status whenever it changes, as server-sent events, until the job is finished."""
    desk, client = services(request).jobs, client_of(request)
    job = await desk.find(request.path_params["id"], client)
    if desk.listeners >= MOST_LISTENERS:
        raise Problem(429, f"{MOST_LISTENERS} streams of events are open, and no more are. Ask for the status instead.")
    headers = {**_NOT_KEPT, "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(desk, job, client), media_type="text/event-stream", headers=headers)


async def _told(desk: JobDesk, job: Job, client: str) -> AsyncIterator[str]:
    """The stream; it goes on while the store is away, and ends when the gateway does: listeners come again."""
    last, said = None, time.monotonic()
    desk.listeners += 1
    try:
        yield "retry: 1000\n\n"
        while not desk.ending.is_set():
            view = job.view()
            if view != last:
                yield f"event: status\ndata: {json.dumps(view)}\n\n"
                last, said = view, time.monotonic()
            elif time.monotonic() - said >= COMMENT_EVERY_S:
                yield ": still here\n\n"
                said = time.monotonic()
            if job.status in (*FINISHED, *GONE):
                return
            await desk.pause(LOOK_EVERY_S)
            try:
                job = await desk.find(job.id, client)
            except StoreAwayError:
                continue
            except Problem:  # it expired, or was forgotten
                return
    finally:
        desk.listeners -= 1


def _disposition(job: Job, format_: str) -> str:
    stem = PurePath(job.name).stem if job.name else "result"
    name = f"{stem}_x{round(job.result['width'] / job.result['lr_width'], 2):g}" if job.result else stem
    return f"attachment; filename*=UTF-8''{quote(name + EXTENSIONS.get(format_, '.' + format_))}"


# --- for the time being, until uploads and options are there ---
from pathlib import Path  # noqa: E402

from ..jobs.kinds import HEAD_BYTES, kind_of  # noqa: E402
from ..workers.work import Work  # noqa: E402

EXTENSIONS = {"jpeg": ".jpg", "tiff": ".tif"}
MEDIA_TYPES = {
    **{name: f"image/{name}" for name in ("png", "jpeg", "webp", "tiff", "bmp", "gif", "avif", "heic")},
    "mp4": "video/mp4",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "webm": "video/webm",
}


def client_of(request: Request) -> str:
    return request.client.host if request.client else ""


async def accept_job(request: Request) -> Response:
    """Take a job in: 202 and where to ask for it."""
    desk, client = services(request).jobs, client_of(request)
    await desk.check_room(client)
    fields: dict[str, str] = dict(request.query_params)
    name = fields.pop("name", "")
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=16) as form:
            content = b""
            for key, value in form.items():
                if isinstance(value, str):
                    fields[key] = value
                else:
                    content, name = await value.read(), value.filename or name
    else:
        content = await request.body()
    if not content:
        raise Problem(400, "Nothing came. Send the picture as the body, or in the form's field `image`.")
    kind = kind_of(content[:HEAD_BYTES])
    work = Work(
        content,
        Path("unused"),
        kind,
        "the picture" if kind == "picture" else "the video",
        fields.get("format", "png" if kind == "picture" else "mp4"),
        quality=int(fields["quality"]) if "quality" in fields else None,
        model=fields.get("model", "auto"),
        max_pixels=desk.limits.pixels,
        max_frames=desk.limits.frames,
    )
    job = await desk.accept(work, client, name)
    receipt = job.receipt()
    headers = {**_NOT_KEPT, "Location": receipt["status_url"]}
    if wants_job(request):
        headers["Preference-Applied"] = "respond-async"
    return JSONResponse(receipt, 202, headers)
