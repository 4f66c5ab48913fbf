"""Runs a command: errors become one line and an exit code, log records become notes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType

from ..errors import EdsrError
from . import upscale
from .arguments import parse
from .library_words import told_with

USAGE_ERROR, INTERRUPTED, TERMINATED = 2, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit code. Errors a user can act on are one line on standard error."""
    args = parse(argv)
    # With -v everything is told as it comes.
    with told_with(str(args.src)) if args.run is upscale.run and not args.verbose else nullcontext():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    _quiet_libraries(args.verbose)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(args.run(args) or 0)
    except EdsrError as error:
        return _failed(error, error.exit_code, args)
    except ValueError as error:
        return _failed(error, USAGE_ERROR, args)
    except BrokenPipeError:
        # Whoever read our output went away. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as interruption:
        print("interrupted; nothing was left half written", file=sys.stderr)
        return TERMINATED if interruption.args else INTERRUPTED


def _failed(error: Exception, exit_code: int, args: argparse.Namespace) -> int:
    print(f"error: {error}", file=sys.stderr)
    if getattr(args, "json", False):
        # Where the description of the result would have gone.
        to_stdout = getattr(args, "dst", None) == "-" or (getattr(args, "src", "") == "-" and args.dst is None)
        told = {"error": str(error), "type": type(error).__name__, "exit_code": exit_code}
        print(json.dumps(told), file=sys.stderr if to_stdout else sys.stdout)
    return exit_code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("terminated")


def _quiet_libraries(verbose: int) -> None:
    """Notes of ours as "note: ...", more with -v; nothing of Pillow's, OpenCV's and gRPC's own on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("note: %(message)s" if not verbose else "%(relativeCreated)d ms: %(message)s")
    )
    logger = logging.getLogger("edsr_client")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel([logging.WARNING, logging.INFO][min(verbose, 1)] if verbose < 2 else logging.DEBUG)
    logging.getLogger().addHandler(logging.NullHandler())
    if not verbose:
        warnings.simplefilter("ignore")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Our own limit, --max-pixels, is checked before anything is decoded.
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
