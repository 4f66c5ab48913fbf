"""A folder through the client, and its results judged."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .apart import Apart
from .compare import Difference, Tolerance, differences
from .opinion import opinion_of
from .results import result_of

# What becomes of a file.
SAME, DIFFERENT, REFUSED, DAMAGED, ALONE, LEFT_OUT, LOST = (
    *("same", "different", "refused", "damaged", "no second decoder", "left out", "without a word"),
)
Tell = Callable[[str], None]


@dataclass
class Verdict:
    """On one file.

    Attributes:
        file: its name below the folder.
        status: "same", "different"; "refused" by the client though a second decoder reads it, "damaged" if none does;
            "no second decoder"; "left out" for its size; "without a word" if no line of the manifest names it.
        by: the second decoder.
        words: the client's error, or its notes.
        differences: see there.
    """

    file: str
    status: str
    by: str = ""
    words: str = ""
    differences: list[Difference] = field(default_factory=list)


def files_of(folder: Path, most_bytes: int) -> tuple[list[str], list[str]]:
    """Names below the folder, in order: files to take, and those that are too large."""
    taken: list[str] = []
    left: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        (taken if path.stat().st_size <= most_bytes else left).append(str(path.relative_to(folder)))
    return taken, left


async def upscale_all(upscaler: Any, folder: Path, names: list[str], out: Path, max_pixels: int, tell: Tell) -> None:
    """Every file into `out`, recorded in its manifest."""
    from edsr_client import Finishing
    from edsr_client.batch import BatchOptions, Outcome, run_batch

    done = 0

    def count(_: Outcome) -> None:
        nonlocal done
        done += 1
        if done % 200 == 0:
            tell(f"{done:,} of {len(names):,}")

    options = BatchOptions(Finishing(format="png"), max_pixels=max_pixels)
    before = Path.cwd()
    os.chdir(folder)  # listed names keep their place below here
    try:
        await run_batch(upscaler, (), out, options, listed=names, tell=count, note=tell)
    finally:
        os.chdir(before)


def judge(folder: Path, names: list[str], out: Path, scale: int, tolerance: Tolerance) -> Iterator[Verdict]:
    """A verdict on every file that was taken."""
    from edsr_client.batch import MANIFEST

    lines: dict[str, dict[str, Any]] = {}
    for text in (out / MANIFEST).read_text("ascii").splitlines():
        line = json.loads(text)
        if "input" in line:
            lines[line["input"]] = line
    with Apart() as apart:
        for name in names:
            line = lines.get(name)
            yield apart.call(_verdict, folder, name, line, out, scale, tolerance) or Verdict(
                name, ALONE, words="the second decoder died of it, or took too long"
            )


def _verdict(
    folder: Path, name: str, line: dict[str, Any] | None, out: Path, scale: int, tolerance: Tolerance
) -> Verdict:
    if line is None:
        return Verdict(name, LOST)
    source = opinion_of(folder / name)
    if line["status"] != "done":
        words = str(line["error"])
        if line.get("type") == "ImageTooLargeError":
            return Verdict(name, LEFT_OUT, words=words)
        return Verdict(name, REFUSED if source else DAMAGED, source.by if source else "", words)
    words = "; ".join(line["notes"])
    if source is None:
        return Verdict(name, ALONE, words=words)
    try:
        result = result_of(out / line["output"])
    except Exception as error:  # of whatever library
        return Verdict(name, DIFFERENT, source.by, words, [Difference("result", "readable", str(error)[:200])])
    found = differences(source, result, scale, tolerance)
    return Verdict(name, DIFFERENT if found else SAME, source.by, words, found)


def as_json(verdicts: list[Verdict]) -> dict[str, Any]:
    """The report."""
    return {
        "summary": dict(Counter(verdict.status for verdict in verdicts)),
        "differences": dict(Counter(one.what for verdict in verdicts for one in verdict.differences)),
        "files": [asdict(verdict) for verdict in verdicts if verdict.status != SAME],
    }


def as_markdown(verdicts: list[Verdict]) -> str:
    """The same for people: the summary, then what differs, then what was refused."""
    counts = Counter(verdict.status for verdict in verdicts)
    lines = ["| files | |", "|---|---|", *(f"| {status} | {count:,} |" for status, count in counts.most_common())]
    lines += ["", "| file | second decoder | what | it sees | came | notes |", "|---|---|---|---|---|---|"]
    for verdict in verdicts:
        for one in verdict.differences:
            cells = (verdict.file, verdict.by, one.what, one.expected, one.found, verdict.words)
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    for status in (REFUSED, LOST):
        lines += ["", f"{status}:", ""]
        lines += [f"- {verdict.by}: {verdict.words}" for verdict in verdicts if verdict.status == status]
    return "\n".join(lines) + "\n"
