"""What `edsr upscale` says before it begins, and with --dry-run instead."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import EdsrError, OutputError
from ..files import Finishing, is_folder, read_file
from ..forecast import Forecast
from ..pictures.formats import format_of
from ..texts import visible
from ..upscaler import Upscaler
from .connection import upscaler_of
from .progress import TileProgress, duration
from .several import SOME_FAILED, fail_one, planned_pairs, with_input
from .targets import PIPE, check_folder

# What takes longer is said before it begins.
LONG_S = 10.0


def dry_run(args: argparse.Namespace, options: dict[str, Any]) -> int:
    """Say what there is to do; nothing is sent, nothing written. Returns the exit code."""
    with upscaler_of(args) as upscaler:
        if len(args.inputs) > 1 or args.output_template:
            return _dry_several(upscaler, args, options)
        found = _forecast(upscaler, args, options)
    print(json.dumps(asdict(found)) if args.json else _in_words(found))
    return 0


def _dry_several(upscaler: Upscaler, args: argparse.Namespace, options: dict[str, Any]) -> int:
    failed = False
    if args.output is not None:
        check_folder(Path(args.output))
    for source, target in planned_pairs(upscaler, args, options["finishing"]):
        try:
            found = _forecast_of(upscaler, source, target, args, options)
        except EdsrError as error:
            fail_one(source, error, args.json)
            failed = True
            continue
        print(json.dumps(with_input(found, source)) if args.json else f"{visible(str(source))}\n{_in_words(found)}")
    return SOME_FAILED if failed else 0


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
    return _forecast_of(upscaler, args.src, args.dst, args, options)


def _forecast_of(
    upscaler: Upscaler,
    source: str | Path,
    target: str | Path | None,
    args: argparse.Namespace,
    options: dict[str, Any],
) -> Forecast:
    """The forecast of a file; folders that are not there yet are only made by the work itself."""
    flags = {"overwrite": args.overwrite, "bands": args.bands}
    if target is None or not _is_to_make(target, args):
        return upscaler.forecast(source, target, **flags, **options)
    if not args.output_template:
        found = upscaler.forecast(source, None, **{**flags, "overwrite": True}, **options)
        return replace(found, output=str(Path(target) / Path(found.output).name))
    finishing: Finishing = options["finishing"]
    chosen = {**options, "finishing": replace(finishing, format=finishing.format or format_of(Path(target)).name)}
    found = upscaler.forecast(source, None, **{**flags, "overwrite": True}, **chosen)
    return replace(found, output=str(target))


def _is_to_make(target: str | Path, args: argparse.Namespace) -> bool:
    """Whether the result's folder is not there yet and will be made.

    Raises:
        OutputError: a file stands in its place, or it cannot be named so.
    """
    if args.output_template:
        folder = Path(target).parent
    elif len(args.inputs) > 1 or is_folder(target):
        folder = Path(target)
    else:
        return False
    try:
        check_folder(folder)
        return not folder.is_dir()
    except OSError as error:  # a name that is too long is one
        raise OutputError(f"Cannot write {folder}: {error.strerror}.") from None


def _in_words(found: Forecast) -> str:
    output = "standard output" if found.output == PIPE else found.output
    height, width = found.tile
    each = f" of {width}x{height}" if found.tiles > 1 else ""
    how = ", read, sent and written in bands" if found.bands else ""
    why = f" ({found.model_reason})" if found.model_reason else ""
    frames = f", {found.frames} frames" if found.frames > 1 else ""
    took = "not known, the server does not say how fast it is" if found.seconds is None else ""
    return "\n".join(
        [
            f"output: {output} ({found.width}x{found.height}{frames}), not written",
            f"work: {found.tiles:,} tile(s){each} by {found.model}{why}{how}",
            f"memory: about {found.memory_bytes / 1e6:,.0f} MB here",
            f"time: {took or f'about {duration(found.seconds or 0.0)} if the server does nothing else'}",
        ]
    )
