"""Runs a command: errors become one line and an exit code, log records become notes."""

from __future__ import annotations

import argparse
import dis
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType
from typing import TextIO

from ..errors import EdsrError
from ..texts import quoted, shortened, visible
from . import upscale
from .arguments import parse
from .library_words import told_with

REFUSED_BY_SYSTEM, USAGE_ERROR, FAULT, INTERRUPTED, TERMINATED = 1, 2, 70, 130, 143
TRACEBACK_VARIABLE = "EDSR_TRACEBACK"
PACKAGE = __name__.partition(".")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit code. Whatever goes wrong is one line on standard error.

    With --debug, or EDSR_TRACEBACK in the environment, a traceback comes before it.
    """
    _let_any_name_be_printed(sys.stdout, sys.stderr)
    # What is known of the arguments where they are wrong.
    args = argparse.Namespace(json="--json" in (sys.argv[1:] if argv is None else argv))
    try:
        args = parse(argv)
        # With -v everything is told as it comes.
        with told_with(str(args.src)) if args.run is upscale.run and not args.verbose else nullcontext():
            return _run(args)
    except BrokenPipeError:
        # Whoever read our output went away. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as interruption:
        print("interrupted; no result was left half written", file=sys.stderr)
        return TERMINATED if interruption.args else INTERRUPTED
    except Exception as error:
        return _failed(error, args)


def _run(args: argparse.Namespace) -> int:
    _quiet_libraries(args.verbose)
    signal.signal(signal.SIGTERM, _terminate)
    return int(args.run(args) or 0)


def _failed(error: Exception, args: argparse.Namespace) -> int:
    if getattr(args, "debug", False) or os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    words, exit_code = _told(error)
    print(f"error: {shortened(visible(words))}", file=sys.stderr)
    if getattr(args, "json", False):
        # Where the description of the result would have gone.
        told = {"error": words, "type": type(error).__name__, "exit_code": exit_code}
        print(json.dumps(told), file=sys.stderr if _results_go_to_stdout(args) else sys.stdout)
    return exit_code


def _told(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if isinstance(error, EdsrError):
        return str(error), error.exit_code
    if isinstance(error, ValueError) and _is_raised_by_us(error):
        return str(error), USAGE_ERROR
    if isinstance(error, MemoryError):
        return (
            "There is not enough memory for this. Send smaller pictures, or large ones in bands (`--bands always`).",
            REFUSED_BY_SYSTEM,
        )
    if isinstance(error, OSError) and error.strerror:
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return f"The system refuses: {error.strerror}{where}.", REFUSED_BY_SYSTEM
    kind = f"{type(error).__name__}: {quoted(str(error))}"
    advice = f"Run it again with --debug, and report what that shows ({TRACEBACK_VARIABLE}=1 does the same)."
    return f"This is a fault of edsr itself ({kind}). {advice}", FAULT


def _is_raised_by_us(error: Exception) -> bool:
    """Whether a `raise` in this package made it, which is how wrong arguments are told, and not what was called."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not str(frame.f_globals.get("__name__", "")).startswith(PACKAGE):
        return False
    return dis.opname[frame.f_code.co_code[trace.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def _results_go_to_stdout(args: argparse.Namespace) -> bool:
    """Whether standard output is a picture's."""
    return getattr(args, "dst", None) == "-" or (getattr(args, "src", "") == "-" and args.dst is None)


def _let_any_name_be_printed(*streams: TextIO) -> None:
    """Names of files need be no text in any encoding, and standard output may know few characters."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("terminated")


def _quiet_libraries(verbose: int) -> None:
    """Notes of ours as "note: ...", more with -v; nothing of Pillow's, OpenCV's and gRPC's own on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("note: %(message)s" if not verbose else "%(relativeCreated)d ms: %(message)s"))
    logger = logging.getLogger("edsr_client")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel([logging.WARNING, logging.INFO][min(verbose, 1)] if verbose < 2 else logging.DEBUG)
    logging.getLogger().addHandler(logging.NullHandler())
    if not verbose:
        warnings.simplefilter("ignore")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # What fails in a thread beside the work is told by the work, or is of no account.
    threading.excepthook = lambda failed: logger.debug("in a thread: %s", failed.exc_value)
    # Our own limit, --max-pixels, is checked before anything is decoded.
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None


class _OneLine(logging.Formatter):
    """Names of files and words of servers cannot steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return shortened(visible(super().format(record)))
