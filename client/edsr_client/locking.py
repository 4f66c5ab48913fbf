"""A file that one process holds at a time. The lock is the kernel's: it ends with the process, however that ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

LOCK = "lock"  # the usual name, in a folder that one run works in


def take(path: Path) -> TextIO | None:
    """The locked file, with this process's number in it; None if another holds it. Closing it lets go.

    Raises:
        OSError: it cannot be made.
    """
    file = path.open("a+")
    if not _lock(file):
        file.close()
        return None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def holder(path: Path) -> str:
    """The number of the process that holds it; "?" if it cannot be known."""
    try:
        return path.read_text("ascii").strip() or "?"
    except (OSError, ValueError):
        return "?"


def _lock(file: TextIO) -> bool:
    """Whether the lock was to be had, and still is the file of that name: its last holder may just have removed it."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be removed
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), Path(file.name).stat())
    except OSError:
        return False
