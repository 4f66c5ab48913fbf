"""Things between a client and a real server: TLS, lost connections, proxies that ask for a token or are busy."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any

from aiohttp import ClientSession, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Background:
    """An event loop in a thread that serves on a free port of loopback, as `url`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __enter__(self) -> Any:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> None:
        raise NotImplementedError

    async def _stop(self) -> None:
        raise NotImplementedError


class TcpProxy(_Background):
    """Hands bytes through, with TLS towards the client if there is a context; `cut()` drops every connection."""

    def __init__(self, target: str, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._target, self._context = target, context
        self._writers: set[asyncio.StreamWriter] = set()
        self.refusing = False
        self.connections = 0

    def cut(self) -> None:
        """Drop all connections now; `refusing` says whether new ones are taken."""
        self._do(self._cut())

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        await self._cut()
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        host, _, port = self._target.rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        self._writers |= {writer, up_writer}
        await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer), return_exceptions=True)
        self._writers -= {writer, up_writer}

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


class HttpProxy(_Background):
    """Hands HTTP requests on to `target`, after `handler` had a look: it may answer itself, or return None."""

    def __init__(self, target: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse | None]]) -> None:
        super().__init__()
        self._target, self._handler = target, handler
        self.requests: list[web.BaseRequest] = []

    async def _start(self) -> None:
        self._session = ClientSession(auto_decompress=False)
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        own = await self._handler(request)  # type: ignore[arg-type]
        if own is not None:
            return own
        headers = {key: value for key, value in request.headers.items() if key.lower() not in ("host", "connection")}
        target = f"http://{self._target}{request.path_qs}"
        async with self._session.request(
            request.method, target, headers=headers, data=await request.read()
        ) as response:
            kept = {
                k: v for k, v in response.headers.items() if k.lower() not in ("transfer-encoding", "content-length")
            }
            return web.Response(status=response.status, headers=kept, body=await response.read())


class Gate(HttpProxy):
    """Lets `left` more inference requests through to `target` and holds the others, so that a run cannot end early."""

    def __init__(self, target: str, left: float) -> None:
        super().__init__(target, self._hold)
        self.left = left

    async def _hold(self, request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/infer"):
            return None
        while self.left < 1:
            await asyncio.sleep(0.01)
            if request.transport is None:  # the client is gone: the server need not hear of it
                return web.Response(status=503)
        self.left -= 1
        return None
