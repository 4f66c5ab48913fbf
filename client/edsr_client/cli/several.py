"""`edsr upscale` with several pictures: one after the other, each a line; what fails does not stop the others."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import EdsrError, RequestRefusedError, ServerError
from ..files import FileResult, Finishing
from ..forecast import Forecast
from ..texts import shortened, visible
from ..upscaler import Upscaler
from .progress import TileProgress
from .targets import PIPE, Template, make_folder, prepare, targets

SOME_FAILED = 10


def run_several(
    upscaler: Upscaler,
    args: argparse.Namespace,
    finishing: Finishing,
    options: dict[str, Any],
    tell: Callable[..., None],
) -> int:
    """Upscale the pictures; returns the exit code.

    Args:
        upscaler: connected or not.
        args: of the command: `inputs`, `output`, `output_template`, `overwrite`, `bands`, `json`, `quiet`.
        finishing: of all.
        options: further arguments of `upscale_file`.
        tell: called with every result and its input's name.

    Raises:
        OutputError: two would have one result; nothing was made.
        ServerError: what concerns all pictures.
    """
    planned = planned_pairs(upscaler, args, finishing)
    if args.output is not None:
        make_folder(Path(args.output))
    flags: dict[str, Any] = {"overwrite": args.overwrite, "bands": args.bands, "restart": args.restart}
    failed: list[str] = []
    for source, target in planned:
        try:
            if args.output_template and target is not None:
                prepare(target, finishing)
            with TileProgress(source.name, args.quiet) as progress:
                result = upscaler.upscale_file(source, target, progress=progress, **flags, **options)
            tell(result, source)
        except EdsrError as error:
            fail_one(source, error, args.json)
            failed.append(str(source))
    _summarise(args, len(planned), failed)
    return SOME_FAILED if failed else 0


def planned_pairs(upscaler: Upscaler, args: argparse.Namespace, finishing: Finishing) -> list[tuple[Path, Path | None]]:
    """Every picture, and the file or folder of its result; None for beside it.

    Raises:
        OutputError: two would have one result.
        ValueError: the arguments do not go together.
    """
    if PIPE in args.inputs or args.output == PIPE:
        raise ValueError("- stands for one picture; several go from files to files.")
    template = Template(args.output_template) if args.output_template else None
    if template and finishing.max_side is not None and "{scale}" in args.output_template:
        raise ValueError("with --max-side the scale differs from picture to picture: leave {scale} out of the template")
    folder = Path(args.output) if args.output is not None else None
    sources = [Path(name) for name in args.inputs]
    return list(zip(sources, targets(sources, folder, template, finishing, upscaler.model_info().scale), strict=True))


def fail_one(source: Path, error: EdsrError, as_json: bool) -> None:
    """Say that one of several failed; raises `error` if the others would fail, too."""
    if isinstance(error, ServerError) and not isinstance(error, RequestRefusedError):
        raise error
    if as_json:
        told = {"input": str(source), "error": str(error), "type": type(error).__name__}
        print(json.dumps({**told, "exit_code": error.exit_code}), flush=True)
    else:
        print(f"failed: {shortened(visible(str(error)))}", file=sys.stderr, flush=True)


def _summarise(args: argparse.Namespace, count: int, failed: list[str]) -> None:
    made = count - len(failed)
    if args.json:
        print(json.dumps({"status": "summary", "made": made, "failed": len(failed)}))
        return
    if failed:
        print(f"{made:,} made, {len(failed):,} failed: {visible(', '.join(failed[:5]))}", file=sys.stderr)
    elif not args.quiet:
        print(f"{made:,} made")


def with_input(result: FileResult | Forecast, source: Path) -> dict[str, Any]:
    """A result as JSON takes it, with the picture it came of."""
    return {"input": str(source), **asdict(result)}
