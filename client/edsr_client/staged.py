"""A file that is whole on the disk under another name before it takes its place."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

PREFIX, SUFFIX = ".edsr-", ".part"


@dataclass(frozen=True)
class Identity:
    """What tells a file from what it becomes when somebody writes it anew: size in bytes, time of change in ns."""

    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Identity | None:
        """Of the regular file at `path`; None if there is none.

        Raises:
            OSError: it cannot be known.
        """
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


class Staged:
    """The content of `target` in a file beside it; `commit` puts it in its place, `discard` removes it.

    A link stays one: what it leads to is replaced. An existing file keeps its permissions, a new one has those that the
    umask leaves.

    Raises:
        OSError: it cannot be written; nothing is left.
    """

    def __init__(self, target: Path, content: bytes) -> None:
        self.target = Path(os.path.realpath(target))
        self._partial = self.target.parent / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
        mode = stat.S_IMODE(self.target.stat().st_mode) if self.target.exists() else None
        try:
            with self._partial.open("xb") as file:  # the umask makes the mode of a new file
                if mode is not None:
                    self._partial.chmod(mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            found = self._partial.stat()
        except BaseException:
            self.discard()
            raise
        self.identity = Identity(found.st_size, found.st_mtime_ns)  # a rename keeps both

    def commit(self) -> None:
        """Take the place of the target.

        Raises:
            OSError: it cannot; nothing is left, and the target is as it was.
        """
        try:
            self._partial.replace(self.target)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove it, if it is still there."""
        with contextlib.suppress(OSError):
            self._partial.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left staged in a folder; only where no other process stages files."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(PREFIX) and path.name.endswith(SUFFIX):
                with contextlib.suppress(OSError):
                    path.unlink()
