"""Parts of a page that a command writes: what stands between a marker of its own and `<!-- end -->`."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from edsr_serving.edge import DAMAGED, read_json

from .errors import MissingModelError, PerfError

END = "<!-- end -->"
PERFORMANCE = Path("docs/performance.md")


def with_section(page: str, marker: str, content: str) -> str:
    """The page with `content` after the line `marker`; what stands around it is kept.

    Args:
        page: Markdown.
        marker: a whole line, "<!-- baselines table, by `make perf-baselines` -->".
        content: Markdown that ends with a newline.

    Raises:
        ValueError: the page has no such place.
    """
    place = re.compile(rf"({re.escape(marker)}\n).*?({re.escape(END)})", re.DOTALL)
    if not place.search(page):
        raise ValueError(f"the page has no place for it: {marker}")
    return place.sub(lambda match: f"{match[1]}{content}{match[2]}", page)


def write_section(root: Path, marker: str, content: str) -> Path:
    """Put `content` into docs/performance.md; returns its path.

    Raises:
        PerfError: there is no such page, or it has no place for it, or cannot be written.
    """
    page = root / PERFORMANCE
    try:
        write_whole(page, with_section(page.read_text("utf-8"), marker, content).encode())
    except OSError as error:
        raise PerfError(f"Cannot write {page}: {error.strerror}. Run from the repository's root, or name it.") from None
    except ValueError as error:
        raise PerfError(f"{page}: {error}. Restore it.") from None
    return page


def write_json(path: Path, result: object) -> None:
    """A result as JSON, whole or not at all; its folder is made.

    Raises:
        PerfError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(result, indent=1) + "\n").encode())
    except OSError as error:
        raise PerfError(f"Cannot write {path}: {error.strerror}. Choose another folder (--results).") from None


def read_results(root: Path, pattern: str) -> list[dict[str, Any]]:
    """The results that are kept in perf/results under names of that pattern, in the order of the names.

    Raises:
        PerfError: one of them cannot be read.
    """
    found = []
    for path in sorted((root / "perf" / "results").glob(pattern)):
        try:
            found.append(dict(read_json(path)))
        except (OSError, ValueError, TypeError):
            raise PerfError(f"{path} cannot be read. Restore it, or measure again.") from None
    return found


def sidecar_network(folder: Path, *facts: str) -> dict[str, int]:
    """Facts of the network that the sidecar in a model's version folder states: "scale", "halo_px", ...

    Raises:
        MissingModelError: there is none, or it is damaged.
    """
    try:
        network = read_json(folder / "model.json")["network"]
        return {fact: int(network[fact]) for fact in facts}
    except DAMAGED:
        raise MissingModelError(
            f"There is no {folder / 'model.json'}, or it is damaged. `make onnx MODEL={folder.parent.name}` builds it."
        ) from None


def table(rows: list[list[str]], align: str) -> str:
    """Markdown of rows, the first being the head; `align` has one letter per column, "l" or "r"."""
    rule = "|" + "|".join({"l": "---", "r": "---:"}[letter] for letter in align) + "|"
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def write_whole(path: Path, content: bytes) -> None:
    """`path` holds all of `content`, or what it held before."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
