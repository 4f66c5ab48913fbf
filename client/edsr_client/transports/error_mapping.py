"""The one place where what tritonclient, gRPC and sockets report becomes an error of this package."""

from __future__ import annotations

import json

from ..errors import (
    AccessDeniedError,
    BackendLostError,
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
from ..texts import quoted

DENIED = ("401", "403", "statuscode.unauthenticated", "statuscode.permission_denied")
BUSY = ("exceeds maximum queue size", "too many requests", "resource exhausted")
# Of proxies and of Triton on its way up or down.
NOT_READY = ("not ready", "server is stopping", "server exiting", "bad gateway", "gateway timeout", "is not healthy")
# tritonclient's words for an answer that is not JSON.
NO_JSON = "an exception occurred in the client while decoding the response"
# Triton's, of what its restricted APIs ask a header for; over gRPC the status is UNAVAILABLE.
RESTRICTED = "is restricted, expecting header"
# Of Triton's Python backend when the process that computes has ended.
BACKEND_LOST = "is not healthy"
# Of gRPC's core in this process: the answer is over a limit of ours.
TOO_LONG = ("client: received message larger than max", "metadata size exceeds", "metadata too large")
# Tiles of no more pixels are not what makes a server slow.
SMALL_TILE_PX = 128 * 128


def error_of(status: str, message: str, url: str, model: str) -> EdsrError:
    """The typed error for an HTTP or gRPC status and the server's words."""
    status, words = status.lower(), quoted(message)
    lower = words.lower()
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
    if any(limit in lower for limit in TOO_LONG):
        return not_triton(url, f"its answer is longer than any that was asked for: {words}")
    if "received message larger than max" in lower:
        return RequestRefusedError(f"{url} takes no request so large: {words}. Send smaller tiles (`--tile`).")
    if "deadline" in status or "deadline exceeded" in lower or "timed out" in lower:
        return ServerTimeoutError(f"{url} gave up on the request: {words}. Send smaller tiles (`--tile`).")
    if status in ("429", "statuscode.resource_exhausted") or any(busy in lower for busy in BUSY):
        return ServerBusyError(f"{url} has too many requests waiting: {words}. Try again in a moment.")
    if BACKEND_LOST in lower:
        return backend_lost(url, words)
    if "unknown model" in lower or ("not found" in lower and "model" in lower):
        return ModelNotFoundError(f"{url} does not serve {quoted(model)!r}: {words}. `edsr info` lists what it serves.")
    if status in ("502", "503", "504") or any(not_ready in lower for not_ready in NOT_READY):
        return ServerNotReadyError(f"{url} is not ready ({words}). Try again in a moment.")
    if status == "statuscode.unavailable":  # gRPC's own: no address, no connection, connection lost
        return _unavailable(url, words)
    if NO_JSON in lower or status == "statuscode.unimplemented":
        return not_triton(url, f"status {status}")
    return RequestRefusedError(f"{url} refused the request: {words or 'it says nothing'}")


def refusal_in(body: bytes) -> str:
    """The server's words in the body of an HTTP answer that is no success; NO_JSON if Triton did not write it."""
    try:
        return str(json.loads(body)["error"]) if body else "it says nothing"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"{NO_JSON}: {body[:1000].decode('utf-8', 'replace')}"


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
        f"No Triton server answers at {url} ({quoted(reason)}). Start one with `make serve`, or name it with --url."
    )


def not_triton(url: str, reason: str) -> NotTritonError:
    """An answer that makes no sense."""
    return NotTritonError(
        f"What answers at {url} is not a Triton server ({quoted(reason)}). Name the right port with --url: 8000 is "
        "Triton's for HTTP, 8001 for gRPC (--protocol grpc)."
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


def no_answer(url: str, timeout_s: float) -> ServerTimeoutError:
    """Not even a word about itself in time."""
    return ServerTimeoutError(
        f"No answer from {url} within {timeout_s:g} s, not even to a small question. It hangs, is overloaded, or "
        "something on the way drops what is sent: see its log."
    )


def timed_out(url: str, timeout_s: float, shape: tuple[int, ...]) -> ServerTimeoutError:
    """A tile of `shape` [N, H, W, 3] was not done in time."""
    height, width = shape[1:3]
    advice = "Send smaller tiles (tile=..., `--tile`), or wait"
    if height * width <= SMALL_TILE_PX:
        advice = "That is long for so few pixels: it hangs, or works for others. See its log, or wait"
    return ServerTimeoutError(
        f"{url} did not finish a tile of {height}x{width} pixels within {timeout_s:.3g} s. {advice} longer "
        "(timeout_s=..., `--timeout`)."
    )


def backend_lost(url: str, words: str) -> BackendLostError:
    """The server lives, what computed in it does not."""
    return BackendLostError(
        f"{url} answers, but the process that computes there has ended ({words}), maybe killed for want of memory. "
        "Start the server again; its log says more."
    )


def wrong_output(url: str, what: str, expected: tuple[int, ...]) -> RequestRefusedError:
    """An answer to another question than was asked; it was not read."""
    return RequestRefusedError(f"{url} answered {quoted(what)}, not UINT8 {list(expected)}; it was not read further.")
