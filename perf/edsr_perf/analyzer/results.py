"""The file of results: JSON, its schema, and windows taken together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from edsr_serving.edge import read_json

from ..errors import ScenarioError
from .runner import Window
from .scenarios import Load

FORMAT = 1
BINS = 40
# Of the rate asked for.
REACHED = 0.9


def measurement(load: Load, windows: Sequence[Window], metrics: Mapping[str, float]) -> dict[str, Any]:
    """One load's entry: medians over the windows, and their spread.

    `spread` is (largest - smallest) / median of the windows' median latencies: the noise a comparison must exceed.
    """
    middle = {key: _median(w.latency.get(key) for w in windows) for key in windows[0].latency}
    medians = [window.latency["p50"] for window in windows]
    times = [time for window in windows for time in window.latencies]
    return {
        **asdict(load),
        "windows": len(windows),
        "answered": sum(window.requests for window in windows),
        "throughput_per_s": round(_median(w.throughput for w in windows), 3),
        "megapixels_per_s": round(_median(w.throughput for w in windows) * load.pixels / 1e6, 4),
        "latency_ms": {key: round(value, 3) for key, value in sorted(middle.items())},
        "window_p50_ms": [round(value, 3) for value in medians],
        "window_p99_over_p50": [round(window.latency["p99"] / window.latency["p50"], 3) for window in windows],
        "window_per_s": [round(window.throughput, 3) for window in windows],
        "refused": sum(window.refused for window in windows),
        "spread": round((max(medians) - min(medians)) / statistics.median(medians), 4),
        "split_ms": {key: round(value, 3) for key, value in split_of(windows).items()},
        "histogram_ms": histogram(times),
        "metrics": dict(metrics),
    }


def words(load: Load, window: Window) -> str:
    """A window in a line: its latencies, unless the server did not keep up with the rate that was asked for."""
    if not reached(load.request_rate, window.throughput):
        return f"not reached: {window.throughput:.1f}/s, {window.refused} refused"
    return f"p50 {window.latency['p50']:.1f} ms, p99 {window.latency['p99']:.1f} ms"


def reached(request_rate: float, throughput_per_s: float) -> bool:
    """Whether answers came at the rate asked for: latencies of another rate are not shown under it."""
    return throughput_per_s >= REACHED * request_rate


def entry_reached(entry: Mapping[str, Any]) -> bool:
    """The same of a measurement in a file of results: all of its windows."""
    worst = min(entry.get("window_per_s", [entry["throughput_per_s"]]))
    return reached(entry["request_rate"], worst)


def split_of(windows: Sequence[Window]) -> dict[str, float]:
    """Where a request's time goes, medians over the windows, in milliseconds: perf_analyzer's own breakdown, which
    takes Triton's statistics."""
    return {key: _median(w.split[key] for w in windows) for key in windows[0].split}


def histogram(times_ms: Sequence[float], bins: int = BINS) -> dict[str, list[float]] | None:
    """Counts between equal edges; None without times."""
    if not times_ms:
        return None
    low, high = min(times_ms), max(times_ms)
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for time in times_ms:
        counts[min(int((time - low) / width), bins - 1)] += 1
    return {"edges": [round(low + i * width, 3) for i in range(bins + 1)], "counts": [float(c) for c in counts]}


def read_results(path: Path) -> dict[str, Any]:
    """A file of results that follows the schema.

    Raises:
        ScenarioError: it cannot be read, or does not.
    """
    try:
        data = read_json(path)
    except OSError as error:
        raise ScenarioError(f"Cannot read the results {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ScenarioError(f"{path} is not JSON: {error}.") from None
    return checked(data, str(path))


def checked(data: Any, name: str) -> dict[str, Any]:
    """`data`, if it follows the schema.

    Raises:
        ScenarioError: it does not.
    """
    import jsonschema

    schema = json.loads((resources.files(__package__) / "results.schema.json").read_text("utf-8"))
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(data))
    if problem is not None:
        where = "/".join(map(str, problem.absolute_path)) or "the whole"
        raise ScenarioError(f"{name} is not a file of results: {where}: {problem.message[:200]}.")
    return dict(data)


def key_of(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two entries of different files the same measurement."""
    fields = ("height", "width", "protocol", "shared_memory", "concurrency", "request_rate")
    return tuple(entry[field] for field in fields)


def _median(values: Any) -> float:
    return float(statistics.median(value for value in values if value is not None))
