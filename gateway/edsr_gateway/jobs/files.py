"""The files of jobs: a folder for each, named by the job's id. No name of a user's is ever on the disk.

In it are `source`, what was sent; `result`, of a video with the extension of its container; and whatever the engine
keeps in order to go on after it was interrupted. Several gateways may share the parent.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCE, RESULT = "source", "result"
ID = re.compile(r"[0-9a-f]{32}")
_TRASH = ".trash-"
ORPHAN_S = 300.0
"""A folder without a job is kept this long: its job may be about to be written down."""


class JobFiles:
    """The folders of all jobs, in `parent`. Everything here blocks: call it in a thread.

    Raises:
        OSError: `parent` cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.parent = parent.absolute()

    def folder(self, job_id: str) -> Path:
        """Where the files of a job are."""
        return self.parent / job_id

    def source(self, job_id: str) -> Path:
        """What was sent."""
        return self.folder(job_id) / SOURCE

    def result(self, job_id: str, work: Mapping[str, Any]) -> Path:
        """Where the result will be: the same for every attempt, so that the engine finds what is done already."""
        return self.folder(job_id) / (f"{RESULT}.{work['format']}" if work["kind"] == "video" else RESULT)

    def put(self, job_id: str, source: bytes | Path, draft: Path) -> int:
        """Take over what was sent: a file is moved. The folder is built at `draft` and then appears whole.

        Returns:
            Its bytes.

        Raises:
            OSError: it cannot be written. Nothing is left but `source`.
        """
        draft.mkdir(mode=0o700)
        try:
            inside = draft / SOURCE
            if isinstance(source, bytes):
                inside.write_bytes(source)
            else:
                shutil.move(source, inside)
            synced(inside)
            draft.rename(self.folder(job_id))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        synced(self.folder(job_id))
        synced(self.parent)
        return self.source(job_id).stat().st_size

    def size(self, job_id: str) -> int:
        """Bytes of all files of a job, of those under way too."""
        return sum(_bytes(Path(folder, name)) for folder, _, names in os.walk(self.folder(job_id)) for name in names)

    def settle(self, job_id: str, result: Path) -> None:
        """Only the result is needed any more."""
        for path in self.folder(job_id).iterdir():
            if path != result:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def remove(self, job_id: str) -> None:
        """Remove the folder. Who still works in it finds it gone at once: it is renamed first."""
        trash = self.parent / f"{_TRASH}{secrets.token_hex(16)}"
        try:
            self.folder(job_id).rename(trash)
        except FileNotFoundError:
            return
        shutil.rmtree(trash, ignore_errors=True)

    def orphans(self, older_s: float = ORPHAN_S) -> set[str]:
        """Ids of folders that are older than that; those of no job can be removed. What a removal left is removed."""
        found = set()
        for path in list(self.parent.iterdir()):
            if path.name.startswith(_TRASH):
                shutil.rmtree(path, ignore_errors=True)
            elif ID.fullmatch(path.name) and _age_s(path) > older_s:
                found.add(path.name)
        return found


def synced(path: Path) -> None:
    """Bring a file or folder to the disk.

    Raises:
        OSError: it cannot be.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # gone meanwhile
        return 0
