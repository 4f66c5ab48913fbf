"""Finished bands on the disk beside the result, for a run that goes on where another ended."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import OutputBusyError, OutputError
from ..hidden import hidden_name
from ..locking import LOCK, holder, take
from ..pictures.alpha import Array

# Read from both ends of the input, beside its size and time, to know it again.
LOOKED_AT_BYTES = 1 << 20
# What the result may take beside its bands; of PNG and TIFF of noise as much again.
SPARE = 1.1


@dataclass
class Store:
    """Bands in `.NAME.edsr-bands` beside the result; band N in N.band, whole or not there.

    Attributes:
        folder: which exists while the store is open.
        kept: bands that an earlier run of the same work has finished.
        lock: which keeps other processes away.
    """

    folder: Path
    kept: frozenset[int]
    lock: TextIO

    @classmethod
    def open(cls, target: Path, work: dict[str, Any], sizes: list[int], restart: bool = False) -> Store:
        """Go on with the bands of the same work, or begin.

        Args:
            target: the result.
            work: all that the bands depend on; what is there of another work is removed.
            sizes: bytes of every band.
            restart: begin even where there are bands of the same work.

        Raises:
            OutputBusyError: another process does the same.
            OutputError: it cannot be written, or the disk is too full.
        """
        folder = target.parent / hidden_name(target.name, ".edsr-bands")
        digest = hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()
        try:
            folder.mkdir(exist_ok=True)
            lock = take(folder / LOCK)
            if lock is None:
                number = holder(folder / LOCK)
                raise OutputBusyError(f"Process {number} is at {target} already. Wait for it, or name another output.")
            if restart or _read(folder / "work") != digest:
                for band in folder.glob("*.band"):
                    band.unlink()
            _write(folder / "work", digest.encode())
            kept = frozenset(i for i, size in enumerate(sizes) if _size(folder / f"{i}.band") == size)
            missing = sum(size for index, size in enumerate(sizes) if index not in kept)
            free = shutil.disk_usage(folder).free
            needed = int((missing + sum(sizes)) * SPARE)
            if needed > free:
                cls(folder, kept, lock).release()
                raise OutputError(
                    f"{target} and its bands need up to {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free. "
                    "Make room, or name another disk."
                )
        except OSError as error:
            raise OutputError(f"Cannot write to {target.parent}: {error.strerror}.") from None
        return cls(folder, kept, lock)

    def path(self, index: int) -> Path:
        """Of a band: rows, then pixels, then channels, as the machine orders bytes."""
        return self.folder / f"{index}.band"

    def put(self, index: int, band: Array) -> None:
        """Keep a band.

        Raises:
            OutputError: it cannot be written; nothing half is left.
        """
        try:
            _write(self.path(index), np.ascontiguousarray(band).data)
        except OSError as error:
            raise OutputError(f"Cannot write {self.path(index)}: {error.strerror}. The same command goes on.") from None

    def release(self) -> tuple[int, int]:
        """Let another process go on with what there is: so many bands, and their bytes."""
        sizes = [_size(band) for band in self.folder.glob("*.band")]
        if sizes:
            self.lock.close()
        else:
            self.remove()
        return len(sizes), sum(sizes)

    def remove(self) -> None:
        """Throw all away."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()


def fingerprint(path: Path) -> list[Any]:
    """What tells a file from another, or from what becomes of it: size, time of change, its first and last megabyte.

    Raises:
        OSError: it cannot be read.
    """
    found = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(LOOKED_AT_BYTES))
        file.seek(max(0, found.st_size - LOOKED_AT_BYTES))
        digest.update(file.read(LOOKED_AT_BYTES))
    return [found.st_size, found.st_mtime_ns, digest.hexdigest()]


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _write(path: Path, content: bytes | memoryview) -> None:
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
