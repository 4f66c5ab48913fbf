"""The record of a folder of results, edsr-manifest.jsonl: a line of JSON for every picture that was done or failed.

A line is written when the result is whole on the disk under a name of its own, just before it takes its place. So a
result without a line was not made here, and a line without its result tells that the last step is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from ..staged import Identity

NAME = "edsr-manifest.jsonl"
DONE, FAILED, BEGUN, ENDED = "done", "failed", "begun", "ended"


class Decision(Enum):
    """What becomes of a picture; the value is how a summary calls it."""

    MAKE = "to make"
    COMPARE = "to compare"  # its time changed; whether its content did, only reading tells
    DONE = "done before"
    EXISTS = "there already"


@dataclass(frozen=True)
class Entry:
    """What a manifest knows of a result.

    Attributes:
        source, result: of the picture and of its result, when that was made.
        replaces: of the file that was in the result's place before; None if there was none.
        sha256: of the picture.
        settings: digest of all that the result depends on.
        run: that made it.
    """

    source: Identity
    result: Identity
    replaces: Identity | None
    sha256: str
    settings: str
    run: str


def decide(
    known: Entry | None, source: Identity | None, result: Identity | None, overwrite: bool, run: str
) -> Decision:
    """Whether a picture is to be made; pure.

    Args:
        known: what the manifest says.
        source: the picture now; None if it cannot be looked at.
        result: what is in the result's place now.
        overwrite: make all that `run` has not made yet.
        run: this one, or the interrupted one that it goes on with.
    """
    if result is None or source is None:
        return Decision.MAKE
    if overwrite and (known is None or known.run != run):
        return Decision.MAKE
    if known is None:
        return Decision.EXISTS
    if known.result != result:
        # Either the last step was missing, or somebody has changed the result since: theirs is not touched.
        return Decision.MAKE if known.replaces == result or overwrite else Decision.EXISTS
    return Decision.DONE if known.source == source else Decision.COMPARE


class Manifest:
    """The manifest of a folder of results, held by one run. Its methods may be called from any thread.

    Lines go to the system at once, so that a killed process loses none, and to the disk with every `sync`.

    Args:
        folder: of the results.
        scratch: a folder for the index, which is made from the lines and thrown away.

    Raises:
        OSError: it cannot be read or written.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._lock = threading.Lock()
        path = folder / NAME
        # On the disk, for a million pictures are a gigabyte of Python objects.
        (scratch / "index").unlink(missing_ok=True)
        self._index = sqlite3.connect(scratch / "index", check_same_thread=False, isolation_level=None)
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("CREATE TABLE done (target BLOB PRIMARY KEY, entry TEXT) WITHOUT ROWID")
        self._index.execute("CREATE TABLE died (target BLOB PRIMARY KEY, entry TEXT) WITHOUT ROWID")
        self.unfinished: dict[str, Any] | None = None
        self._load(path)
        self._file = path.open("ab")
        if self._file.tell() and not _ends_in_newline(path):  # a line that was cut short
            self._file.write(b"\n")
            self._file.flush()

    def close(self) -> None:
        """Let go; every line is with the system already."""
        with contextlib.suppress(OSError):
            self.sync()
        with contextlib.suppress(OSError):
            self._file.close()
        self._index.close()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def known(self, target: PurePath) -> Entry | None:
        """What is known of a result."""
        with self._lock:
            row = self._index.execute("SELECT entry FROM done WHERE target = ?", (os.fsencode(target),)).fetchone()
        if row is None:
            return None
        sizes = json.loads(row[0])
        return Entry(Identity(*sizes[0]), Identity(*sizes[1]), Identity(*sizes[2]) if sizes[2] else None, *sizes[3:])

    def deaths(self, target: PurePath, source: Identity | None) -> int:
        """How often a decoder died of the picture as it is now, without a result since."""
        with self._lock:
            row = self._index.execute("SELECT entry FROM died WHERE target = ?", (os.fsencode(target),)).fetchone()
        if row is None or source is None:
            return 0
        size, changed, times = json.loads(row[0])
        return int(times) if Identity(size, changed) == source else 0

    def write(self, line: dict[str, Any]) -> None:
        """Add a line.

        Raises:
            OSError: it cannot be written.
        """
        # ASCII: names that are not text in any encoding stay what they are.
        with self._lock:
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
            self._file.flush()

    def sync(self) -> None:
        """Bring all lines to the disk."""
        with self._lock:
            if not self._file.closed:
                os.fsync(self._file.fileno())

    def _load(self, path: Path) -> None:
        self._index.execute("BEGIN")
        for line in _lines(path):
            try:
                kind = line["status"]
                if kind == BEGUN and "run" in line:
                    self.unfinished = line
                elif kind == ENDED:
                    self.unfinished = None
                elif kind == DONE:
                    self._index.execute("REPLACE INTO done VALUES (?, ?)", (os.fsencode(line["output"]), _entry(line)))
                    self._index.execute("DELETE FROM died WHERE target = ?", (os.fsencode(line["output"]),))
                elif kind == FAILED and "deaths" in line:
                    died = (int(line["input_bytes"]), int(line["input_mtime_ns"]), int(line["deaths"]))
                    self._index.execute(
                        "REPLACE INTO died VALUES (?, ?)", (os.fsencode(line["output"]), json.dumps(died))
                    )
            except (KeyError, TypeError, ValueError, OverflowError):  # edited, or written by something else
                continue
        self._index.execute("COMMIT")


def _entry(line: dict[str, Any]) -> str:
    source = (int(line["input_bytes"]), int(line["input_mtime_ns"]))
    result = (int(line["output_bytes"]), int(line["output_mtime_ns"]))
    replaces = line.get("replaces")
    if replaces is not None:
        size, changed = replaces
        replaces = (int(size), int(changed))
    return json.dumps([source, result, replaces, str(line["sha256"]), str(line["settings"]), str(line["run"])])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every line that is an object; one that a crash has cut short is none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
