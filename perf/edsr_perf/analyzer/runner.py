"""Runs perf_analyzer for one load and reads what it wrote."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsr_client import server_keys
from edsr_client.addresses import address

from ..errors import ToolError
from .scenarios import Load

# Version 2.60 now and then waits for ever: it is ended and started once more. Even an old CPU needs 30 s per megapixel.
ATTEMPTS, PATIENCE_S, PATIENCE_S_PER_MEGAPIXEL = 2, 120, 30
PERCENTILES = (50, 90, 95, 99)
# perf_analyzer's columns, in microseconds, and where a request spends that time.
SPLIT = {
    "client": ("Client Send", "Client Recv"),
    "network": ("Network+Server Send/Recv",),
    "queue": ("Server Queue",),
    "compute": ("Server Compute Input", "Server Compute Infer", "Server Compute Output"),
}


@dataclass(frozen=True)
class Window:
    """What one run of perf_analyzer found; times in milliseconds.

    Attributes:
        requests: answered.
        throughput: requests a second.
        latency: "mean", "p50", "p90", "p95", "p99"; with every request's time also "min" and "max".
        split: means of "client", "network", "queue", "compute".
        latencies: of every request in the order they were sent; empty without shared memory, where perf_analyzer would
            write the pictures themselves beside them.
        refused: requests that the server had no room for; only of an open loop, perf_analyzer ends with the first.
    """

    requests: int
    throughput: float
    latency: Mapping[str, float]
    split: Mapping[str, float]
    latencies: tuple[float, ...]
    refused: int = 0


def arguments(
    load: Load, model: str, url: str, scale: int, folder: Path, headers: Mapping[str, str] | None = None
) -> list[str]:
    """perf_analyzer's arguments for a load with a concurrency; it writes to out.csv and export.json in `folder`.

    Without a warm-up of its own: now and then version 2.60 never comes to an end with it. The session has the server
    prepare every shape instead.

    `headers` show the key to statistics and shared memory, see `edsr_client.server_keys`.
    """
    answer_bytes = load.pixels * scale * scale * 3
    memory = ["--shared-memory", "system", "--output-shared-memory-size", str(answer_bytes)]
    return [
        *("-m", model, "-u", url, "-i", load.protocol, "-b", "1"),
        *("--shape", f"image:{load.height},{load.width},3"),
        *("--concurrency-range", str(load.concurrency)),
        *(word for name, value in (headers or {}).items() for word in ("-H", f"{name}:{value}")),
        *("--request-count", str(load.requests)),
        *("-f", str(folder / "out.csv"), "--verbose-csv"),
        # Without shared memory the export holds every byte of every picture.
        *([*memory, "--profile-export-file", str(folder / "export.json")] if load.shared_memory else []),
    ]


def run_window(tool: Sequence[str], load: Load, model: str, url: str, scale: int) -> Window:
    """Send a load once.

    Raises:
        ToolError: perf_analyzer failed; with its own words.
    """
    patience_s = PATIENCE_S + PATIENCE_S_PER_MEGAPIXEL * load.requests * load.pixels / 1e6
    for _ in range(ATTEMPTS):
        window = _run_once(tool, load, model, url, scale, patience_s)
        if window is not None:
            return window
    raise ToolError(f"perf_analyzer did not end within {patience_s:.0f} s, {ATTEMPTS} times, for {load.label}.")


def _run_once(tool: Sequence[str], load: Load, model: str, url: str, scale: int, patience_s: float) -> Window | None:
    """A window; None if it did not come to an end."""
    with tempfile.TemporaryDirectory(prefix="edsr-perf-") as name:
        folder = Path(name)
        key = server_keys.find(address(url, load.protocol))
        where, headers = (key.address.host_port, key.headers) if key else (url, {})
        command = [*tool, *arguments(load, model, where, scale, folder, headers)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
        except subprocess.TimeoutExpired:
            return None
        table, export = folder / "out.csv", folder / "export.json"
        if done.returncode or not table.exists():
            words = " ".join((done.stderr or done.stdout).split())[-300:]
            raise ToolError(f"perf_analyzer failed for {load.label}: {words}")
        exported = json.loads(export.read_text("utf-8")) if export.exists() else None
        return window_of(table.read_text("utf-8"), exported, load)


def window_of(table: str, exported: Mapping[str, Any] | None, load: Load) -> Window:
    """A window from perf_analyzer's CSV and, if there is one, its export.

    perf_analyzer's own throughput counts whole seconds, so that a short run looks slower than it was: it is computed
    from the times of the requests, or by Little's law from their mean. A burst of n requests, c in flight, then looks
    faster than it was, by a share of up to (c - 1) / 2n.

    Raises:
        ToolError: they are not of the form of version 2.60.
    """
    try:
        (row,) = csv.DictReader(table.splitlines())
        split = {part: sum(float(row[column]) for column in columns) / 1000 for part, columns in SPLIT.items()}
        latency = {f"p{p}": float(row[f"p{p} latency"]) / 1000 for p in PERCENTILES}
        latency["mean"] = float(row["Avg latency"]) / 1000
        throughput = load.concurrency / latency["mean"] * 1000
        if exported is None:
            return Window(load.requests, throughput, latency, split, ())
        requests = exported["experiments"][0]["requests"]
        spans = sorted((int(r["timestamp"]), int(r["response_timestamps"][-1])) for r in requests)
    except (ValueError, LookupError, TypeError) as error:
        raise ToolError(f"perf_analyzer wrote something else than version 2.60 does ({error!r}).") from None
    times = tuple((end - start) / 1e6 for start, end in spans)
    seconds = (max(end for _, end in spans) - spans[0][0]) / 1e9
    latency = {f"p{p}": percentile(times, p) for p in PERCENTILES}
    latency |= {"mean": statistics.fmean(times), "min": min(times), "max": max(times)}
    return Window(len(times), len(times) / seconds, latency, split, times)


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest value that at least `p` per cent of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * p // 100).__int__() - 1)] if ordered else float("nan")
