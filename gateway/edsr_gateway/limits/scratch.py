"""A folder for what is under way, gone with the gateway: also when that was killed, at the next start of another."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import Problem
from .limits import Limits


class Scratch:
    """A folder of this gateway's own in `parent`; several gateways may share that.

    Args:
        parent: where it is made.
        most_bytes: that uploads and results under way may take together.

    Folders in `parent` that a gateway left when it was killed are removed. A lock, which ends with its process, tells
    them from those in use.

    Raises:
        OSError: `parent` cannot be made or written.
    """

    def __init__(self, parent: Path, most_bytes: int = Limits.scratch_bytes) -> None:
        self._most_bytes = most_bytes
        self.bytes = 0
        """What uploads and results take now."""
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(parent / "lock"):  # nobody makes a folder meanwhile whose lock is not taken yet
            for left in parent.iterdir():
                if left.is_dir() and not left.is_symlink() and not _is_held(left / "lock"):
                    shutil.rmtree(left, ignore_errors=True)
            self.folder = (parent / secrets.token_hex(8)).absolute()
            self.folder.mkdir(mode=0o700)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def path(self) -> Path:
        """A path that nothing has: 128 random bits, never a name that a user gave."""
        return self.folder / secrets.token_hex(16)

    @contextlib.contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Count a file that is there, while it is."""
        self.bytes += count
        try:
            yield
        finally:
            self.bytes -= count

    def check_room(self, count: int = 0) -> None:
        """See whether there is room for so many bytes more.

        Raises:
            Problem: 429, there is not.
        """
        if self.bytes + count > self._most_bytes:
            raise Problem(
                429,
                f"Uploads and results under way take {self.bytes:,} bytes; {self._most_bytes:,} are allowed. "
                "Try again in a moment.",
                limit_bytes=self._most_bytes,
            )

    def close(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
