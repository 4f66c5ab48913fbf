"""All servers of this user on this machine, wherever their run folders are: a tritonserver works in its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .processes import is_tritonserver
from .server import LOG_FILE

PORT_OPTION = "--http-port="


@dataclass(frozen=True)
class OtherServer:
    """A server that runs: its process, its run folder, and the port it listens on for HTTP, 0 if that is not told."""

    pid: int
    run_dir: Path
    http_port: int


def running_servers() -> list[OtherServer]:
    """Every server that was started by this package, in the order of their processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if not is_tritonserver(pid):
            continue
        try:
            run_dir = (process / "cwd").readlink()
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:  # another user's, or it has just ended
            continue
        if (run_dir / LOG_FILE).exists():
            found.append(OtherServer(pid, run_dir, _port(words)))
    return sorted(found, key=lambda server: server.pid)


def _port(words: list[str]) -> int:
    """Of --http-port=8000, or --http-port 8000."""
    for index, word in enumerate(words):
        text = word.removeprefix(PORT_OPTION)
        if word == PORT_OPTION[:-1] and index + 1 < len(words):
            text = words[index + 1]
        elif text == word:
            continue
        return int(text) if text.isdigit() else 0
    return 0
