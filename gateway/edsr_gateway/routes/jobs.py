"""/v1/jobs: long work, which outlives its request."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ..errors import Problem
from ..jobs.desk import JobDesk
from ..jobs.job import FINISHED, GONE, Job
from ..jobs.store import StoreAwayError
from ..limits.identity import client_of
from ..services import services
from .accepting import accept_job
from .negotiation import MEDIA_TYPES, VIDEO_TYPES
from .pictures import disposition

LOOK_EVERY_S, COMMENT_EVERY_S = 0.5, 15.0
MOST_LISTENERS, MOST_LISTENERS_EACH = 512, 64
_NOT_KEPT = {"Cache-Control": "no-store"}


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    return [
        Route("/v1/jobs", all_jobs, methods=["GET", "POST", "PUT"]),
        Route("/v1/jobs/{id}", one_job, methods=["GET", "DELETE"]),
        Route("/v1/jobs/{id}/events", events, methods=["GET"]),
        Route("/v1/jobs/{id}/result", result, methods=["GET"]),
    ]


async def all_jobs(request: Request) -> Response:
    """POST queues a job, and so does PUT, which is what `curl -T` sends; GET lists those of the key that asks."""
    if request.method in ("POST", "PUT"):
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
    headers["Content-Disposition"] = disposition(job.name, format_)
    try:
        found = await asyncio.to_thread(path.stat)
    except OSError:
        raise Problem(410, "This job was cancelled or has expired; its files are removed.") from None
    return FileResponse(path, headers=headers, media_type={**MEDIA_TYPES, **VIDEO_TYPES}[format_], stat_result=found)


async def events(request: Request) -> Response:
    """The status whenever it changes, as server-sent events, until the job is finished."""
    desk, client = services(request).jobs, client_of(request)
    job = await desk.find(request.path_params["id"], client)
    if desk.listeners[client] >= MOST_LISTENERS_EACH or desk.listeners.total() >= MOST_LISTENERS:
        raise Problem(429, "Too many streams of events are open. Ask for the status instead.")
    headers = {**_NOT_KEPT, "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(desk, job, client), media_type="text/event-stream", headers=headers)


async def _told(desk: JobDesk, job: Job, client: str) -> AsyncIterator[str]:
    """The stream; it goes on while the store is away, and ends when the gateway does: listeners come again."""
    last, said = None, time.monotonic()
    desk.listeners[client] += 1
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
        desk.listeners[client] -= 1
        if not desk.listeners[client]:
            del desk.listeners[client]
