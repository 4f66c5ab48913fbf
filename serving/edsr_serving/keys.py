"""The key to what is not for every caller: client shared memory, statistics, tracing, logging, the model repository.

Whoever may register shared memory can read and overwrite the pictures of others, and end the server. Triton answers
these questions only with a header that holds the key, which is made anew at every start. It stands in two files that
only the server's own user can read: in the run folder, and in /dev/shm, where a client of the same user on the same
machine finds it. See docs/security.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from pathlib import Path

from .options import ServerOptions

# Header of HTTP requests; gRPC's has a prefix that Triton demands.
HEADER = "edsr-key"
GRPC_HEADER = f"triton-grpc-protocol-{HEADER}"
RESTRICTED = ("shared-memory", "model-repository", "statistics", "trace", "logging")
KEY_FILE = "server.key"
# What `shm_prefix` of server.py begins with.
REGION = re.compile(r"/?edsr-\d+-\d+-[\w.-]+")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


def new_key() -> str:
    """A key that nobody guesses."""
    return secrets.token_hex(32)


def restrictions(key: str) -> list[str]:
    """The options of tritonserver that ask for it."""
    what = f"{','.join(RESTRICTED)}:{HEADER}={key}"
    return [f"--http-restricted-api={what}", f"--grpc-restricted-protocol={what}"]


def publish(key: str, options: ServerOptions, shm_prefix: str) -> None:
    """Write the key where its user finds it: the run folder, and /dev/shm under the server's own prefix.

    What stands there under the prefix is removed with the server. Without /dev/shm there is no shared memory either.

    Raises:
        OSError: the run folder cannot be written.
    """
    said = {
        "address": options.host,
        "http_port": options.http_port,
        "grpc_port": options.grpc_port,
        "http_header": HEADER,
        "grpc_header": GRPC_HEADER,
        "key": key,
    }
    _write_private(options.run_dir / KEY_FILE, json.dumps(said))
    with contextlib.suppress(OSError):
        _write_private(SHARED_MEMORY / f"{shm_prefix}key", json.dumps(said))


def hide(pid: int, key: str) -> bool:
    """Overwrite the key in the command line that /proc shows of a child process; whether that could be done.

    tritonserver takes it as an argument only, and arguments are for every user to read. It has copied them when this is
    called. Only a process that may trace it can do this; where none may, the key stays visible.
    """
    try:
        # arg_start and arg_end of proc(5); the name before the last parenthesis can hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            shown = memory.read(end - start)
            memory.seek(start)
            memory.write(shown.replace(key.encode(), b"x" * len(key)))
    except (OSError, ValueError, IndexError, OverflowError):
        return False
    return True


def keep_own_region_private() -> None:
    """In a backend process: let only this user read the shared memory between it and its server.

    Triton makes it readable to every user of the machine, whatever the umask, and the pictures of all callers go
    through it. Its name is among this process's arguments.
    """
    arguments = Path("/proc/self/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    for word in arguments:
        if REGION.fullmatch(word):
            with contextlib.suppress(OSError):
                (SHARED_MEMORY / word.removeprefix("/")).chmod(0o600)


def _write_private(path: Path, text: str) -> None:
    """A file that was never anybody else's to read, not even for a moment."""
    partial = path.with_name(f"{path.name}.part")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(text)
    partial.replace(path)
