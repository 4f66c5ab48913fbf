"""What `edsr upscale` says before it begins, and with --dry-run instead."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import EdsrError
from ..files import read_file
from ..forecast import Forecast
from ..upscaler import Upscaler
from .connection import upscaler_of
from .progress import TileProgress, duration

PIPE = "-"
# What takes longer is said before it begins.
LONG_S = 10.0


def dry_run(args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Say what there is to do; nothing is sent, nothing written."""
    with upscaler_of(args) as upscaler:
        found = _forecast(upscaler, args, options)
    print(json.dumps(asdict(found)) if args.json else _in_words(found))


def announce(upscaler: Upscaler, args: argparse.Namespace, options: dict[str, Any], progress: TileProgress) -> None:
    """Say how long a long one will take. What is wrong with it is said by the work itself."""
    with contextlib.suppress(EdsrError, ValueError):
        found = _forecast(upscaler, args, options)
        progress.expect(found.tiles)
        if found.seconds is not None and found.seconds > LONG_S:
            tiles = f"{found.tiles:,} tiles, " if found.tiles > 1 else ""
            words = f"{Path(args.src).name}: {tiles}about {duration(found.seconds)} if the server does nothing else"
            print(words, file=sys.stderr, flush=True)


def _forecast(upscaler: Upscaler, args: argparse.Namespace, options: dict[str, Any]) -> Forecast:
    if args.src == PIPE:
        found = upscaler.forecast(sys.stdin.buffer.read(), **options)
        return replace(found, output=PIPE if args.dst in (None, PIPE) else args.dst)
    if args.dst == PIPE:
        return replace(upscaler.forecast(read_file(args.src), **options), output=PIPE)
    return upscaler.forecast(args.src, args.dst, overwrite=args.overwrite, bands=args.bands, **options)


def _in_words(found: Forecast) -> str:
    output = "standard output" if found.output == PIPE else found.output
    height, width = found.tile
    each = f" of {width}x{height}" if found.tiles > 1 else ""
    how = ", read, sent and written in bands" if found.bands else ""
    frames = f", {found.frames} frames" if found.frames > 1 else ""
    took = "not known, the server does not say how fast it is" if found.seconds is None else ""
    return "\n".join(
        [
            f"output: {output} ({found.width}x{found.height}{frames}), not written",
            f"work: {found.tiles:,} tile(s){each} by {found.model}{how}",
            f"memory: about {found.memory_bytes / 1e6:,.0f} MB here",
            f"time: {took or f'about {duration(found.seconds or 0.0)} if the server does nothing else'}",
        ]
    )
