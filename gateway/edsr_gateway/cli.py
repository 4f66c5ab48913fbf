"""The command edsr-gateway."""

from __future__ import annotations

import argparse
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
    from .jobs.store import StoreBrokenError
    from .jobs.stores import check
    from .serving import serve

    try:
        check(settings)
        return serve(settings)
    except StoreBrokenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:  # the file of the keys
        print(f"error: {error}", file=sys.stderr)
        return 2
