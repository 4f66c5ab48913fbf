"""Runs the application: uvicorn, and what is written to the log."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Callable

import uvicorn

from .app import create_app, end
from .connections import MOST_HEADER_BYTES, connection_class
from .listening import listener
from .settings import Settings

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Requests that are under way when the gateway is told to end.
GRACE_S = 30
KEEP_ALIVE_S = 15


def serve(settings: Settings, ready: Callable[[int], None]) -> int:
    """Serve until SIGTERM or SIGINT, a second of which does not wait for requests; returns the exit code.

    Args:
        settings: of the gateway.
        ready: called with the port once requests are answered.

    Raises:
        ListenError: the port is taken, or the address is none of this machine's.
        ValueError: the file of API keys is wrong.
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    listens = listener(settings.address, settings.port)
    port = int(listens.getsockname()[1])
    app = create_app(settings)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(port)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            end(app)  # before it waits for streams, which would not end by themselves
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        http=connection_class(settings.limits.stall_s),
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        ws="none",
        log_config=None,
        access_log=False,  # ours says more, and nothing that a sender wrote
        server_header=False,
        proxy_headers=False,  # whose word is taken, the settings say (limits/identity.py)
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config)
    with contextlib.closing(listens), contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listens])
    return 0 if server.started else 1
