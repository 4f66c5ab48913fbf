"""Who may come in: the middleware in front of all routes."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..answers import refusal
from ..errors import Problem
from .identity import KEY_STATE
from .keys import Keys

OPEN_PATHS = ("/", "/healthz", "/readyz", "/docs", "/docs.css", "/openapi.json", "/v1/info", "/favicon.ico")
OPEN_FOLDERS = ("/page/",)
READING = ("GET", "HEAD", "OPTIONS")


class Entry:
    """Lets requests through that bring a key, where keys are on, and none that a page of somebody else's sends.

    Args:
        keys: None lets everybody in.
        origins: of other pages that may use the gateway.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, origins: tuple[str, ...]) -> None:
        self._app, self._keys, self._origins = app, keys, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            try:
                self._admit(scope)
            except Problem as problem:
                await refusal(scope, problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        is_foreign = headers.get("sec-fetch-site") == "cross-site" and headers.get("origin") not in self._origins
        if is_foreign and scope["method"] not in READING:
            raise Problem(403, "A page of another site sent this. The gateway's operator can allow it: --origin.")
        if self._keys is None:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        name = self._keys.name_of(token.strip()) if scheme.lower() == "bearer" and token else None
        if name is not None:
            scope["state"][KEY_STATE] = name
        elif not (scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDERS)):
            raise _refused(has_token=bool(token))


def _refused(*, has_token: bool) -> Problem:
    challenge = 'Bearer realm="edsr-gateway"' + (', error="invalid_token"' if has_token else "")
    detail = "This key is not known here." if has_token else "Bring a key: Authorization: Bearer edsr_..."
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})
