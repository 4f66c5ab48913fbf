"""The command edsr-gateway."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import GatewayError
from .settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code. What a user can act on is one line on standard error."""
    args = _parser().parse_args(argv)
    try:
        settings = _settings(args)
        return _serve(settings)
    except (GatewayError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, GatewayError) else 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(prog="edsr-gateway", description="Pictures over HTTP in front of Triton.")
    parser.add_argument("--url", action="append", default=[], help="a Triton; may be repeated")
    parser.add_argument("--address", default=default.address, help="where to listen; default: %(default)s")
    parser.add_argument("--port", type=int, default=default.port, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, default=default.folder, help="jobs and scratch; default: %(default)s")
    return parser


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(urls=tuple(args.url) or Settings.urls, address=args.address, port=args.port, folder=args.folder)


def _serve(settings: Settings) -> int:
    import uvicorn

    from .app import create_app

    uvicorn.run(create_app(settings), host=settings.address, port=settings.port, log_level="info")
    return 0
