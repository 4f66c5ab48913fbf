"""/docs and /openapi.json: how to call the gateway, for people and for programs; both are made here and offline."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..documents import openapi
from ..documents.page import page
from ..limits.identity import scheme_of

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,253}")
_KEPT = {"Cache-Control": "no-cache"}


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    style = (Path(openapi.__file__).parent / "docs.css").read_text("utf-8")

    async def css(_: Request) -> Response:
        """The style of the page."""
        return Response(style, headers=_KEPT, media_type="text/css")

    return [Route("/docs", docs), Route("/docs.css", css), Route("/openapi.json", document)]


async def docs(request: Request) -> Response:
    """The page; its examples have the address that the reader has used."""
    host = request.headers.get("host", "")
    url = f"{scheme_of(request)}://{host}" if _HOST.fullmatch(host) else openapi.URL
    return HTMLResponse(page(openapi.document(), url), headers={**_KEPT, "Vary": "Host"})


async def document(_: Request) -> Response:
    """For programs."""
    return JSONResponse(openapi.document(), headers=_KEPT)
