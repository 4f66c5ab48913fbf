"""Where files and commands meet their users: JSON that may hold anything, and errors that nobody foresaw.

Used by all command lines but the client's, which has its own.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What reading a JSON file by its keys can end in, where the file may hold anything.
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
BUG = 70  # EX_SOFTWARE of sysexits.h
TRACEBACK = "EDSR_TRACEBACK"


def read_json(path: Path, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or nested more deeply than can be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def unforeseen(error: Exception, program: str) -> int:
    """Say in one line on standard error what no command has a message for; returns the exit code.

    What the system refuses (a full disk, no permission, no memory) is the user's to mend; everything else is a fault of
    this program, whose traceback $EDSR_TRACEBACK=1 shows.
    """
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    words = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError):
        line, code = "There is not enough memory for this. Close other programs, or take a smaller model.", 1
    elif isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        line, code = f"{error.strerror}{where}.", 1
    else:
        line, code = (
            f"{program} did not foresee this: {type(error).__name__}: {words}. That is a fault of the program: please "
            f"report it, with what {TRACEBACK}=1 shows.",
            BUG,
        )
    sys.stderr.write(f"error: {line}\n")
    return code
