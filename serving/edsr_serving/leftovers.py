"""What servers that were killed have left in /dev/shm: pictures, and keys to nothing.

A backend whose server dies removes its own; one that is killed with it, or was only starting, does not. So each start
looks for what belongs to nobody. A living server is known by its process, and by a lock on its key file, which also
holds where the processes of another container cannot be seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path

from .processes import SHARED_MEMORY, remove_shared_memory, state_of

# As `shm_prefix` of server.py has it: edsr-PID-PORT-.
PREFIX = re.compile(r"edsr-(\d+)-\d+-")
KEY = "key"


def remove_leftovers(folder: Path = SHARED_MEMORY) -> list[str]:
    """Remove the shared memory of this user's servers that are no more; returns how its names began."""
    prefixes = {}
    for path in folder.glob("edsr-*"):
        with contextlib.suppress(OSError):  # it went with its server
            if (found := PREFIX.match(path.name)) and path.lstat().st_uid == os.getuid():
                prefixes[found[0]] = int(found[1])
    dead = [
        prefix for prefix, pid in prefixes.items() if not state_of(pid) and not _is_locked(folder / f"{prefix}{KEY}")
    ]
    for prefix in dead:
        remove_shared_memory(prefix, folder)
    return sorted(dead)


def _is_locked(path: Path) -> bool:
    """Whether some process holds the lock of a file; one that is not there has none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
