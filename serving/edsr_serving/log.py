"""Triton's log for people: one short line each, tables left out, and the reasons when it did not start."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

# I1123 08:08:42.161786 3813 server.cc:674] "message"
LINE = re.compile(r"^([IWEF])\d{4} (\d\d:\d\d:\d\d)\.\d+ +\d+ ([^ ]+)\] ?(.*)$")
LEVELS = {"I": "", "W": "warning: ", "E": "error: ", "F": "fatal: "}
# Said of every server on every machine without a GPU, or of no use without the source at hand.
NOISE = (
    "Pinned memory pool is created",
    "CUDA memory pool is disabled",
    "CudaDriverHelper has not been initialized",
    "Collecting CPU metrics",
    "No CUDA device",
    "CUDA driver version is insufficient",
    "no CUDA-capable device",
    "Unable to create pinned memory pool",
    "Unable to allocate pinned system memory",
    "Waiting for in-flight requests",
    "Timeout ",
    "TRITONBACKEND_Model",
)
MAX_REASONS = 3
MAX_REASON_CHARACTERS = 400


KEPT_LOGS = 5


def rotate(log: Path) -> None:
    """Keep the logs of the last servers as NAME.1, the newest, to NAME.5."""
    if not log.exists():
        return
    for number in range(KEPT_LOGS - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


def stamped(text: str, level: str = "I", source: str = "edsr") -> str:
    """A line for the log as Triton writes its own: level, date, time, process, source, message."""
    now = datetime.now()
    return f'{level}{now:%m%d %H:%M:%S.%f} {os.getpid()} {source}] "{text}"'


def say(text: str, level: str = "I", source: str = "edsr") -> None:
    """Write such a line from within a backend, whose standard output is the log.

    Not by pb_utils.Logger, which ends the process if the path of the file that calls it is not ASCII.
    """
    print(stamped(text, level, source), flush=True)  # noqa: T201


def readable(line: str) -> str | None:
    """A line of Triton's log for a terminal, or None for tables, blank lines and noise."""
    line = line.rstrip("\n")
    found = LINE.match(line)
    if found is None:
        return None if not line.strip() or line[0] in "|+" else line
    level, clock, _, message = found.groups()
    message = message.strip().strip('"')
    if not message or is_noise(message):
        return None
    return f"{clock} {LEVELS[level]}{message}"


def is_noise(message: str) -> bool:
    """Whether a message tells an operator nothing."""
    return any(noise in message for noise in NOISE)


def reasons(text: str) -> str:
    """The first error messages of a log, as sentences; empty if there are none."""
    messages = [found.group(4) for found in map(LINE.match, text.splitlines()) if found and found.group(1) in "EF"]
    # What follows an exception's text is a stack trace; it stays in the log.
    short = [message.split("\\n\\nAt:")[0].strip('" ')[:MAX_REASON_CHARACTERS] for message in messages]
    distinct = list(dict.fromkeys(message for message in short if message and not is_noise(message)))
    return " ".join(f"{message.rstrip('.')}." for message in distinct[:MAX_REASONS])
