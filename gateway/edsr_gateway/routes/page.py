"""/ and /page/...: the page that people use."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..errors import Problem
from ..page.files import PageFile, load

# Nothing inline, nothing from elsewhere. Pictures and videos are shown from memory (blob:); the style sheet holds one
# drawing (data:).
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
UNTIL_CHANGED, FOR_EVER = "no-cache", "public, max-age=31536000, immutable"


def routes() -> list[BaseRoute]:
    """The paths of this module."""
    page = load()

    async def index(request: Request) -> Response:
        """The page itself, asked for anew each time."""
        return _answer(request, page.index, UNTIL_CHANGED)

    async def asset(request: Request) -> Response:
        """What the page is made of. Under an old version's address it is today's, and is not kept."""
        found = page.assets.get(request.path_params["name"])
        if found is None:
            raise Problem(404, "The page has no such file.")
        is_current = request.path_params["version"] == page.version
        return _answer(request, found, FOR_EVER if is_current else UNTIL_CHANGED)

    return [
        Route("/", index, methods=["GET"]),
        Route("/page/{version}/{name}", asset, methods=["GET"]),
    ]


def _answer(request: Request, file: PageFile, keep: str) -> Response:
    headers = {
        "Cache-Control": keep,
        "Content-Security-Policy": POLICY,
        "ETag": file.etag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.compressed is not None and _takes_gzip(request):
        content, headers["Content-Encoding"] = file.compressed, "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


def _takes_gzip(request: Request) -> bool:
    offered = [one.replace(" ", "") for one in request.headers.get("accept-encoding", "").lower().split(",")]
    return any(one.split(";")[0] == "gzip" and not one.endswith((";q=0", ";q=0.0")) for one in offered)
