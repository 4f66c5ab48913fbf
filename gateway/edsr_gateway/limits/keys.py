"""API keys: who may come in. Tokens are random, and the file holds only their hashes.

A token has 256 random bits. Nobody finds it by trying, also not someone who has its SHA-256: slow hashes (bcrypt,
Argon2) are for passwords, which people choose from few. They would only make every request slow.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

log = logging.getLogger("edsr_gateway")

PREFIX = "edsr_"
TOKEN_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_HASH = re.compile(r"[0-9a-f]{64}")
HEAD = (
    "# API keys of edsr-gateway: name, SHA-256 of the token, when it was made. Remove a line to shut its owner out.\n"
)


@dataclass(frozen=True)
class Key:
    """A line of the file."""

    name: str
    digest: bytes
    created: str

    def line(self) -> str:
        """As the file has it."""
        return f"{self.name} {self.digest.hex()} {self.created}\n"


class Keys:
    """The keys of a file, which is read again when it changes.

    Raises:
        ValueError: it cannot be read, or a line of it is none.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp = _stamp(file)
        try:
            self._keys, wrong = parsed(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"the keys in {file} cannot be read: {error}. `edsr-gateway key NAME` makes one") from None
        if wrong:
            raise ValueError(f"line {wrong[0]} of {file} is no key. `edsr-gateway key NAME` makes one")

    def name_of(self, token: str) -> str | None:
        """The name of the key that a token is, None if it is none. The time says nothing of how near it was."""
        self._renew()
        digest, found = hashlib.sha256(token.encode("utf-8", "replace")).digest(), None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key.name
        return found

    def _renew(self) -> None:
        """A file that is gone, or a line that is none, lets nobody in: to shut someone out must always work."""
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys, wrong = parsed(self._file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            self._keys, wrong = [], []
            log.error("the keys cannot be read, and nobody comes in: %s", error)
        for line in wrong:
            log.error("line %d of the keys is none", line)


def parsed(text: str) -> tuple[list[Key], list[int]]:
    """The keys of a file, and the numbers of the lines that are none."""
    keys, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) in (2, 3) and _NAME.fullmatch(words[0]) and _HASH.fullmatch(words[1]):
            keys.append(Key(words[0], bytes.fromhex(words[1]), words[2] if len(words) == 3 else ""))
        else:
            wrong.append(number)
    return keys, wrong


def create(name: str, file: Path) -> str:
    """Make a key; the file is made too if there is none.

    Returns the token, which is written down nowhere: show it once.

    Raises:
        ValueError: the name will not do, or is there already.
        OSError: the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a key: small letters, digits, '.', '_' and '-', at most 40")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    with _changing(file) as lines:
        if any(line.split(" ", 1)[0] == name for line in lines):
            raise ValueError(f"there is a key {name} already; remove it first, or take another name")
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(Key(name, hashlib.sha256(token.encode()).digest(), now).line())
    return token


def remove(name: str, file: Path) -> None:
    """Shut the owner of a key out; running gateways see it at the next request.

    Raises:
        ValueError: there is no such key.
        OSError: the file cannot be read or written.
    """
    with _changing(file) as lines:
        kept = [line for line in lines if line.split(" ", 1)[0] != name]
        if len(kept) == len(lines):
            raise ValueError(f"there is no key {name}")
        lines[:] = kept


@contextlib.contextmanager
def _changing(file: Path) -> Iterator[list[str]]:
    """The lines, which replace the file in one step. One at a time: the folder is locked meanwhile."""
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        lines = file.read_text("utf-8").splitlines(keepends=True) if file.exists() else [HEAD]
        yield lines
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as new:  # mode 0600
            new.writelines(line if line.endswith("\n") else line + "\n" for line in lines)
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).replace(file)
    finally:
        os.close(folder)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
