"""What /proc says of a server's processes, and how all of them are ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from .installation import STUB

PROC = Path("/proc")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
POLL_S = 0.05
KILL_TIMEOUT_S = 5.0
# As proc(5) names them.
GONE, ZOMBIE, STOPPED = "", "Z", "Tt"


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until `condition` holds; False if it did not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (state, parent, group, ...); [] if there is no such process."""
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def state_of(pid: int) -> str:
    """The letter of a process's state, "R", "S", "T", ...; "" for one that is gone, or dead and not yet waited for."""
    fields = stat_fields(pid)
    return fields[0] if fields and fields[0] not in "ZX" else GONE


def cpu_ticks(pid: int) -> int:
    """Processor time that a process has used, in clock ticks; 0 for one that is gone."""
    fields = stat_fields(pid)
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def command_line(pid: int) -> str:
    """Of a live process; empty for one that has ended."""
    try:
        return (PROC / str(pid) / "cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_tritonserver(pid: int) -> bool:
    """Whether a live process with this id is a tritonserver: ids are used again."""
    return state_of(pid) != GONE and "tritonserver" in command_line(pid).split("\0")[0]


def is_keeper(pid: int) -> bool:
    """Whether a live process with this id keeps a server: `python -m edsr_serving run` or `start`."""
    return state_of(pid) != GONE and "edsr_serving" in command_line(pid)


def group(leader: int) -> list[int]:
    """Triton's processes in the group of a server, which need not live any more."""
    members = []
    for process in PROC.glob("[0-9]*"):
        fields = stat_fields(int(process.name))
        in_group = len(fields) > 2 and fields[2] == str(leader)
        if in_group and "triton" in command_line(int(process.name)):  # one that has ended has none
            members.append(int(process.name))
    return members


def backends_of(leader: int) -> list[int]:
    """The live backend processes of a server, one per model instance."""
    return [pid for pid in group(leader) if STUB in command_line(pid)]


def clean_up(pid: int, shm_prefix: str) -> None:
    """Kill what is left of a server's process group, and remove its shared memory.

    A tritonserver that is stopped while it loads, or killed, leaves its Python stubs behind, and those ignore SIGTERM.
    """

    def nothing_left() -> bool:
        members = group(pid)
        for member in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)
        return not members

    wait_for(nothing_left, KILL_TIMEOUT_S)  # again and again: one may just be starting, and none dies at once
    remove_shared_memory(shm_prefix)


def remove_shared_memory(prefix: str) -> None:
    """Remove the regions whose names begin so."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            region.unlink()
