"""`edsr video`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from ..errors import IncompleteVideoError
from ..texts import visible
from ..video.options import VideoOptions, VideoResult
from .connection import upscaler_of
from .progress import FrameProgress


def run(args: argparse.Namespace) -> int:
    """Upscale one video. Notes are told as they come up, for this may take hours."""
    options = VideoOptions(
        codec=args.codec,
        crf=args.crf,
        preset=args.preset,
        pixel_format=args.pixel_format,
        sound=not args.no_sound,
        segment_s=args.segment,
        tile=args.tile,
        halo=args.halo,
        border=args.border,
        max_pixels=args.max_pixels,
    )
    with upscaler_of(args) as upscaler, FrameProgress(Path(args.src).name, args.quiet) as progress:
        try:
            result = upscaler.upscale_video(
                args.src, args.dst, options=options, progress=progress, overwrite=args.overwrite, restart=args.restart
            )
        except IncompleteVideoError as error:
            if not args.json:
                raise
            print(f"error: {visible(str(error))}", file=sys.stderr)
            print(json.dumps({**asdict(error.result), "error": str(error), "exit_code": error.exit_code}))
            return error.exit_code
    if args.json or not args.quiet:
        _tell(result, args.json)
    return 0


def _tell(result: VideoResult, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(result)))
        return
    reused = f", {result.reused} of them repeated" if result.reused else ""
    resumed = f", {result.resumed} done before" if result.resumed else ""
    retries = f", {result.retries} requests sent again" if result.retries else ""
    copied = f", {', '.join(result.streams)}" if result.streams else ""
    print(
        f"{visible(result.path)} ({result.width}x{result.height} {result.codec}, {result.frames} frames{reused}"
        f"{resumed}{copied}{retries}, {result.model} on {', '.join(result.servers) or 'no server'}, "
        f"{result.seconds:.2f} s)"
    )
