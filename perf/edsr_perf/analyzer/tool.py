"""perf_analyzer itself: found, or brought into a folder of its own where the system's C library is too old for it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import ToolError

VERSION = "2.60.0"
WHEEL = "manylinux_2_38_x86_64"
NEEDED_GLIBC = (2, 38)
# The first release of Debian whose C library is new enough, and what perf_analyzer loads from it.
DEBIAN, PACKAGES = "trixie", ("libc6", "libstdc++6", "libgcc-s1", "libssl3t64", "zlib1g", "libzstd1")
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
VARIABLE = "PERF_ANALYZER"
HOW_ELSE = (
    f"Where Docker is, the SDK container has it (nvcr.io/nvidia/tritonserver:<release>-py3-sdk); else name a binary: "
    f"{VARIABLE}=/path/perf_analyzer."
)


def find_tool(folder: Path, report: Callable[[str], None] = lambda _: None) -> list[str]:
    """The command that runs perf_analyzer.

    $PERF_ANALYZER comes first, then one on the PATH, then the one in `folder`, which is brought there if it is missing.

    Args:
        folder: for the tool and its libraries, about 40 MB.
        report: called with one line per step.

    Raises:
        ToolError: there is none and it cannot be brought; the message says what else to do.
    """
    if named := os.environ.get(VARIABLE):
        if not os.access(named, os.X_OK):
            raise ToolError(f"{VARIABLE}={named} is no program that can be run.")
        return [named]
    if found := shutil.which("perf_analyzer"):
        return [found]
    command = _command(folder)
    if not works(command):
        bring(folder, report)
        command = _command(folder)
        if not works(command):
            raise ToolError(f"perf_analyzer was brought into {folder}, and does not run there. {HOW_ELSE}")
    return command


def works(command: Sequence[str]) -> bool:
    """Whether a command is perf_analyzer, and of a version that can be used."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and "perf analyzer" in (done.stdout + done.stderr).lower()


def bring(folder: Path, report: Callable[[str], None] = lambda _: None) -> None:
    """Download perf_analyzer's wheel, and on an older Debian the libraries it needs, into `folder`.

    Raises:
        ToolError: another system or processor, or no network.
    """
    if platform.machine() != "x86_64":
        raise ToolError(f"perf_analyzer is built for x86-64, this machine is {platform.machine()}. {HOW_ELSE}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report(f"bringing perf_analyzer {VERSION} into {folder}")
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary=:all:", "--python-version", "3.12", "--platform", WHEEL, "--dest", str(folder)),
            f"perf-analyzer=={VERSION}",
        ],
        folder,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract("perf_analyzer/bin/perf_analyzer", folder)
    (folder / "perf_analyzer/bin/perf_analyzer").chmod(0o755)
    wheel.unlink()
    if glibc_of(platform.libc_ver()) < NEEDED_GLIBC:
        report(f"the C library here is older than {'.'.join(map(str, NEEDED_GLIBC))}: bringing that of Debian {DEBIAN}")
        _bring_libraries(folder)


def glibc_of(libc: tuple[str, str]) -> tuple[int, ...]:
    """("glibc", "2.36") -> (2, 36); another C library is older than any."""
    name, version = libc
    return tuple(int(part) for part in re.findall(r"\d+", version)) if name == "glibc" else ()


def mirror_of(texts: Sequence[str], codename: str) -> tuple[str, str]:
    """The address of Debian's archive and the file of its keys, from the texts of apt's sources.

    Args:
        texts: of /etc/apt/sources.list and of the files in sources.list.d, in either format.
        codename: of the release that is installed, as "bookworm"; its entry is taken.

    Raises:
        ToolError: there is no such entry.
    """
    for text in texts:
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^([A-Za-z-]+):\s*(.+)$", stanza, re.MULTILINE))
            if codename in fields.get("Suites", "").split() and "main" in fields.get("Components", "").split():
                return fields["URIs"].split()[0], fields.get("Signed-By", "").strip()
        for options, uri in re.findall(rf"^deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+{codename}\s+.*main", text, re.MULTILINE):
            signed = re.search(r"signed-by=(\S+)", options)
            return uri, signed[1] if signed else ""
    raise ToolError(f"apt's sources name no archive of Debian {codename}. {HOW_ELSE}")


def _bring_libraries(folder: Path) -> None:
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', _text(Path("/etc/os-release")), re.MULTILINE))
    if release.get("ID") != "debian" or not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise ToolError(
            f"perf_analyzer needs a C library of {'.'.join(map(str, NEEDED_GLIBC))} or newer, and this is no Debian "
            f"whose newer one could be taken. {HOW_ELSE}"
        )
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    uri, keys = mirror_of([_text(path) for path in sources], release["VERSION_CODENAME"])
    apt = folder / "apt"
    for each in ("lists/partial", "cache/archives/partial"):
        (apt / each).mkdir(parents=True)
    signed = f"[signed-by={keys}] " if keys else ""
    (apt / "sources.list").write_text(f"deb {signed}{uri} {DEBIAN} main\n", "utf-8")
    options = [
        f"Dir::Etc::sourcelist={apt.absolute()}/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State::lists={apt.absolute()}/lists",
        f"Dir::Cache={apt.absolute()}/cache",
        "Dir::State::status=/dev/null",
        "APT::Sandbox::User=root",
        # Where apt-file is installed, apt would fetch the lists of all files, hundreds of MB.
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
    ]
    command = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    _run([*command, "update"], folder)
    _run([*command, "download", *PACKAGES], apt)
    for package in sorted(apt.glob("*.deb")):
        _run(["dpkg", "-x", str(package.absolute()), str(folder.absolute())], folder)
    shutil.rmtree(apt)


def _command(folder: Path) -> list[str]:
    binary, loader = folder / "perf_analyzer/bin/perf_analyzer", folder / LOADER
    if not loader.exists():
        return [str(binary.absolute())]
    libraries = ":".join(str((folder / each).absolute()) for each in LIBRARIES)
    return [str(loader.absolute()), "--library-path", libraries, str(binary.absolute())]


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be run: {error.strerror}. {HOW_ELSE}") from None
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())[-300:]
        raise ToolError(f"perf_analyzer cannot be brought ({Path(command[0]).name}: {words}). {HOW_ELSE}")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
