"""HTTP and gRPC to a Triton server, by tritonclient's asyncio clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from .. import server_keys
from ..addresses import Address
from ..errors import AccessDeniedError, EdsrError, RequestRefusedError, ServerUnreachableError
from ..model_info import INPUT, OUTPUT, PREFERRED_MODELS
from .base import Credentials
from .error_mapping import error_of, no_tls, not_triton, refusal_in, timed_out, unreachable, untrusted
from .http_answer import HEADER_LENGTH, MalformedAnswerError, read_output
from .shared_memory import Region, SharedMemory, SharedMemoryError

T = TypeVar("T")
logger = logging.getLogger("edsr_client")
# For the small questions: is it there, what does it serve.
QUESTION_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 256
NO_KEY: Mapping[str, str] = MappingProxyType({})


def connect(address: Address, credentials: Credentials, shared_memory: bool = False) -> TritonTransport:
    """A transport to one server. Nothing is sent, and no event loop needed, before its first use.

    Raises:
        ValueError: the certificates cannot be used, or the address has no TLS that they could be for.
        EdsrError: gRPC is not installed.
    """
    if not address.tls and (credentials.ca_file or credentials.cert_file or credentials.key_file):
        scheme = "https" if address.protocol == "http" else "grpcs"
        raise ValueError(f"{address} has no TLS for certificates; write {scheme}://{address}")
    make = HttpTransport if address.protocol == "http" else GrpcTransport
    return make(address, credentials, shared_memory)


def microseconds(timeout_s: float) -> int:
    """A time limit as Triton takes it in a request: one that has waited longer is thrown out of the queue."""
    return max(1, int(timeout_s * 1e6))


class TritonTransport:
    """What both protocols share: tritonclient's two clients have nearly the same methods."""

    def __init__(self, address: Address, credentials: Credentials, shared_memory: bool, module: Any) -> None:
        self.url = str(address)
        self._address, self._headers, self._module = address, credentials.all_headers(), module
        self._client: Any = None
        self._key: dict[str, str] = {}
        self._shared_memory = SharedMemory() if shared_memory else None

    @property
    def uses_shared_memory(self) -> bool:
        """Whether it was asked for, and the server has not refused it."""
        return self._shared_memory is not None

    async def server_live(self) -> bool:
        return bool(await self._ask(lambda client: client.is_server_live(headers=self._headers)))

    async def server_ready(self) -> bool:
        return bool(await self._ask(lambda client: client.is_server_ready(headers=self._headers)))

    async def model_ready(self, model: str) -> bool:
        return bool(await self._ask(lambda client: client.is_model_ready(model, headers=self._headers)))

    async def server_metadata(self) -> dict[str, Any]:
        return self._record(await self._ask(lambda client: client.get_server_metadata(**self._as_json())))

    async def model_names(self) -> list[str]:
        try:
            ask = lambda client: client.get_model_repository_index(**self._as_json(self._key))  # noqa: E731
            index = await self._ask(ask)
        except AccessDeniedError:  # a server of somebody else keeps its list to itself
            return [name for name in PREFERRED_MODELS if await self.model_ready(name)]
        models = index if isinstance(index, list) else self._record(index).get("models", [])
        return sorted(str(model["name"]) for model in models if model.get("state") == "READY")

    async def model_config(self, model: str) -> dict[str, Any]:
        answer = await self._ask(lambda client: client.get_model_config(model, **self._as_json()), model)
        record = self._record(answer)
        return self._record(record.get("config", record))

    async def model_statistics(self, model: str) -> dict[str, Any]:
        ask = lambda client: client.get_inference_statistics(model, **self._as_json(self._key))  # noqa: E731
        found = self._record(await self._ask(ask, model)).get("model_stats") or [{}]
        return self._record(found[0])

    async def infer(
        self, model: str, images: NDArray[np.uint8], *, scale: int, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8]:
        if self._shared_memory is not None:
            try:
                return await self._infer_by_shared_memory(model, images, scale, request_id, timeout_s)
            except RequestRefusedError as error:
                if "shared memory" not in str(error).lower():
                    raise
                self._give_up_shared_memory(error)
            except SharedMemoryError as error:
                self._give_up_shared_memory(error)
        tensor = self._module.InferInput(INPUT, list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        wanted = self._module.InferRequestedOutput(OUTPUT)
        return self._output(await self._upscaled(model, tensor, wanted, request_id, timeout_s))

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            if self._shared_memory is not None:
                await self._unregister(client, self._shared_memory.names)
            await client.close()
        if self._shared_memory is not None:
            self._shared_memory.close()

    async def _infer_by_shared_memory(
        self, model: str, images: NDArray[np.uint8], scale: int, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8]:
        memory = self._shared_memory
        assert memory is not None  # noqa: S101
        with memory.pair(images.nbytes, images.nbytes * scale**2) as pair:
            for region in pair.unregistered():
                await self._register(region)
            pair.input.array(images.shape)[...] = images
            tensor = self._module.InferInput(INPUT, list(images.shape), "UINT8")
            tensor.set_shared_memory(pair.input.name, images.nbytes)
            wanted = self._module.InferRequestedOutput(OUTPUT)
            wanted.set_shared_memory(pair.output.name, pair.output.size)
            result = await self._send(model, tensor, wanted, request_id, timeout_s)
            output = result.get_output(OUTPUT)  # a dictionary over HTTP, a message over gRPC
            shape = output["shape"] if isinstance(output, dict) else output.shape
            copied: NDArray[np.uint8] = pair.output.array(tuple(map(int, shape))).copy()
            return copied

    def _give_up_shared_memory(self, error: Exception) -> None:
        memory, self._shared_memory = self._shared_memory, None
        if memory is not None:  # several requests may find out at once
            logger.warning("shared memory cannot be used, requests go without it: %s", error)
            memory.close()

    async def _register(self, region: Region) -> None:
        try:
            await self._ask(
                lambda client: client.register_system_shared_memory(
                    region.name, region.key, region.size, headers={**self._headers, **self._key}
                )
            )
        except AccessDeniedError as error:
            raise SharedMemoryError(str(error)) from None
        region.unlink()

    async def _unregister(self, client: Any, names: list[str]) -> None:
        for name in names:
            try:
                await asyncio.wait_for(
                    client.unregister_system_shared_memory(name, headers={**self._headers, **self._key}),
                    QUESTION_TIMEOUT_S,
                )
            except Exception as error:  # the server is gone, and its mapping with it
                logger.debug("%s: %s was not unregistered: %s", self.url, name, error)

    async def _upscaled(
        self, model: str, tensor: Any, wanted: Any, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8] | None:
        result = await self._send(model, tensor, wanted, request_id, timeout_s)
        found: NDArray[np.uint8] | None = result.as_numpy(OUTPUT)
        return found

    async def _send(self, model: str, tensor: Any, wanted: Any, request_id: str, timeout_s: float) -> Any:
        ask = lambda client: client.infer(  # noqa: E731
            model,
            [tensor],
            outputs=[wanted],
            request_id=request_id,
            timeout=microseconds(timeout_s),
            headers=dict(self._infer_headers()),
        )
        return await self._ask(ask, model, timeout_s)

    async def _ask(
        self, question: Callable[[Any], Awaitable[T]], model: str = "", timeout_s: float = QUESTION_TIMEOUT_S
    ) -> T:
        """Ask, within a time, with every error mapped."""
        from tritonclient.utils import InferenceServerException

        if self._client is None:
            if key := server_keys.find(self._address):
                self._address, self._key = key.address, key.headers
            self._client = self._make_client()
        try:
            return await asyncio.wait_for(question(self._client), timeout_s)
        except EdsrError:
            raise
        except InferenceServerException as error:
            raise error_of(str(error.status() or ""), error.message() or str(error), self.url, model) from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise timed_out(self.url) from error
        except Exception as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> ServerUnreachableError:
        """For what is neither an answer nor a time-out: no connection, a lost one, or an answer that makes no sense."""
        if isinstance(error, OSError):
            return unreachable(self.url, error.strerror or str(error))
        if isinstance(error, ValueError):
            return not_triton(self.url, "its answer is not JSON")
        return not_triton(self.url, f"{type(error).__name__}: {error}")

    def _record(self, answer: Any) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise not_triton(self.url, f"an answer is {type(answer).__name__}, not an object")
        return answer

    def _output(self, upscaled: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        if upscaled is None:
            raise RequestRefusedError(f"{self.url} answered without the output {OUTPUT!r}.")
        return upscaled

    def _make_client(self) -> Any:
        raise NotImplementedError

    def _as_json(self, key: Mapping[str, str] = NO_KEY) -> dict[str, Any]:
        return {"headers": {**self._headers, **key}}

    def _infer_headers(self) -> dict[str, str]:
        return self._headers


class HttpTransport(TritonTransport):
    """HTTP with the binary tensor extension, over a pool of keep-alive connections."""

    def __init__(self, address: Address, credentials: Credentials, shared_memory: bool = False) -> None:
        import tritonclient.http.aio as module

        super().__init__(address, credentials, shared_memory, module)
        self._ssl = credentials.ssl_context() if address.tls else None
        self._session: Any = None

    def _make_client(self) -> Any:
        # Every question has its own time limit; the client's would hold for all.
        return self._module.InferenceServerClient(
            self._address.host_port + self._address.path,
            conn_limit=MAX_CONNECTIONS,
            conn_timeout=None,
            ssl=self._address.tls,
            ssl_context=self._ssl,
        )

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
        await super().close()

    async def _upscaled(
        self, model: str, tensor: Any, wanted: Any, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8] | None:
        return await self._ask(lambda _: self._post(model, tensor, wanted, request_id, timeout_s), model, timeout_s)

    async def _post(
        self, model: str, tensor: Any, wanted: Any, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8] | None:
        """tritonclient's request, and its error for a refusal; the answer is read without its copies."""
        import aiohttp
        from tritonclient.http import InferenceServerClient

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=self._ssl or True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        body, length = InferenceServerClient.generate_request_body(
            [tensor], outputs=[wanted], request_id=request_id, timeout=microseconds(timeout_s)
        )
        scheme = "https" if self._address.tls else "http"
        url = f"{scheme}://{self._address.host_port}{self._address.path}/v2/models/{quote(model)}/infer"
        headers = {**self._infer_headers(), HEADER_LENGTH: str(length)}
        async with self._session.post(url, data=body, headers=headers) as response:
            if response.status != HTTPStatus.OK:
                raise error_of(str(response.status), refusal_in(await response.read()), self.url, model)
            try:
                return await read_output(response, OUTPUT)
            except MalformedAnswerError as error:
                raise not_triton(self.url, str(error)) from error

    def _infer_headers(self) -> dict[str, str]:
        # aiohttp asks for compressed answers by default; Triton then spends a second on gzip for each megapixel.
        return {"Accept-Encoding": "identity", **self._headers}

    def _lost(self, error: Exception) -> ServerUnreachableError:
        import aiohttp

        if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
            return unreachable(self.url, "the connection was lost")
        if isinstance(error, aiohttp.ClientResponseError):  # its message quotes the bytes
            return not_triton(self.url, "its answer is not HTTP")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return untrusted(self.url, str(error.certificate_error))
        is_reset = isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionResetError)
        if isinstance(error, aiohttp.ClientSSLError) or (self._address.tls and is_reset):
            return no_tls(self.url)
        return super()._lost(error)


class GrpcTransport(TritonTransport):
    """gRPC over one channel."""

    def __init__(self, address: Address, credentials: Credentials, shared_memory: bool = False) -> None:
        try:
            import tritonclient.grpc.aio as module
        except (ImportError, RuntimeError):
            raise EdsrError("gRPC is not installed. Install edsr-client with its extra [grpc], or use HTTP.") from None
        super().__init__(address, credentials, shared_memory, module)
        # gRPC metadata is lower case.
        self._headers = {name.lower(): value for name, value in self._headers.items()}
        self._pem = credentials.pem() if address.tls else (None, None, None)

    def _make_client(self) -> Any:
        root, key, chain = self._pem
        # Messages of any size; and no proxy on the way to this very machine, as HTTP clients have it.
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if self._address.is_local:
            options.append(("grpc.enable_http_proxy", 0))
        creds = None
        if self._address.tls:
            import grpc

            creds = grpc.ssl_channel_credentials(root, key, chain)
        return self._module.InferenceServerClient(self._address.host_port, creds=creds, channel_args=options)

    def _as_json(self, key: Mapping[str, str] = NO_KEY) -> dict[str, Any]:
        return {"headers": {**self._headers, **key}, "as_json": True}
