"""The command edsr-gateway."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence

from .settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code. What a user can act on is one line on standard error."""
    args = _parser().parse_args(argv)
    try:
        settings = Settings(urls=tuple(args.url) or Settings.urls, address=args.address, port=args.port)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return _serve(settings)


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="edsr-gateway", description="The door in front of Triton: /healthz and /readyz."
    )
    parser.add_argument("--url", action="append", default=[], help="a Triton; may be repeated")
    parser.add_argument("--address", default=default.address, help="where to listen; default: %(default)s")
    parser.add_argument("--port", type=int, default=default.port, help="default: %(default)s")
    return parser


def _serve(settings: Settings) -> int:
    import uvicorn

    from .app import create_app, end
    from .jobs.store import StoreBrokenError
    from .jobs.stores import check

    try:
        check(settings)
    except StoreBrokenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    app = create_app(settings)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            end(app)  # before it waits for streams, which would not end by themselves
            await super().shutdown(sockets)

    Server(uvicorn.Config(app, host=settings.address, port=settings.port, log_level="info")).run()
    return 0
