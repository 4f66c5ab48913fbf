"""The one place where what tritonclient, gRPC and sockets report becomes an error of this package."""

from __future__ import annotations

import json

from ..errors import (
    AccessDeniedError,
    EdsrError,
    ModelNotFoundError,
    NotTritonError,
    RequestRefusedError,
    ServerBusyError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
)
from ..server_keys import VARIABLE

DENIED = ("401", "403", "statuscode.unauthenticated", "statuscode.permission_denied")
BUSY = ("exceeds maximum queue size", "too many requests", "resource exhausted")
# Of proxies and of Triton on its way up or down.
NOT_READY = ("not ready", "server is stopping", "server exiting", "bad gateway", "gateway timeout", "is not healthy")
# tritonclient's words for an answer that is not JSON.
NO_JSON = "an exception occurred in the client while decoding the response"
# Triton's, of what its restricted APIs ask a header for; over gRPC the status is UNAVAILABLE.
RESTRICTED = "is restricted, expecting header"
LONGEST_QUOTE = 300


def error_of(status: str, message: str, url: str, model: str) -> EdsrError:
    """The typed error for an HTTP or gRPC status and the server's words."""
    status, text = status.lower(), " ".join(message.split())
    lower = text.lower()
    quoted = text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + " ..."
    if RESTRICTED in lower:
        return AccessDeniedError(
            f"{url} answers this only to the user who started it, on the same machine. Elsewhere name a copy of "
            f"`server.key` in its run folder: ${VARIABLE}; for a server on another machine there is no way."
        )
    if status in DENIED:
        return AccessDeniedError(
            f"{url} refuses access ({status.removeprefix('statuscode.')}). Give credentials: token=... or headers=... "
            "(`--token`, `--header`, $EDSR_TOKEN)."
        )
    if "deadline" in status or "deadline exceeded" in lower or "timed out" in lower:
        return timed_out(url)
    if status in ("429", "statuscode.resource_exhausted") or any(words in lower for words in BUSY):
        return ServerBusyError(f"{url} has too many requests waiting: {quoted}. Try again in a moment.")
    if "unknown model" in lower or ("not found" in lower and "model" in lower):
        return ModelNotFoundError(f"{url} does not serve {model!r}: {quoted}. `edsr info` lists what it serves.")
    if status in ("502", "503", "504") or any(words in lower for words in NOT_READY):
        return ServerNotReadyError(f"{url} is not ready ({quoted}). Try again in a moment.")
    if status == "statuscode.unavailable":  # gRPC's own: no address, no connection, connection lost
        return _unavailable(url, quoted)
    if NO_JSON in lower or status == "statuscode.unimplemented":
        return not_triton(url, f"status {status}")
    return RequestRefusedError(f"{url} refused the request: {quoted}")


def refusal_in(body: bytes) -> str:
    """The server's words in the body of an HTTP answer that is no success; NO_JSON if Triton did not write it."""
    try:
        return str(json.loads(body)["error"]) if body else "it says nothing"
    except (ValueError, KeyError, TypeError):
        return f"{NO_JSON}: {body[:LONGEST_QUOTE].decode('utf-8', 'replace')}"


def _unavailable(url: str, reason: str) -> ServerUnreachableError:
    if "handshake" in reason.lower():
        failed = "CERTIFICATE_VERIFY_FAILED"
        return untrusted(url, failed) if failed in reason else no_tls(url)
    if "failed to connect" in reason and "Socket closed" in reason:
        return ServerUnreachableError(
            f"What answers at {url} closes connections that speak gRPC. 8001 is Triton's port for it (--url); 8000 is "
            "for HTTP (--protocol http). If it wants TLS, write grpcs://."
        )
    return unreachable(url, reason)


def unreachable(url: str, reason: str) -> ServerUnreachableError:
    """No connection, or a lost one."""
    return ServerUnreachableError(
        f"No Triton server answers at {url} ({reason}). Start one with `make serve`, or name it with --url."
    )


def not_triton(url: str, reason: str) -> NotTritonError:
    """An answer that makes no sense."""
    reason = " ".join(reason.split())[:LONGEST_QUOTE]
    return NotTritonError(
        f"What answers at {url} is not a Triton server ({reason}). Name the right port with --url: 8000 is Triton's "
        "for HTTP, 8001 for gRPC (--protocol grpc)."
    )


def no_tls(url: str) -> ServerUnreachableError:
    """Something answers, but not to TLS."""
    return ServerUnreachableError(
        f"What answers at {url} does not speak TLS. Without TLS write http:// or grpc:// (--url); Triton itself has "
        "none for HTTP, a proxy before it has."
    )


def untrusted(url: str, reason: str) -> ServerUnreachableError:
    """A certificate that nobody known has signed, or for another name."""
    return ServerUnreachableError(
        f"The certificate of {url} is not trusted ({reason}). Name the authority with ca_file=... (`--ca-file`)."
    )


def timed_out(url: str) -> ServerTimeoutError:
    """No answer in time."""
    return ServerTimeoutError(
        f"{url} did not answer in time. Send smaller tiles (tile=..., `--tile`), or wait longer (timeout_s=..., "
        "`--timeout`)."
    )
