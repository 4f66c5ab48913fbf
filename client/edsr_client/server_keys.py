"""The key of a server on this machine that belongs to this very user: with it shared memory and statistics are open.

`edsr_serving` makes one at every start and leaves it in /dev/shm, for its user alone to read; EDSR_SERVER_KEY_FILE
names a copy elsewhere (`server.key` in the run folder). It is never sent to another machine, nor to an address or port
other than those that the file states: where another user may listen, a key would be given away.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .addresses import Address

VARIABLE = "EDSR_SERVER_KEY_FILE"
FOLDER, PATTERN = Path("/dev/shm"), "edsr-*-key"  # noqa: S108
LONGEST = 10_000
NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class ServerKey:
    """A key, as the `headers` that show it, and the address to send them to."""

    address: Address
    headers: dict[str, str]


def find(address: Address, folder: Path = FOLDER) -> ServerKey | None:
    """The key of the server at `address`; None if there is none for this user, or the address is not this machine's."""
    if not address.is_local or address.tls or address.path:
        return None
    files = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else _newest_first(folder)
    return next(_keys(files, address), None)


def _newest_first(folder: Path) -> list[Path]:
    found = []
    for path in folder.glob(PATTERN):
        with contextlib.suppress(OSError):  # it went with its server
            found.append((path.lstat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def _keys(files: list[Path], address: Address) -> Iterator[ServerKey]:
    host, _, port = address.host_port.rpartition(":")
    for path in files:
        said = _read(path)
        if said.get(f"{address.protocol}_port") != int(port):
            continue
        listens = said.get("address")
        # "localhost" can be ::1 too, where somebody else may listen: it is asked at the address that the server has.
        if not isinstance(listens, str) or host not in (listens, *(NAMES[:1] if listens in NAMES else ())):
            continue
        header, key = said.get(f"{address.protocol}_header"), said.get("key")
        if isinstance(header, str) and isinstance(key, str):
            yield ServerKey(replace(address, host_port=f"{listens}:{port}"), {header: key})


def _read(path: Path) -> dict[str, Any]:
    """What a key file says; nothing unless it is a regular file of this user that nobody else can read or write."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return {}
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(file)
        private = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
        if not private:
            return {}
        try:
            said = json.loads(stream.read(LONGEST))
        except (OSError, ValueError, RecursionError):
            return {}
    return said if isinstance(said, dict) else {}
