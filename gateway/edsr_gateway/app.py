"""The application: routes, what surrounds them, and the services that live as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from edsr_client import AsyncUpscaler
from edsr_client.errors import EdsrError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import Problem, problem_of
from .jobs.desk import JobDesk
from .jobs.stores import store_for
from .limits.scratch import Scratch
from .routes import health, jobs, page
from .services import Services
from .settings import Settings
from .workers.pool import WorkerPool

log = logging.getLogger("edsr_gateway")


def create_app(settings: Settings) -> Starlette:
    """An ASGI application for `settings`. Its connections live as long as it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        limits = settings.limits
        pictures = WorkerPool(settings.urls, settings.token, settings.workers, limits.picture_s)
        background = WorkerPool(settings.urls, settings.token, settings.job_workers, limits.job_s)
        async with AsyncUpscaler(list(settings.urls), model=settings.model, token=settings.token) as upscaler:
            scratch = await asyncio.to_thread(Scratch, settings.folder / "scratch")
            store = await asyncio.to_thread(store_for, settings)
            desk = JobDesk(settings, store, background, scratch)
            app.state.services = Services(settings, upscaler, scratch, pictures, background, desk)
            try:
                await asyncio.gather(pictures.start(), background.start())
                await desk.start()
                yield
            finally:
                await desk.close()
                await asyncio.gather(pictures.close(), background.close())
                await asyncio.to_thread(scratch.close)

    return Starlette(
        routes=[*page.routes(), *health.routes(), *jobs.routes()],
        lifespan=lifespan,
        exception_handlers={
            Problem: on_problem,
            EdsrError: on_client_error,
            HTTPException: on_http_exception,
            Exception: on_surprise,
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


async def on_problem(_: Request, error: Exception) -> Response:
    """What a route refused."""
    assert isinstance(error, Problem)  # noqa: S101 - for the type checker
    return answer(error)


async def on_client_error(_: Request, error: Exception) -> Response:
    """What the client could not do."""
    assert isinstance(error, EdsrError)  # noqa: S101 - for the type checker
    return answer(problem_of(error))


async def on_http_exception(_: Request, error: Exception) -> Response:
    """What the router refused: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    return answer(Problem(error.status_code, error.detail, headers=error.headers))


async def on_surprise(_: Request, error: Exception) -> Response:
    """A mistake of ours: the log has the trace, the answer never does."""
    log.error("a request failed by a mistake of the gateway's", exc_info=error)
    return answer(Problem(500, "The gateway made a mistake; its log says which. The picture is not at fault."))
