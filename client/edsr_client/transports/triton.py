"""HTTP and gRPC to a Triton server, by tritonclient's asyncio clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import server_keys
from ..addresses import Address
from ..errors import AccessDeniedError, EdsrError, RequestRefusedError, ServerUnreachableError
from ..model_info import INPUT, OUTPUT, PHOTO_MODEL, PREFERRED_MODELS
from ..texts import LONGEST_NAME, quoted
from . import grpc_answer
from .base import Credentials
from .error_mapping import (
    error_of,
    no_answer,
    no_tls,
    not_triton,
    timed_out,
    unreachable,
    untrusted,
    wrong_output,
)
from .http_answer import MalformedAnswerError, WrongOutputError
from .http_client import HttpClient
from .shared_memory import Region, SharedMemory, SharedMemoryError

T = TypeVar("T")
logger = logging.getLogger("edsr_client")
# For the small questions: is it there, what does it serve.
QUESTION_TIMEOUT_S = 10.0
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
        self._clients: dict[int, Any] = {}
        self._retired: list[Any] = []
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
        record = self._record(await self._ask(lambda client: client.get_server_metadata(**self._as_json())))
        told = {key: quoted(str(record.get(key, "")), LONGEST_NAME) for key in ("name", "version")}
        return {**record, **told}

    async def model_names(self) -> list[str]:
        try:
            index = await self._ask_with_key(
                lambda client, key: client.get_model_repository_index(**self._as_json(key))
            )
        except AccessDeniedError:  # a server of somebody else keeps its list to itself
            return [name for name in (*PREFERRED_MODELS, PHOTO_MODEL) if await self.model_ready(name)]
        models = index if isinstance(index, list) else self._record(index).get("models", [])
        if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
            raise not_triton(self.url, "its list of models is none")
        ready = (model for model in models if model.get("state") == "READY")
        return sorted(quoted(str(model.get("name", "")), LONGEST_NAME) for model in ready)

    async def model_config(self, model: str) -> dict[str, Any]:
        answer = await self._ask(lambda client: client.get_model_config(model, **self._as_json()), model)
        record = self._record(answer)
        return self._record(record.get("config", record))

    async def model_statistics(self, model: str) -> dict[str, Any]:
        ask = lambda client, key: client.get_inference_statistics(model, **self._as_json(key))  # noqa: E731
        found = self._record(await self._ask_with_key(ask, model)).get("model_stats")
        first = found[0] if isinstance(found, list) and found else None
        return first if isinstance(first, dict) else {}

    async def infer(
        self, model: str, images: NDArray[np.uint8], *, scale: int, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8]:
        while self._shared_memory is not None:
            key = self._key
            try:
                return await self._infer_by_shared_memory(model, images, scale, request_id, timeout_s)
            except RequestRefusedError as error:
                if "shared memory" not in str(error).lower():
                    raise
                problem: Exception = error
            except SharedMemoryError as error:
                problem = error
            if not self._is_new_server(key):
                self._give_up_shared_memory(problem)
        tensor = self._module.InferInput(INPUT, list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        expected = expected_shape(images.shape, scale)
        return self._output(await self._upscaled(model, tensor, expected, request_id, timeout_s))

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        if clients and self._shared_memory is not None:
            await self._unregister(next(iter(clients.values())), self._shared_memory.names)
        for client in (*clients.values(), *self._retired):
            await client.close()
        self._retired.clear()
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
            result = await self._send(model, tensor, wanted, request_id, timeout_s, images.shape)
            expected = expected_shape(images.shape, scale)
            self._check_shape(result.get_output(OUTPUT), expected)
            copied: NDArray[np.uint8] = pair.output.array(expected).copy()
            return copied

    def _check_shape(self, output: Any, expected: tuple[int, ...]) -> None:
        """Raise unless an output, a dictionary over HTTP and a message over gRPC, has the shape that was asked for."""
        if output is None:
            raise self._no_output()
        shape = output.get("shape") if isinstance(output, dict) else output.shape
        told = [int(side) if str(side).isdigit() else -1 for side in shape] if isinstance(shape, Iterable) else None
        if told != list(expected):
            raise wrong_output(self.url, f"the shape {shape}", expected)

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
        self, model: str, tensor: Any, expected: tuple[int, ...], request_id: str, timeout_s: float
    ) -> NDArray[np.uint8] | None:
        raise NotImplementedError

    async def _send(
        self, model: str, tensor: Any, wanted: Any, request_id: str, timeout_s: float, shape: tuple[int, ...]
    ) -> Any:
        ask = lambda client: client.infer(  # noqa: E731
            model,
            [tensor],
            outputs=[wanted],
            request_id=request_id,
            timeout=microseconds(timeout_s),
            headers=dict(self._headers),
        )
        return await self._ask(ask, model, timeout_s, shape)

    async def _ask(
        self,
        question: Callable[[Any], Awaitable[T]],
        model: str = "",
        timeout_s: float | None = None,
        tile: tuple[int, ...] | None = None,
        answer_bytes: int = 0,
    ) -> T:
        """Ask, within a time, with every error mapped.

        Args:
            question: of a client.
            model, tile: what it is about, for messages; the tile's shape is [N, H, W, 3].
            timeout_s: longest wait for the answer; None for that of small questions.
            answer_bytes: of the pixels in it.
        """
        from tritonclient.utils import InferenceServerException

        timeout_s = QUESTION_TIMEOUT_S if timeout_s is None else timeout_s
        try:
            return await asyncio.wait_for(question(self._client(answer_bytes)), timeout_s)
        except (EdsrError, MemoryError):
            raise
        except InferenceServerException as error:
            raise error_of(str(error.status() or ""), error.message() or str(error), self.url, model) from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise (timed_out(self.url, timeout_s, tile) if tile else no_answer(self.url, timeout_s)) from error
        except Exception as error:
            raise self._lost(error) from error

    def _client(self, answer_bytes: int) -> Any:
        """The client that takes answers of so many bytes, made when it is first needed."""
        if not self._clients:
            self._is_new_server(self._key)
        limit = self._limit(answer_bytes)
        if limit not in self._clients:
            self._clients[limit] = self._make_client(limit)
        return self._clients[limit]

    def _is_new_server(self, key: Mapping[str, str]) -> bool:
        """Whether there is another key now than `key`: its server was started again, and knows none of our regions."""
        found = server_keys.find(self._address)
        if found is None or found.headers == key:
            return False
        if found.address != self._address:  # the key is for this address alone
            self._retired += self._clients.values()
            self._clients.clear()
        if found.headers != self._key and self._shared_memory is not None:
            self._shared_memory.forget()
        self._address, self._key = found.address, found.headers
        return True

    async def _ask_with_key(self, question: Callable[[Any, Mapping[str, str]], Awaitable[T]], model: str = "") -> T:
        """Ask what only the server's own user may, once more if the server has another key by now."""
        while True:
            self._client(0)  # finds the key
            key = self._key
            try:
                return await self._ask(lambda client: question(client, self._key), model)
            except AccessDeniedError:
                if not self._is_new_server(key):
                    raise

    def _lost(self, error: Exception) -> ServerUnreachableError:
        """For what is neither an answer nor a time-out: no connection, a lost one, or an answer that makes no sense."""
        if isinstance(error, OSError):
            return unreachable(self.url, error.strerror or str(error))
        if isinstance(error, MalformedAnswerError):
            return not_triton(self.url, str(error))
        if isinstance(error, ValueError):
            return not_triton(self.url, "its answer is not JSON")
        return not_triton(self.url, f"{type(error).__name__}: {error}")

    def _record(self, answer: Any) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise not_triton(self.url, f"an answer is {type(answer).__name__}, not an object")
        return answer

    def _output(self, upscaled: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        if upscaled is None:
            raise self._no_output()
        return upscaled

    def _no_output(self) -> RequestRefusedError:
        return RequestRefusedError(f"{self.url} answered without the output {OUTPUT!r}.")

    def _limit(self, _answer_bytes: int) -> int:
        """The longest answer that a client is made for; one for all where every answer has its own limit."""
        return 0

    def _make_client(self, limit: int) -> Any:
        raise NotImplementedError

    def _as_json(self, key: Mapping[str, str] = NO_KEY) -> dict[str, Any]:
        return {"headers": {**self._headers, **key}}


def expected_shape(shape: tuple[int, ...], scale: int) -> tuple[int, ...]:
    """Of the answer to [N, H, W, 3]."""
    count, height, width, channels = shape
    return count, scale * height, scale * width, channels


class HttpTransport(TritonTransport):
    """HTTP with the binary tensor extension, over a pool of keep-alive connections."""

    def __init__(self, address: Address, credentials: Credentials, shared_memory: bool = False) -> None:
        import tritonclient.http.aio as module

        super().__init__(address, credentials, shared_memory, module)
        self._ssl = credentials.ssl_context() if address.tls else None

    def _make_client(self, limit: int) -> Any:
        scheme = "https" if self._address.tls else "http"
        return HttpClient(f"{scheme}://{self._address.host_port}{self._address.path}", self._ssl)

    async def _upscaled(
        self, model: str, tensor: Any, expected: tuple[int, ...], request_id: str, timeout_s: float
    ) -> NDArray[np.uint8] | None:
        wanted = self._module.InferRequestedOutput(OUTPUT)

        async def ask(client: HttpClient) -> NDArray[np.uint8] | None:
            try:
                return await client.infer_array(
                    model, [tensor], [wanted], request_id, self._headers, expected, microseconds(timeout_s)
                )
            except WrongOutputError as error:
                raise wrong_output(self.url, str(error), expected) from error

        return await self._ask(ask, model, timeout_s, tuple(tensor.shape()))

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
            raise EdsrError(
                "gRPC is not installed. pip install 'tritonclient[grpc]>=2.60' (extra [grpc]), or use HTTP."
            ) from None
        super().__init__(address, credentials, shared_memory, module)
        # gRPC metadata is lower case.
        self._headers = {name.lower(): value for name, value in self._headers.items()}
        self._pem = credentials.pem() if address.tls else (None, None, None)

    def _limit(self, answer_bytes: int) -> int:
        return grpc_answer.message_limit(answer_bytes)

    def _make_client(self, limit: int) -> Any:
        root, key, chain = self._pem
        # Requests of any size, and no answer that unpacks to more than it seems (bit 0: not compressed); no proxy on
        # the way to this very machine, as HTTP clients have it.
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", limit),
            ("grpc.compression_enabled_algorithms_bitset", 1),
        ]
        if self._address.is_local:
            options.append(("grpc.enable_http_proxy", 0))
        creds = None
        if self._address.tls:
            import grpc

            creds = grpc.ssl_channel_credentials(root, key, chain)
        return self._module.InferenceServerClient(self._address.host_port, creds=creds, channel_args=options)

    def _as_json(self, key: Mapping[str, str] = NO_KEY) -> dict[str, Any]:
        return {"headers": {**self._headers, **key}, "as_json": True}

    async def _upscaled(
        self, model: str, tensor: Any, expected: tuple[int, ...], request_id: str, timeout_s: float
    ) -> NDArray[np.uint8] | None:
        wanted = self._module.InferRequestedOutput(OUTPUT)
        ask = lambda client: client.infer(  # noqa: E731
            model, [tensor], outputs=[wanted], request_id=request_id, headers=dict(self._headers)
        )
        answer_bytes = int(np.prod(expected, dtype=object))
        result = await self._ask(ask, model, timeout_s, tuple(tensor.shape()), answer_bytes)
        try:
            response = result.get_response()
            if response is None:  # gRPC could not read it, and has said so in a log
                raise not_triton(self.url, "its answer is no message of Triton's")
            return grpc_answer.read_output(response, OUTPUT, expected)
        except WrongOutputError as error:
            raise wrong_output(self.url, str(error), expected) from error
