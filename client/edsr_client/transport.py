"""The way to the server: one small interface over tritonclient's HTTP and gRPC clients, errors mapped once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import (
    EdsrError,
    ModelNotFoundError,
    RequestRefusedError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
)

INPUT, OUTPUT = "image", "upscaled"
DEFAULT_PORTS = {"http": 8000, "grpc": 8001}
DEFAULT_TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 5.0
MAX_TIMEOUT_S = 86_400.0
# A name or an IPv4 address, and a port.
LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
ADDRESS = re.compile(rf"{LABEL}(\.{LABEL})*\.?:[0-9]{{1,5}}")


class Transport(Protocol):
    """What an Upscaler needs of a server. Every method raises the errors of this package only."""

    url: str

    def server_ready(self) -> bool:
        """Whether the server and its models are ready."""

    def model_ready(self, model: str) -> bool:
        """Whether a model can be asked; False if there is none of that name."""

    def server_metadata(self) -> dict[str, Any]:
        """Name and version of the server."""

    def model_names(self) -> list[str]:
        """Models of the server that are ready."""

    def model_config(self, model: str) -> dict[str, Any]:
        """A model's configuration, as JSON."""

    def infer(self, model: str, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Upscale uint8 [N, H, W, 3] RGB."""

    def close(self) -> None:
        """Close the connections."""


def connect(url: str | None, protocol: str, timeout_s: float) -> Transport:
    """A transport for "http" or "grpc". Nothing is sent yet.

    Raises:
        ValueError: another protocol, a URL of another scheme, or a time-out that is not positive.
    """
    if protocol not in DEFAULT_PORTS:
        raise ValueError(f"protocol must be 'http' or 'grpc', not {protocol!r}")
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise ValueError(f"timeout_s must be more than 0 and at most {MAX_TIMEOUT_S:g} seconds, not {timeout_s!r}")
    address = host_and_port(url, protocol)
    return HttpTransport(address, timeout_s) if protocol == "http" else GrpcTransport(address, timeout_s)


def host_and_port(url: str | None, protocol: str) -> str:
    """ "host:port" of a URL with or without its scheme and port; the protocol's usual port by default."""
    rest = url or "localhost"
    if "://" in rest:
        scheme, rest = rest.split("://", 1)
        if scheme != protocol:
            raise ValueError(f"{url!r} does not go with protocol {protocol!r}; TLS is not supported yet")
    rest = rest.rstrip("/")
    if not rest or "/" in rest:
        raise ValueError(f"{url!r} is not host:port")
    if ":" not in rest:
        rest = f"{rest}:{DEFAULT_PORTS[protocol]}"
    if not ADDRESS.fullmatch(rest) or not 0 < int(rest.rpartition(":")[2]) < 2**16:
        raise ValueError(f"{url!r} is not host:port")
    return rest


class _TritonTransport:
    """What both protocols share: tritonclient's two clients have nearly the same methods."""

    def __init__(self, url: str, timeout_s: float, module: Any, client: Any) -> None:
        self.url, self._timeout_s, self._module, self._client = url, timeout_s, module, client

    def server_ready(self) -> bool:
        with self._errors():
            return bool(self._client.is_server_ready(**self._short()))

    def model_ready(self, model: str) -> bool:
        with self._errors():
            return bool(self._client.is_model_ready(model, **self._short()))

    def server_metadata(self) -> dict[str, Any]:
        with self._errors():
            return dict(self._client.get_server_metadata(**self._as_json()))

    def model_names(self) -> list[str]:
        with self._errors():
            index = self._client.get_model_repository_index(**self._as_json())
        models = index if isinstance(index, list) else index.get("models", [])
        return sorted(model["name"] for model in models if model.get("state") == "READY")

    def model_config(self, model: str) -> dict[str, Any]:
        with self._errors(model):
            answer = dict(self._client.get_model_config(model, **self._as_json()))
        return dict(answer.get("config", answer))

    def infer(self, model: str, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        tensor = self._module.InferInput(INPUT, list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        wanted = self._module.InferRequestedOutput(OUTPUT)
        with self._errors(model):
            result = self._client.infer(model, [tensor], outputs=[wanted], **self._long())
            upscaled: NDArray[np.uint8] | None = result.as_numpy(OUTPUT)
        if upscaled is None:
            raise RequestRefusedError(f"{self.url} answered without the output {OUTPUT!r}.")
        return upscaled

    def close(self) -> None:
        self._client.close()

    def _as_json(self) -> dict[str, Any]:
        return {}

    def _short(self) -> dict[str, Any]:
        return {}

    def _long(self) -> dict[str, Any]:
        return {}

    @contextmanager
    def _errors(self, model: str = "") -> Iterator[None]:
        from tritonclient.utils import InferenceServerException

        try:
            yield
        except InferenceServerException as error:
            raise error_of(str(error.status() or ""), error.message() or str(error), self.url, model) from error
        except TimeoutError as error:
            raise _timed_out(self.url) from error
        except OSError as error:
            raise _unreachable(self.url, error.strerror or str(error)) from error
        except (
            ValueError,
            TypeError,
            AttributeError,
            HTTPException,
        ) as error:  # an address or an answer that makes no sense
            raise _unreachable(self.url, str(error)) from error


class HttpTransport(_TritonTransport):
    """HTTP with the binary tensor extension, over a keep-alive connection. For use by one thread."""

    def __init__(self, url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        import tritonclient.http as module

        client = module.InferenceServerClient(url, connection_timeout=CONNECT_TIMEOUT_S, network_timeout=timeout_s)
        super().__init__(url, timeout_s, module, client)


class GrpcTransport(_TritonTransport):
    """gRPC over one channel."""

    def __init__(self, url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        try:
            import tritonclient.grpc as module
        except ImportError:
            raise EdsrError("gRPC is not installed. Install edsr-client with its extra [grpc], or use HTTP.") from None
        super().__init__(url, timeout_s, module, module.InferenceServerClient(url, channel_args=_channel_options(url)))

    def _as_json(self) -> dict[str, Any]:
        return {"as_json": True, **self._short()}

    def _short(self) -> dict[str, Any]:
        return {"client_timeout": min(self._timeout_s, 2 * CONNECT_TIMEOUT_S)}

    def _long(self) -> dict[str, Any]:
        return {"client_timeout": self._timeout_s}


def _channel_options(url: str) -> list[tuple[str, int]]:
    """Messages of any size; and no proxy on the way to this very machine, as HTTP clients have it."""
    local = url.startswith(("localhost:", "127."))
    sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return [*sizes, ("grpc.enable_http_proxy", 0)] if local else sizes


def error_of(status: str, message: str, url: str, model: str) -> EdsrError:
    """The typed error for what tritonclient reports: an HTTP or gRPC status and the server's words."""
    text = " ".join(message.split())
    lower = text.lower()
    if "deadline" in status.lower() or "deadline exceeded" in lower or "timed out" in lower:
        return _timed_out(url)
    if "unknown model" in lower or ("not found" in lower and "model" in lower):
        return ModelNotFoundError(f"{url} does not serve {model!r}: {text}. `edsr info` lists what it serves.")
    if status == "503" or any(words in lower for words in ("not ready", "server is stopping", "server exiting")):
        return ServerNotReadyError(f"{url} is not ready: {text}. Try again in a moment.")
    if status == "StatusCode.UNAVAILABLE":  # gRPC's own: no address, no connection, connection lost
        return _unreachable(url, text)
    return RequestRefusedError(f"{url} refused the request: {text}")


def _unreachable(url: str, reason: str) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"No Triton server answers at {url} ({reason}). Start one with `make serve`, or name it with --url."
    )


def _timed_out(url: str) -> ServerTimeoutError:
    return ServerTimeoutError(
        f"{url} did not answer in time. Send a smaller picture, or raise timeout_s (`--timeout`)."
    )
