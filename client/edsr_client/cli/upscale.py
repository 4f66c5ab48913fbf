"""`edsr upscale`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from ..errors import BadImageError, OutputExistsError
from ..files import FileResult, Finishing, check_target, is_folder, misnamed, read_all, read_file, write_atomically
from ..pictures.budget import max_file_bytes
from ..texts import visible
from .connection import upscaler_of
from .forecast import announce, dry_run
from .lookalike import is_another_picture
from .progress import TileProgress
from .several import run_several, with_input
from .targets import PIPE, check_sources, make_folder


def run(args: argparse.Namespace) -> int:
    """Upscale one picture, from a file or standard input, to a file or standard output; or several files."""
    check_sources(args.inputs)
    finishing = Finishing(args.format, args.quality, args.scale, args.max_side, args.strip_metadata, args.png_effort)
    to_stdout = args.dst == PIPE or (args.dst is None and args.src == PIPE)
    label = "standard input" if args.src == PIPE else Path(args.src).name
    options: dict[str, Any] = {
        "finishing": finishing,
        "tile": args.tile,
        "halo": args.halo,
        "border": args.border,
        "max_pixels": args.max_pixels,
        "frame": args.frame,
    }
    if args.dry_run:
        return dry_run(args, options)
    if len(args.inputs) > 1 or args.output_template:
        with upscaler_of(args) as upscaler:
            return run_several(upscaler, args, finishing, options, lambda *told: _tell_one(args, *told))
    if args.output is not None and args.output != PIPE and is_folder(args.output):
        make_folder(Path(args.output))
    if args.output is None and args.dst is not None:
        _check_meant(args, finishing)
    if args.dst is None and args.src == PIPE and sys.stdout.isatty():
        raise ValueError("Standard output is a terminal. Name a file: `edsr upscale - out.png < in.jpg`.")
    with upscaler_of(args) as upscaler, TileProgress(label, args.quiet) as progress:
        if not args.quiet and args.src != PIPE:
            announce(upscaler, args, options, progress)
        if args.src != PIPE and not to_stdout:
            flags: dict[str, Any] = {"overwrite": args.overwrite, "bands": args.bands, "restart": args.restart}
            result = upscaler.upscale_file(args.src, args.dst, progress=progress, **flags, **options)
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
        print(f"note: {visible(note)}", file=sys.stderr)
    if args.json or not args.quiet:
        _tell(result, sys.stderr if to_stdout else sys.stdout, args.json)
    return 0


def _tell_one(args: argparse.Namespace, result: FileResult, source: Path) -> None:
    """One of several."""
    for note in result.notes:
        print(f"note: {visible(str(source))}: {visible(note)}", file=sys.stderr)
    if args.json:
        print(json.dumps(with_input(result, source)), flush=True)
    elif not args.quiet:
        _tell(result, sys.stdout, as_json=False)


def _check_meant(args: argparse.Namespace, finishing: Finishing) -> None:
    """Raise OutputExistsError for `edsr upscale *.jpg` in a folder of two: the second would be lost."""
    asked = args.overwrite or finishing.scale or finishing.max_side
    if not asked and PIPE not in (args.src, args.dst) and is_another_picture(Path(args.src), Path(args.dst)):
        raise OutputExistsError(
            f"{args.dst} is a picture no larger than {args.src}, hardly an earlier result of it; nothing was changed. "
            "Several pictures go into a folder: `-o FOLDER`. To replace it: --overwrite."
        )


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
    where = "standard output" if result.path == PIPE else visible(result.path)
    ensemble = ", self-ensemble" if result.self_ensemble else ""
    how = f", x{result.model_scale} by the network, then Lanczos" if result.resampled else ""
    print(
        f"{where} ({result.width}x{result.height}{how}{frames}{tiles}{retries}, {result.model}{ensemble} "
        f"on {', '.join(result.servers)}, {result.seconds:.2f} s)",
        file=stream,
    )
