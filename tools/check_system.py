"""Says, before anything is installed, what this system lacks and the command that installs it.

Runs on the system's own interpreter, with the standard library only, and even on one that is too old.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)
MIN_GLIBC = (2, 35)


def problems() -> Iterator[str]:
    """Yield one line for each thing that is missing."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        yield f"Python {version} is not supported; 3.10 to 3.13 are. Name another: `make setup PYTHON=python3.12`"
        return
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        yield f"{platform.system()} {platform.machine()}: the embedded Triton exists for Linux x86-64 only"
    name, glibc = platform.libc_ver()
    if name == "glibc" and tuple(map(int, glibc.split(".")[:2])) < MIN_GLIBC:
        yield f"glibc {glibc} is too old; 2.35 is needed (Ubuntu 22.04, Debian 12 and newer)"
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        yield f"python3-venv is missing: sudo apt-get install python{version}-venv"
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "serving"))
    from edsr_serving.installation import BUNDLED_LIBPYTHON, find_libpython

    if version != BUNDLED_LIBPYTHON and find_libpython() is None:
        yield f"libpython{version}.so.1.0 is missing: sudo apt-get install libpython{version}"


def main() -> int:
    """Print the problems; returns the process's exit code."""
    found = list(problems())
    for line in found:
        sys.stderr.write(f"error: {line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
