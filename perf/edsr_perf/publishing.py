"""Where results go: into an ignored folder, or, published, beside those of other machines under a name of their own."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edsr_serving.edge import DAMAGED, read_json

from .errors import PerfError

RESULTS, LOCAL = Path("perf/results"), Path("perf/local")
# What decides how fast a processor is at this, the best first, and how people call it.
KINDS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "avx512f": "AVX-512", "avx2": "AVX2"}
NOT_A_NAME = re.compile(r"\((R|TM|C)\)|\bCPU\b|\bProcessor\b|@.*", re.IGNORECASE)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --publish to a command that measures."""
    parser.add_argument(
        "--publish",
        action="store_true",
        help=f"keep the figures in {RESULTS} and render the documents (PUBLISH=1); without, they go to {LOCAL}",
    )


def kind_of(machine: Mapping[str, Any]) -> str:
    """A machine's processor in words: "Intel Xeon (AMX), 2 cores"."""
    name, _, flags = str(machine["processor"]).partition("(avx")
    known = re.findall(r"\w+", "avx" + flags)
    words = " ".join(NOT_A_NAME.sub(" ", name).split()) or "unknown processor"
    kind = next((text for flag, text in KINDS.items() if flag in known), "no AVX2")
    return f"{words} ({kind})" + (f", {machine['cores']} cores" if "cores" in machine else "")


def slug(machine: Mapping[str, Any]) -> str:
    """The same as part of a file's name: "intel-xeon-amx-2-cores"."""
    return re.sub(r"[^a-z0-9]+", "-", kind_of(machine).lower()).strip("-")


def target(root: Path, name: str, result: Mapping[str, Any], publish: bool, folder: Path | None = None) -> Path:
    """The file for a result.

    Args:
        root: the repository.
        name: of the measurement, "baselines-edsr_x3".
        result: with its `machine`, see machine.py.
        publish: for the documents, under the machine's name.
        folder: that a user named instead.

    Raises:
        PerfError: a published result of another machine has this name.
    """
    if folder is not None:
        return folder / f"{name}.json"
    if not publish:
        return root / LOCAL / f"{name}.json"
    path = root / RESULTS / f"{name}-{slug(result['machine'])}.json"
    if path.exists() and _identity(path) != _of(result["machine"]):
        raise PerfError(f"{path} holds the figures of another machine. Move it away if they are not wanted any more.")
    return path


def where(path: Path, publish: bool) -> str:
    """What to tell the user about a file that was written."""
    return f"wrote {path}" + ("" if publish else "; the documents are as they were (PUBLISH=1 renders them)")


def _identity(path: Path) -> tuple[str, int] | None:
    try:
        return _of(read_json(path)["machine"])
    except DAMAGED:
        return None


def _of(machine: Mapping[str, Any]) -> tuple[str, int]:
    return str(machine["processor"]), int(machine["cores"])
