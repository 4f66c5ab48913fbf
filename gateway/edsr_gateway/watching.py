"""What surrounds every request: its id, headers for safety, a line of the log, a count; and what nobody foresaw."""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import refusal
from .errors import Problem, problem_of_any
from .limits.identity import client_of
from .metrics import Metrics

log = logging.getLogger("edsr_gateway.access")

STATE = "edsr_seen"
GONE = 499
"""The status in the log of a request whose sender went away; nobody is answered so."""
MOST_TARGET_BYTES = 8192
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,99}")
_PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_POLICY = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass
class Seen:
    """What becomes known of a request on its way, for the log and the metrics.

    Attributes:
        request_id: as the sender has it, or made here.
        format: of the result.
        pixels: of the picture that came; None if none did.
    """

    request_id: str
    format: str = ""
    pixels: int | None = None


def seen(connection: HTTPConnection) -> Seen:
    """What is known of this request; routes write into it."""
    found: Seen = getattr(connection.state, STATE)
    return found


class Watch:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        this = Seen(_request_id(Headers(scope=scope)))
        scope.setdefault("state", {})[STATE] = this
        started, status, is_sent = time.perf_counter(), 0, False

        async def told(message: Message) -> None:
            nonlocal status, is_sent
            if message["type"] == "http.response.start":
                status = message["status"]
                _finish(MutableHeaders(scope=message), this.request_id)
            elif message["type"] == "http.response.body":
                is_sent = not message.get("more_body", False)
            await send(message)

        try:
            if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_TARGET_BYTES:
                raise Problem(414, f"The address is longer than {MOST_TARGET_BYTES:,} bytes.")
            await self._app(scope, receive, told)
        except ClientDisconnect:
            pass
        except Exception as error:
            if status:
                raise  # half an answer is sent: the connection is cut, so that it is not taken for a whole one
            await refusal(scope, problem_of_any(error))(scope, receive, told)
        finally:
            self._write(scope, this, status if is_sent else GONE, time.perf_counter() - started)

    def _write(self, scope: Scope, this: Seen, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.observe(route, status, seconds, this.format, this.pixels)
        log.info(
            "id=%s method=%s route=%s status=%d seconds=%.3f client=%s%s",
            this.request_id,
            scope["method"] if scope["method"] in _METHODS else "other",
            route,
            status,
            seconds,
            client_of(HTTPConnection(scope)),
            f" pixels={this.pixels} format={this.format}" if this.pixels is not None else "",
        )


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else secrets.token_hex(16)


def _finish(headers: MutableHeaders, request_id: str) -> None:
    """A route's own headers stand."""
    is_page = headers.get("content-type", "").startswith("text/html")
    headers["X-Request-Id"] = request_id
    headers.setdefault("Content-Security-Policy", _PAGE_POLICY if is_page else _POLICY)
    for name, value in _SAFE.items():
        headers.setdefault(name, value)
