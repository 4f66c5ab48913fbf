"""/v1/info: what there is. /metrics: what was done."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import Any

from edsr_client import FORMATS, ModelInfo
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from ..errors import Problem
from ..metrics import Metrics
from ..services import services
from .negotiation import MEDIA_TYPES, VIDEO_TYPES, writable

READABLE = (*MEDIA_TYPES, "ppm")


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    return [Route("/v1/info", info), Route("/metrics", metrics)]


async def info(request: Request) -> Response:
    """Models, formats and limits. Where no Triton answers there are no models, and `ready` is false."""
    of = services(request)
    try:
        models = [_model(one) for one in await of.models.infos()]
    except Problem:
        models = []
    told = {
        "version": __version__,
        "ready": bool(models),
        "models": models,
        "model": of.settings.model,
        "formats": {
            "in": [name for name in READABLE if name not in ("avif", "heic") or name in writable()],
            "out": [_format(name) for name in MEDIA_TYPES if name in writable()],
            "video_out": list(VIDEO_TYPES) if find_spec("av") is not None else [],
        },
        "limits": dataclasses.asdict(of.settings.limits),
        "keys": of.settings.keys is not None,
    }
    return JSONResponse(told, headers={"Cache-Control": "no-cache"})


def _model(one: ModelInfo) -> dict[str, Any]:
    return {
        "name": one.name,
        "scale": one.scale,
        "precision": one.inference_precision or one.precision,
        "backend": one.backend,
        "inputs": one.inputs,
    }


def _format(name: str) -> dict[str, Any]:
    one = FORMATS[name]
    return {
        "name": name,
        "media_type": MEDIA_TYPES[name],
        "extension": one.extensions[0],
        "lossy": one.quality is not None,
    }


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), headers={"Cache-Control": "no-store"}, media_type="text/plain; version=0.0.4")
