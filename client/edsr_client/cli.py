"""The command `edsr`: upscale pictures, ask a server what it serves."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .errors import EdsrError
from .transport import DEFAULT_TIMEOUT_S
from .upscaler import Upscaler

URL_VARIABLE = "EDSR_URL"
USAGE_ERROR = 2
EXAMPLES = """\
examples:
  edsr upscale photo.jpg photo_x3.png
  edsr upscale photo.jpg                      writes photo_x3.png beside it
  edsr upscale in.png out.webp --url gpu-box:8001 --protocol grpc
  edsr info --json

exit codes: 0 done, 2 wrong usage, 3 bad picture, 4 cannot write, 5 server unreachable or too slow, 6 not ready,
7 no such model, 8 request refused
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit code. Errors a user can act on are one line on standard error."""
    args = _parser().parse_args(argv)
    try:
        with Upscaler(args.url, args.protocol, args.model, args.timeout) as upscaler:
            args.run(upscaler, args)
    except EdsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("interrupted; nothing was left half written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edsr",
        description="x3 super-resolution of pictures by an EDSR model on a Triton server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE),
        help=f"host:port of the server (default: ${URL_VARIABLE}, else localhost at the protocol's usual port)",
    )
    server.add_argument("--protocol", choices=("http", "grpc"), default="http", help="default: %(default)s")
    server.add_argument("--model", help="default: edsr_x3 if it is ready, else edsr_baseline_x3")
    server.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="S", help="default: %(default)s")

    commands = parser.add_subparsers(required=True, metavar="command")
    upscale = commands.add_parser("upscale", parents=[server], help="upscale a picture")
    upscale.add_argument("src", type=Path, metavar="IN")
    upscale.add_argument("dst", type=Path, metavar="OUT", nargs="?", help="default: IN_x3.png beside IN")
    upscale.set_defaults(run=_upscale)
    info = commands.add_parser("info", parents=[server], help="which server, model, weights, precision and limits")
    info.add_argument("--json", action="store_true", help="machine-readable output")
    info.set_defaults(run=_info)
    return parser


def _upscale(upscaler: Upscaler, args: argparse.Namespace) -> None:
    model = upscaler.model
    dst = args.dst or args.src.with_name(f"{args.src.stem}_x{model.scale}.png")
    started = time.monotonic()
    upscaler.upscale_file(args.src, dst)
    print(f"{dst} ({model.name} on {upscaler.url}, {time.monotonic() - started:.2f} s)")


def _info(upscaler: Upscaler, args: argparse.Namespace) -> None:
    server, model = upscaler.server(), upscaler.model
    if args.json:
        print(json.dumps({"server": server, "model": asdict(model)}, indent=2))
        return
    limit = f"{model.max_lr_pixels:,} pixels in one request" if model.max_lr_pixels else "not stated"
    runtime = f" ({model.runtime})" if model.runtime else ""
    for key, value in (
        (
            "server",
            f"{server['name']} {server['version']} at {server['url']}, {'ready' if server['ready'] else 'not ready'}",
        ),
        ("models ready", ", ".join(server["models"])),
        ("model", f"{model.name}, x{model.scale}"),
        ("weights", f"{model.source}, sha256 {model.source_sha256}"),
        ("precision", f"{model.inference_precision}, from a {model.precision} model file"),
        ("backend", f"{model.backend}{runtime}"),
        ("limit", limit),
    ):
        print(f"{key:13} {value}")
