"""The folder of the results, held by one run at a time."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import OutputBusyError, OutputError
from ..locking import LOCK, holder, take

SCRATCH = ".edsr-batch"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Make and hold the folder; yields one in it for what is thrown away at the end.

    Raises:
        OutputBusyError: another run holds it.
        OutputError: it cannot be written.
    """
    scratch = folder / SCRATCH
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        lock = take(scratch / LOCK)
    except OSError as error:
        raise OutputError(f"Cannot write to {folder}: {error.strerror}.") from None
    if lock is None:
        number = holder(scratch / LOCK)
        raise OutputBusyError(f"Another run (process {number}) writes to {folder}. Wait for it, or name another.")
    with lock:
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
