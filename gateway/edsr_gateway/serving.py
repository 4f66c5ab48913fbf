"""Runs the application: uvicorn, and what is written to the log."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys

import uvicorn

from .app import create_app, end
from .connections import MOST_HEADER_BYTES, connection_class
from .settings import Settings

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Requests that are under way when the gateway is told to end.
GRACE_S = 30
KEEP_ALIVE_S = 15


def serve(settings: Settings) -> int:
    """Serve until a signal; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    app = create_app(settings)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            end(app)  # before it waits for streams, which would not end by themselves
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        host=settings.address,
        port=settings.port,
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
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 1
