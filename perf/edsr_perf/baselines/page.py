"""The table of the baselines in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from ..publishing import kind_of
from ..sections import read_results, table, write_section
from .catalogue import ARRAY, JPEG, PNG

MARKER = "<!-- baselines table, by `make perf-baselines` -->"
NOT_MEASURED = "Not measured yet: `make perf-baselines` measures.\n"
LEVELS = {ARRAY: "from pixels to pixels", PNG: "from PNG file to PNG file", JPEG: "from JPEG file to JPEG file"}


def write(root: Path) -> Path:
    """Render all results that are kept into the page; returns its path."""
    return write_section(root, MARKER, section(read_results(root, "baselines-*.json")))


def section(results: list[dict[str, Any]]) -> str:
    """All tables, one per model."""
    if not results:
        return NOT_MEASURED
    tables = [f"**{kind_of(result['machine'])}**\n\n{one_model(result)}" for result in results]
    return "\n".join([beside_opencv(results), *tables])


def beside_opencv(results: list[dict[str, Any]]) -> str:
    """How many times as fast as OpenCV a request over HTTP is: a column for each kind of processor, each of one run."""
    kinds = list(dict.fromkeys(kind_of(result["machine"]) for result in results))
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for result in results:
        for precision, shape, ratio in _ratios(result):
            found.setdefault((result["model"], shape, precision), {})[kind_of(result["machine"])] = ratio
    rows = [["OpenCV's time over ours", "picture", "served in", *kinds]]
    rows += [
        [*key, *(f"{ratios[k]:.1f}x" if k in ratios else "not measured" for k in kinds)]
        for key, ratios in found.items()
    ]
    return table(rows, "lll" + "r" * len(kinds))


def _ratios(result: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """(precision, shape, median of the rounds' ratios of OpenCV's time to ours), from pixels to pixels."""
    rows = {(row["key"], tuple(row["shape"])): row for row in result["rows"] if row["level"] == ARRAY}
    for (key, shape), row in rows.items():
        opencv = rows.get(("opencv", shape))
        if opencv and (key == "ours" or key.startswith("ours-")):
            ratios = [theirs / ours for theirs, ours in zip(opencv["rounds_s"], row["rounds_s"], strict=True)]
            yield row["precision"], f"{shape[0]}x{shape[1]}", median(ratios)


def one_model(result: dict[str, Any]) -> str:
    """The table of a model, and where it was measured."""
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in result["rows"]))
    head = [result["model"], "precision"]
    for height, width in shapes:
        head += [f"{height}x{width}", "of ours"]
    rows = [[*head, "from float32 (PSNR)"]]
    for level, name in LEVELS.items():
        those = [row for row in result["rows"] if row["level"] == level]
        if those:
            rows.append([f"*{name}*"] + [""] * (len(rows[0]) - 1))
        rows += [_line(key, those, shapes) for key in dict.fromkeys(row["key"] for row in those)]
    return f"{table(rows, 'll' + 'rr' * len(shapes) + 'r')}\n{_where(result)}\n"


def milliseconds(seconds: float) -> str:
    """Three digits: "0.42 ms", "17.3 ms", "1,240 ms"."""
    ms = seconds * 1e3
    digits = 2 if ms < 1 else 1 if ms < 100 else 0
    return f"{ms:,.{digits}f} ms"


def times(ratio: float) -> str:
    """Two decimals, or two digits where that would be too few: "2.15x", "0.0012x"."""
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


def _line(key: str, rows: list[dict[str, Any]], shapes: list[tuple[int, ...]]) -> list[str]:
    mine = {tuple(row["shape"]): row for row in rows if row["key"] == key}
    first = next(iter(mine.values()))
    cells = [first["title"], first["precision"] or "-"]
    for shape in shapes:
        row = mine.get(shape)
        cells += [milliseconds(row["median_s"]), times(row["of_ours"])] if row else ["", ""]
    known = [row["psnr_db"] for row in mine.values()]
    worst = min((value for value in known if value is not None), default=None)
    return [*cells, "equal" if worst is None else f"{worst:.1f} dB"]


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    parts = []
    for name, versions in result["environments"].items():
        those = ", ".join(f"{package} {version}" for package, version in versions.items())
        parts.append(f"{name}: {those}")
    return (
        f"{machine['processor']}, {result['threads']} cores, {machine['date']}, revision {machine['revision']}; "
        f'medians of {result["rounds"]} alternating rounds; "of ours" is the median of the rounds\' ratios. '
        f"nvidia-pytriton {machine['packages'].get('nvidia-pytriton', '')}, "
        f"OpenVINO {machine['packages'].get('openvino', '')}; {'; '.join(parts)}."
    )
