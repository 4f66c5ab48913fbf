"""The Tritons behind the gateway, in their own protocol: one pool of connections, the least busy server first."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from edsr_client.addresses import address
from edsr_client.server_keys import find

from ..errors import Problem
from .checks import Contract

CONNECT_S = 5.0
ASK_S = 10.0
# A server that could not be reached is asked again after so long.
DOWN_S = 5.0
CONTRACT_S = 30.0
MOST_ANSWER_BYTES = 4 << 20
AWAY = "The Triton behind the gateway does not answer. Try again in a moment."


class Upstream:
    """Connections to several Tritons that serve the same models.

    Args:
        urls: their HTTP ports.
        token: bearer token for them.
        infer_s: longest time for one inference.
    """

    def __init__(self, urls: tuple[str, ...], token: str | None, infer_s: float) -> None:
        self._places = [address(url, "http") for url in urls]
        self._busy = [0] * len(urls)
        self._down = [-DOWN_S] * len(urls)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._infer_s = infer_s
        self._contracts: dict[str, tuple[float, Contract]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool; connections are made when they are needed."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, path: str, *, as_owner: bool = False) -> tuple[int, str, bytes]:
        """GET a path of Triton's: status, content type and content.

        Args:
            path: "/v2/...", of the gateway's own making.
            as_owner: show the key that a server on this machine keeps for its user, which statistics want.

        Raises:
            Problem: 503, none answers.
        """
        timeout = aiohttp.ClientTimeout(total=ASK_S, connect=CONNECT_S)
        for index in self._in_order():
            headers = self._owner_headers(index) if as_owner else {}
            try:
                async with self._request("GET", index, path, headers=headers, timeout=timeout) as answer:
                    content = await answer.content.read(MOST_ANSWER_BYTES)
                    return answer.status, answer.headers.get("Content-Type", "application/json"), content
            except (aiohttp.ClientError, asyncio.TimeoutError, TimeoutError):
                self._down[index] = time.monotonic()
        raise Problem(503, AWAY)

    async def contract(self, model: str) -> Contract:
        """What a model takes; asked again from time to time.

        Raises:
            Problem: 404, there is no such model; 503, no server answers, or not with what a server of ours says.
        """
        asked, found = self._contracts.get(model, (0.0, None))
        if found is not None and time.monotonic() - asked < CONTRACT_S:
            return found
        answers = []
        for path in (f"/v2/models/{model}", f"/v2/models/{model}/config"):
            status, _, content = await self.ask(path)
            if status != 200:
                self._contracts.pop(model, None)
                if status in (400, 404):
                    raise Problem(404, f"There is no model {model!r}, or it is not ready.")
                raise Problem(503, AWAY)
            answers.append(content)
        try:
            found = Contract.of(*(json.loads(one) for one in answers))
        except (ValueError, LookupError, TypeError):
            raise Problem(503, AWAY) from None
        self._contracts[model] = (time.monotonic(), found)
        return found

    @contextlib.asynccontextmanager
    async def infer(
        self, path: str, headers: Mapping[str, str], body: Callable[[], AsyncIterator[bytes]]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """POST a proved request; the answer is read by the caller, piece by piece.

        Raises:
            Problem: 503, no server can be reached, or the connection broke; 504, it took too long; or what `body`
                raised.
        """
        timeout = aiohttp.ClientTimeout(total=self._infer_s, connect=CONNECT_S)
        for index in self._in_order():
            raised: list[BaseException] = []
            self._busy[index] += 1
            try:
                async with self._request(
                    "POST", index, path, headers=headers, data=_kept(body(), raised), timeout=timeout
                ) as answer:
                    yield answer
                    return
            except aiohttp.ClientConnectorError:
                self._down[index] = time.monotonic()  # nothing of the body was taken: the next one may have it
            except (asyncio.TimeoutError, TimeoutError):
                raise Problem(504, f"Triton gave no answer within {self._infer_s:g} s.") from None
            except aiohttp.ClientError as error:
                if raised:
                    raise raised[0] from None
                raise Problem(503, AWAY) from error
            finally:
                self._busy[index] -= 1
        raise Problem(503, AWAY)

    def _in_order(self) -> list[int]:
        """The servers: those that answered last first, of them the least busy."""
        now = time.monotonic()
        return sorted(range(len(self._places)), key=lambda i: (now - self._down[i] < DOWN_S, self._busy[i]))

    def _request(self, method: str, index: int, path: str, headers: Mapping[str, str], **more: Any) -> Any:
        if self._session is None:
            raise Problem(503, AWAY)
        place = self._places[index]
        scheme = "https" if place.tls else "http"
        url = f"{scheme}://{place.host_port}{place.path}{path}"
        return self._session.request(
            method,
            url,
            headers={**self._headers, **headers},
            allow_redirects=False,
            skip_auto_headers=("Accept-Encoding",),
            **more,
        )

    def _owner_headers(self, index: int) -> dict[str, str]:
        key = find(self._places[index])
        return dict(key.headers) if key is not None else {}


async def _kept(body: AsyncIterator[bytes], raised: list[BaseException]) -> AsyncIterator[bytes]:
    """`body`, and what it raises also in `raised`: aiohttp gives it back in words of its own."""
    try:
        async for piece in body:
            yield piece
    except Exception as error:
        raised.append(error)
        raise
