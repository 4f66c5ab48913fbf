"""What was measured on GPUs, in docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..baselines.page import milliseconds
from ..sections import read_results, table, write_section
from .steps import DONE

MARKER = "<!-- gpu table, by `make perf-gpu` -->"
NOT_MEASURED = "Not measured: no figure of a GPU stands here yet. `make perf-gpu` measures the one in its machine.\n"


def write(root: Path) -> Path:
    """Render all results that are kept into the page; returns its path."""
    return write_section(root, MARKER, section(read_results(root, "gpu-*.json")))


def section(results: list[dict[str, Any]]) -> str:
    """One table per card and model."""
    return "\n".join(one_card(result) for result in results) or NOT_MEASURED


def one_card(result: dict[str, Any]) -> str:
    """Latency and memory per shape, engine and reference, beside the limit; and what was skipped, and why."""
    steps = result["steps"]
    engine = _result(steps, "verify").get("measured", {}).get("latencies_s", {})
    other = _result(steps, "reference").get("shapes", {})
    rows = [[result["card"]["name"], "limit (datasheet)", "TensorRT engine", "of the limit"]]
    rows[0] += ["PyTorch + cuDNN (reference)", "of the limit", "its peak memory"]
    for shape in dict.fromkeys([*engine, *other]):
        rows.append(_line(result["limits_s"].get(shape), shape, engine.get(shape), other.get(shape)))
    machine = result["machine"]
    weights = ", random weights" if _result(steps, "reference").get("weights") == "random" else ""
    said = f"{result['model']}{weights}, fp16, {machine['date']}, revision {machine['revision']}."
    lines = [table(rows, "lrrrrrr"), said]
    peaks = _result(steps, "matrix product").get("flop_s", {})
    if peaks:
        said = ", ".join(f"{flop_s / 1e12:,.0f} TFLOP/s {precision}" for precision, flop_s in peaks.items())
        lines.append(f"Matrix product: {said}.")
    lines += _engine_lines(steps)
    lines += [
        f"Not measured: {name} ({outcome['status']}: {outcome['reason'].rstrip('.')})."
        for name, outcome in steps.items()
        if outcome["status"] != DONE
    ]
    if other:
        reference = _result(steps, "reference")
        lines.append(f"The reference is {reference['label']}; it ended because: {reference['ended']}.")
    return "\n".join(lines) + "\n"


def _engine_lines(steps: dict[str, Any]) -> list[str]:
    found = []
    if verified := _result(steps, "verify"):
        measured, planned = verified["measured"], verified["planned"]
        found.append(
            f"Engine: {measured['psnr_db']:.1f} dB from fp32; {measured['memory_bytes'] / 2**20:,.0f} MiB measured, "
            f"{planned['total_bytes'] / 2**20:,.0f} planned."
        )
    for count, rate in _result(steps, "concurrency").get("by_instances", {}).items():
        found.append(f"{count} instance(s): {rate['per_second']:g} pictures/s, median {rate['median_ms']:g} ms.")
    return found


def _line(limit_s: float | None, shape: str, engine_s: float | None, other: dict[str, Any] | None) -> list[str]:
    cells = [shape, milliseconds(limit_s) if limit_s else "not known"]
    cells += [milliseconds(engine_s), _share(limit_s, engine_s)] if engine_s else ["not measured", ""]
    if other is None:
        return [*cells, "not measured", "", ""]
    seconds = other["compute_ms"] / 1e3
    return [*cells, milliseconds(seconds), _share(limit_s, seconds), f"{other['peak_bytes'] / 2**20:,.0f} MiB"]


def _share(limit_s: float | None, seconds: float) -> str:
    return f"{limit_s / seconds:.0%}" if limit_s else ""


def _result(steps: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = steps[name].get("result", {})
    return found
