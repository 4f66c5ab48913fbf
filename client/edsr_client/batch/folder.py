"""The folder of the results, held by one run at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ..errors import OutputBusyError, OutputError

SCRATCH = ".edsr-batch"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Make and hold the folder; yields one in it for what is thrown away at the end.

    The lock is the kernel's: it ends with the process, however that ends.

    Raises:
        OutputBusyError: another run holds it.
        OutputError: it cannot be written.
    """
    scratch = folder / SCRATCH
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        lock = (scratch / "lock").open("a+")
    except OSError as error:
        raise OutputError(f"Cannot write to {folder}: {error.strerror}.") from None
    with lock:
        if not _lock(lock):
            lock.seek(0)
            holder = lock.read().strip() or "?"
            raise OutputBusyError(f"Another run (process {holder}) writes to {folder}. Wait for it, or name another.")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


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
