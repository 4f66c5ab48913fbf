"""What libraries written in C say on standard error, told at the end and with the file's name."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

STDERR = 2
LINES_TOLD, LINE_CHARS = 5, 300
READ_BYTES = 100_000


@contextlib.contextmanager
def told_with(name: str) -> Iterator[None]:
    """For as long as the context lasts, keep what others write; then tell it as notes on `name`.

    Python's own `sys.stderr` goes where it went before. Nothing is done where something else has taken its place.
    """
    try:
        is_ours = sys.stderr.fileno() == STDERR
    except (OSError, ValueError, AttributeError):
        is_ours = False
    if not is_ours:
        yield
        return
    before = sys.stderr
    before.flush()
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(STDERR), "w", 1, before.encoding, before.errors) as ours:
        os.dup2(file.fileno(), STDERR)
        sys.stderr = ours
        try:
            yield
        finally:
            os.dup2(ours.fileno(), STDERR)
            sys.stderr = before
            _tell(name, os.pread(file.fileno(), READ_BYTES, 0).decode("utf-8", "replace"))


def _tell(name: str, text: str) -> None:
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    for line in lines[:LINES_TOLD]:
        print(f"note: {name}: {line[:LINE_CHARS]}", file=sys.stderr)
    if len(lines) > LINES_TOLD:
        print(f"note: {name}: and {len(lines) - LINES_TOLD} more lines of its decoder", file=sys.stderr)
