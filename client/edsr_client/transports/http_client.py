"""The questions of KServe's protocol over HTTP, with the methods of tritonclient's asynchronous client.

tritonclient reads whatever a server sends, follows it elsewhere with all headers, and unpacks what it compressed. Here
an answer has a longest length, and a redirection is one more answer that is no success.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from .error_mapping import refusal_in
from .http_answer import HEADER_LENGTH, MalformedAnswerError, read_json, read_output, read_text

Headers = Mapping[str, str]
MAX_CONNECTIONS = 256


class HttpClient:
    """One server, over a pool of keep-alive connections. Made in the event loop that uses it.

    Every method raises InferenceServerException for an answer that is no success, MalformedAnswerError for one that
    makes no sense, and aiohttp's errors; time limits are the caller's.

    Args:
        base: "http://host:port/path".
        ssl_context: for https.
    """

    def __init__(self, base: str, ssl_context: ssl.SSLContext | None) -> None:
        import aiohttp

        self._base = base
        connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=ssl_context or True)
        # Every question has its own time limit; the session's would hold for all.
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def is_server_live(self, headers: Headers) -> bool:
        return await self._succeeds("v2/health/live", headers)

    async def is_server_ready(self, headers: Headers) -> bool:
        return await self._succeeds("v2/health/ready", headers)

    async def is_model_ready(self, model: str, headers: Headers) -> bool:
        return await self._succeeds(f"v2/models/{_part(model)}/ready", headers)

    async def get_server_metadata(self, headers: Headers) -> Any:
        return await self._json("GET", "v2", headers)

    async def get_model_repository_index(self, headers: Headers) -> Any:
        return await self._json("POST", "v2/repository/index", headers)

    async def get_model_config(self, model: str, headers: Headers) -> Any:
        return await self._json("GET", f"v2/models/{_part(model)}/config", headers)

    async def get_inference_statistics(self, model: str, headers: Headers) -> Any:
        return await self._json("GET", f"v2/models/{_part(model)}/stats", headers)

    async def register_system_shared_memory(self, name: str, key: str, byte_size: int, headers: Headers) -> None:
        asked = json.dumps({"key": key, "offset": 0, "byte_size": byte_size}).encode()
        async with self._request(
            "POST", f"v2/systemsharedmemory/region/{_part(name)}/register", headers, asked
        ) as response:
            await _raise_for_refusal(response)

    async def unregister_system_shared_memory(self, name: str, headers: Headers) -> None:
        async with self._request("POST", f"v2/systemsharedmemory/region/{_part(name)}/unregister", headers) as response:
            await _raise_for_refusal(response)

    async def infer(
        self, model: str, inputs: list[Any], outputs: list[Any], request_id: str, headers: Headers, timeout: int
    ) -> JsonAnswer:
        """An inference whose tensors are in shared memory: the answer is JSON alone.

        Args:
            timeout: microseconds after which nobody waits for it any more, for the server to know.
        """
        async with self._infer(model, inputs, outputs, request_id, headers, timeout) as response:
            await _raise_for_refusal(response)
            return JsonAnswer(await read_json(response))

    async def infer_array(
        self,
        model: str,
        inputs: list[Any],
        outputs: list[Any],
        request_id: str,
        headers: Headers,
        expected: tuple[int, ...],
        timeout: int,
    ) -> NDArray[np.uint8] | None:
        """An inference whose answer is one array of the shape `expected`; None if that output is missing.

        Raises:
            WrongOutputError: it has another type or size; it was not read.
        """
        async with self._infer(model, inputs, outputs, request_id, headers, timeout) as response:
            await _raise_for_refusal(response)
            return await read_output(response, outputs[0].name(), expected)

    def _infer(
        self, model: str, inputs: list[Any], outputs: list[Any], request_id: str, headers: Headers, timeout: int
    ) -> AbstractAsyncContextManager[Any]:
        from tritonclient.http import InferenceServerClient

        body, length = InferenceServerClient.generate_request_body(
            inputs, outputs=outputs, request_id=request_id, timeout=timeout
        )
        if length is not None:  # without binary data the body is JSON
            headers = {**headers, HEADER_LENGTH: str(length)}
        return self._request("POST", f"v2/models/{_part(model)}/infer", headers, body)

    def _request(
        self, method: str, path: str, headers: Headers, body: bytes | None = None
    ) -> AbstractAsyncContextManager[Any]:
        # aiohttp asks for compressed answers by default; Triton then spends a second on gzip for each megapixel.
        headers = {"Accept-Encoding": "identity", **headers}
        return self._session.request(method, f"{self._base}/{path}", headers=headers, data=body, allow_redirects=False)

    async def _succeeds(self, path: str, headers: Headers) -> bool:
        async with self._request("GET", path, headers) as response:
            return bool(response.status == HTTPStatus.OK)

    async def _json(self, method: str, path: str, headers: Headers) -> Any:
        async with self._request(method, path, headers) as response:
            await _raise_for_refusal(response)
            return await read_json(response)


class JsonAnswer:
    """The answer to an inference, for its outputs' shapes."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def get_output(self, name: str) -> dict[str, Any] | None:
        """What is said of the output of that name; None if there is none."""
        outputs = self._answer.get("outputs") if isinstance(self._answer, dict) else None
        if not isinstance(outputs, list):
            raise MalformedAnswerError("its outputs are no list")
        return next((one for one in outputs if isinstance(one, dict) and one.get("name") == name), None)


async def _raise_for_refusal(response: Any) -> None:
    """Raise InferenceServerException, as tritonclient does, with the server's words."""
    from tritonclient.utils import InferenceServerException

    if response.status == HTTPStatus.OK:
        return
    if 300 <= response.status < 400:
        where = response.headers.get("Location", "nowhere")
        raise MalformedAnswerError(f"it sends elsewhere, to {where}; name that address if it is the right one")
    raise InferenceServerException(refusal_in(await read_text(response)), str(response.status))


def _part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")
