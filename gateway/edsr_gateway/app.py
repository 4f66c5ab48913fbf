"""The application: routes, what surrounds them, and the services that live as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

from edsr_client import AsyncUpscaler
from edsr_client.errors import EdsrError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from .answers import refusal
from .errors import Problem, problem_of_any
from .jobs.desk import JobDesk
from .jobs.stores import store_for
from .limits.admission import Admission
from .limits.entry import Entry
from .limits.keys import Keys
from .limits.scratch import Scratch
from .metrics import Metrics
from .models import Models
from .routes import docs, health, info, jobs, page, pictures
from .routes import triton as triton_routes
from .services import Services
from .settings import Settings
from .triton.upstream import Upstream
from .watching import Watch
from .workers.pool import WorkerPool

# Headers are read beside the work, so that what is refused is refused at once.
LOOKERS, LOOK_S = 1, 20.0
# What a page of another origin may read beside the usual.
EXPOSED = (
    *("Content-Disposition", "ETag", "Location", "Preference-Applied", "Retry-After", "X-Request-Id"),
    *("Edsr-Model", "Edsr-Precision", "Edsr-Seconds", "Edsr-Input-Size", "Edsr-Output-Size", "Edsr-Notes"),
)


def create_app(settings: Settings) -> Starlette:
    """An ASGI application for `settings`. Its connections live as long as it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        limits = settings.limits
        looks = WorkerPool(settings.urls, settings.token, LOOKERS, LOOK_S)
        quick = WorkerPool(settings.urls, settings.token, settings.workers, limits.picture_s)
        background = WorkerPool(settings.urls, settings.token, settings.job_workers, limits.job_s)
        async with AsyncUpscaler(list(settings.urls), model=settings.model, token=settings.token) as upscaler:
            scratch = await asyncio.to_thread(Scratch, settings.folder / "scratch", limits.scratch_bytes)
            store = await asyncio.to_thread(store_for, settings)
            triton = Upstream(settings.urls, settings.token, limits.picture_s)
            desk = JobDesk(settings, store, background, scratch)
            app.state.services = Services(
                settings,
                upscaler,
                Models(settings.urls, settings.token),
                Admission(limits),
                scratch,
                looks,
                quick,
                background,
                desk,
                triton,
            )
            _add_gauges(app.state.metrics, app.state.services)
            try:
                await asyncio.gather(looks.start(), quick.start(), background.start(), triton.start())
                await desk.start()
                yield
            finally:
                await desk.close()
                await asyncio.gather(looks.close(), quick.close(), background.close(), triton.close())
                await asyncio.to_thread(scratch.close)

    metrics = Metrics()
    keys = Keys(settings.keys) if settings.keys is not None else None
    app = Starlette(
        routes=[
            *page.routes(),
            *health.routes(),
            *docs.routes(),
            *info.routes(),
            *pictures.routes(),
            *jobs.routes(),
            *triton_routes.routes(),
        ],
        middleware=[
            Middleware(Watch, metrics=metrics),
            *_cross_origin(settings.origins),
            Middleware(Entry, keys=keys, origins=settings.origins),
        ],
        lifespan=lifespan,
        exception_handlers={Problem: on_error, EdsrError: on_error, HTTPException: on_http_exception},
    )
    app.router.redirect_slashes = False  # a body does not follow
    app.state.metrics = metrics
    return app


def _cross_origin(origins: tuple[str, ...]) -> list[Middleware]:
    """CORS, for pages of exactly these origins."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "If-None-Match", "Prefer", "X-Request-Id"),
            expose_headers=EXPOSED,
        )
    ]


def end(app: Starlette) -> None:
    """The server is about to stop, and waits for open requests: those that would not end by themselves do so now."""
    found: Services | None = getattr(app.state, "services", None)
    if found is not None:
        found.jobs.end()


def _add_gauges(metrics: Metrics, of: Services) -> None:
    for what, pool in (("pictures", of.pictures), ("jobs", of.background), ("headers", of.looks)):
        for name, says in (
            ("busy", f"Processes that work on {what}."),
            ("waiting", f"Works on {what} that wait for a process."),
            ("replaced", f"Processes for {what} that died, took too long, or were ended with their request."),
        ):
            metrics.gauge(f"{what}_{name}", says, partial(getattr, pool, name))
    for name, says in (
        ("uploads", "Uploads that are coming in."),
        ("pictures", "Pictures that are under way or wait."),
        ("results", "Results that are being made or sent."),
        ("pixels", "LR pixels that are under way or wait."),
    ):
        metrics.gauge(f"{name}_in_flight", says, partial(getattr, of.admission, name))
    says = "On disk, of uploads and results that are under way."
    metrics.gauge("scratch_bytes", says, partial(getattr, of.scratch, "bytes"))


async def on_error(request: Request, error: Exception) -> Response:
    """Whatever a route raised."""
    return refusal(request.scope, problem_of_any(error))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What the router refused: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return refusal(
        request.scope, Problem(error.status_code, _SAYS.get(error.status_code, error.detail), headers=headers)
    )


_SAYS = {
    404: "There is no such path; /docs lists those there are.",
    405: "This path has no such method; the header Allow lists those it has.",
}
