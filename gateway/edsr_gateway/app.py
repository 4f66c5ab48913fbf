"""The application: routes, what surrounds them, and the services that live as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from edsr_client import AsyncUpscaler
from edsr_client.errors import EdsrError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import Problem, problem_of_any
from .jobs.desk import JobDesk
from .jobs.stores import store_for
from .limits.admission import Admission
from .limits.scratch import Scratch
from .models import Models
from .routes import health, jobs, page, pictures
from .services import Services
from .settings import Settings
from .workers.pool import WorkerPool

# Headers are read beside the work, so that what is refused is refused at once.
LOOKERS, LOOK_S = 1, 20.0


def create_app(settings: Settings) -> Starlette:
    """An ASGI application for `settings`. Its connections live as long as it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        limits = settings.limits
        looks = WorkerPool(settings.urls, settings.token, LOOKERS, LOOK_S)
        quick = WorkerPool(settings.urls, settings.token, settings.workers, limits.picture_s)
        background = WorkerPool(settings.urls, settings.token, settings.job_workers, limits.job_s)
        async with AsyncUpscaler(list(settings.urls), model=settings.model, token=settings.token) as upscaler:
            scratch = await asyncio.to_thread(Scratch, settings.folder / "scratch")
            store = await asyncio.to_thread(store_for, settings)
            desk = JobDesk(settings, store, background, scratch)
            app.state.services = Services(
                settings, upscaler, Models(upscaler), Admission(limits), scratch, looks, quick, background, desk
            )
            try:
                await asyncio.gather(looks.start(), quick.start(), background.start())
                await desk.start()
                yield
            finally:
                await desk.close()
                await asyncio.gather(looks.close(), quick.close(), background.close())
                await asyncio.to_thread(scratch.close)

    return Starlette(
        routes=[*page.routes(), *health.routes(), *pictures.routes(), *jobs.routes()],
        lifespan=lifespan,
        exception_handlers={
            Problem: on_error,
            EdsrError: on_error,
            HTTPException: on_http_exception,
            Exception: on_error,
        },
    )


def end(app: Starlette) -> None:
    """The server is about to stop, and waits for open requests: those that would not end by themselves do so now."""
    found: Services | None = getattr(app.state, "services", None)
    if found is not None:
        found.jobs.end()


def answer(problem: Problem) -> Response:
    """A problem as RFC 9457 writes it."""
    return JSONResponse(problem.body(), problem.status, problem.headers, "application/problem+json")


async def on_error(_: Request, error: Exception) -> Response:
    """Whatever a route raised."""
    return answer(problem_of_any(error))


async def on_http_exception(_: Request, error: Exception) -> Response:
    """What the router refused: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    return answer(Problem(error.status_code, error.detail, headers=error.headers))
