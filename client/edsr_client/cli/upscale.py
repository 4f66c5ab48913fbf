"""`edsr upscale`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from ..errors import BadImageError
from ..files import FileResult, Finishing, check_target, misnamed, read_all, read_file, write_atomically
from ..pictures.budget import max_file_bytes
from .connection import upscaler_of
from .progress import TileProgress

PIPE = "-"


def run(args: argparse.Namespace) -> None:
    """Upscale one picture, from a file or standard input, to a file or standard output."""
    finishing = Finishing(args.format, args.quality, args.scale, args.max_side, args.strip_metadata)
    to_stdout = args.dst == PIPE or (args.dst is None and args.src == PIPE)
    label = "standard input" if args.src == PIPE else Path(args.src).name
    options: dict[str, Any] = {
        "finishing": finishing,
        "tile": args.tile,
        "halo": args.halo,
        "max_pixels": args.max_pixels,
        "frame": args.frame,
    }
    if args.dst is None and args.src == PIPE and sys.stdout.isatty():
        raise ValueError("Standard output is a terminal. Name a file: `edsr upscale - out.png < in.jpg`.")
    with upscaler_of(args) as upscaler, TileProgress(label, args.quiet) as progress:
        if args.src != PIPE and not to_stdout:
            overwrite = args.overwrite
            result = upscaler.upscale_file(
                args.src, args.dst, progress=progress, overwrite=overwrite, bands=args.bands, **options
            )
        else:
            if not to_stdout:
                format_ = check_target(None, Path(args.dst), finishing)
                options["finishing"] = replace(finishing, format=format_.name)
            content, result = upscaler.upscale_bytes(_read(args.src, args.max_pixels), progress=progress, **options)
            if to_stdout:
                sys.stdout.buffer.write(content)
                sys.stdout.buffer.flush()
                result = replace(result, path=PIPE)
            else:
                write_atomically(Path(args.dst), content)
                notes = [*result.notes, *misnamed(Path(args.dst), format_)]
                result = replace(result, path=args.dst, notes=notes)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.json or not args.quiet:
        _tell(result, sys.stderr if to_stdout else sys.stdout, args.json)


def _read(src: str, max_pixels: int) -> bytes:
    if src != PIPE:
        return read_file(src, max_pixels)
    if sys.stdin.buffer.isatty():
        raise BadImageError("Standard input is a terminal; send a picture: `edsr upscale - - < in.jpg > out.png`.")
    return read_all(sys.stdin.buffer, "standard input", max_file_bytes(max_pixels))


def _tell(result: FileResult, stream: TextIO, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(result)), file=stream)
        return
    tiles = f", {result.tiles} tiles" if result.tiles > 1 else ""
    frames = f", {result.frames} frames" if result.frames > 1 else ""
    retries = f", {result.retries} sent again" if result.retries else ""
    where = "standard output" if result.path == PIPE else result.path
    print(
        f"{where} ({result.width}x{result.height}{frames}{tiles}{retries}, {result.model} "
        f"on {', '.join(result.servers)}, {result.seconds:.2f} s)",
        file=stream,
    )
