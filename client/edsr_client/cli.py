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

from .errors import EdsrError, ModelNotFoundError
from .model_info import ModelInfo
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
    args = _parse(argv)
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """argparse gives up on `IN --option value OUT`: an optional argument that comes after an option."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if len(rest) == 1 and not rest[0].startswith("-") and getattr(args, "dst", Path()) is None:
        args.dst, rest = Path(rest[0]), []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


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
    server = upscaler.server()
    try:
        model = upscaler.model
    except ModelNotFoundError:
        if args.model or not server["ready"]:
            raise
        model = None  # it serves other models than the usual ones: say which
    if args.json:
        print(json.dumps({"server": server, "model": asdict(model) if model else None}, indent=2))
        return
    state = "ready" if server["ready"] else "not ready"
    _print_table(
        ("server", f"{server['name']} {server['version']} at {server['url']}, {state}"),
        ("models ready", ", ".join(server["models"]) or "none"),
    )
    if model is not None:
        _print_model(model)
    else:
        print("name one of them with --model to see more")


def _print_model(model: ModelInfo) -> None:
    limit = f"{model.max_lr_pixels:,} pixels in one request" if model.max_lr_pixels else "not stated"
    runtime = f" ({model.runtime})" if model.runtime else ""
    _print_table(
        ("model", f"{model.name}, x{model.scale}"),
        ("weights", f"{model.source}, sha256 {model.source_sha256}"),
        ("precision", f"{model.inference_precision}, from a {model.precision} model file"),
        ("backend", f"{model.backend}{runtime}"),
        ("limit", limit),
    )


def _print_table(*rows: tuple[str, str]) -> None:
    for key, value in rows:
        print(f"{key:13} {value}")
