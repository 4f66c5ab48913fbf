"""/healthz: the gateway lives. /readyz: it can do its work."""

from __future__ import annotations

from edsr_client.errors import EdsrError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..errors import Problem
from ..services import services


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    return [Route("/healthz", healthz), Route("/readyz", readyz)]


async def healthz(_: Request) -> Response:
    """200 as long as this process answers: for a supervisor that restarts it."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """200 when a picture sent now would be upscaled: for a balancer. 503 says why not."""
    upscaler = services(request).upscaler
    try:
        info = await upscaler.model_info()
    except EdsrError as error:
        raise Problem(503, f"Triton is not ready: {error}") from error
    # The model is asked for once and remembered; how the servers are is asked every time.
    servers = await upscaler.server_info()
    if not any(server["ready"] and info.name in server["models"] for server in servers):
        why = "; ".join(f"{server['url']}: {server['error'] or f'without {info.name}'}" for server in servers)
        raise Problem(503, f"Triton is not ready: {why}")
    return JSONResponse({"ready": True, "model": info.name})
