"""A whole scenario against a server: its own, or one that is running."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edsr_client import ModelInfo, Upscaler

from ..machine import machine
from ..tiled import measure_tiled
from . import metrics, results
from .runner import run_window
from .scenarios import Scenario
from .tool import VERSION


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens: host:port of each service; `metrics` "" if it is not known."""

    http: str
    grpc: str
    metrics: str = ""

    def of(self, protocol: str) -> str:
        return self.http if protocol == "http" else self.grpc


@contextlib.contextmanager
def own_server(root: Path, model: str, precision: str) -> Iterator[Endpoint]:
    """A server of this repository on free ports, for as long as the context lasts.

    Raises:
        ServingError: it cannot be started.
    """
    from edsr_serving import ServerOptions, free_ports, start

    with tempfile.TemporaryDirectory(prefix="edsr-perf-server-") as folder:
        options = ServerOptions(
            repository=root / "model_repository", run_dir=Path(folder), models=(model,), precision=precision
        ).with_ports(*free_ports(3))
        with start(options) as server:
            there = server.options
            yield Endpoint(there.http_url, there.grpc_url, f"{there.host}:{there.metrics_port}")


def run_scenario(
    scenario: Scenario, tool: Sequence[str], endpoint: Endpoint, model: str | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Measure everything, and return the content of a file of results.

    The windows of all loads alternate: first one of each, then the next of each. What the machine does meanwhile then
    falls on all alike.

    Raises:
        EdsrError: the server cannot be used.
        ToolError: perf_analyzer failed.
    """
    started = time.monotonic()
    with Upscaler(endpoint.http, model=model) as upscaler:
        info = upscaler.model_info()
        windows: dict[int, list[Any]] = {index: [] for index in range(len(scenario.loads))}
        counters: dict[int, dict[str, float]] = {}
        for height, width in sorted({(load.height, load.width) for load in scenario.loads}):
            upscaler.upscale(np.zeros((height, width, 3), np.uint8))  # the server prepares each shape once
        for number in range(scenario.windows):
            for index, load in enumerate(scenario.loads):
                before = metrics.read_metrics(endpoint.metrics, info.name) if endpoint.metrics else {}
                window = run_window(tool, load, info.name, endpoint.of(load.protocol), info.scale)
                after = metrics.read_metrics(endpoint.metrics, info.name) if endpoint.metrics else {}
                counters[index] = metrics.difference(before, after)
                windows[index].append(window)
                tell(
                    f"[{number + 1}/{scenario.windows}] {load.name}: {load.label}: "
                    f"p50 {window.latency['p50']:.1f} ms, p99 {window.latency['p99']:.1f} ms"
                )
        tiled = [_tiled(upscaler, each.name, each.side, each.rounds, tell) for each in scenario.tiled]
    return _content(scenario, info, endpoint, windows, counters, tiled, time.monotonic() - started)


def _tiled(upscaler: Upscaler, name: str, side: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    run = measure_tiled(upscaler, picture, 512, rounds, lambda line: tell(f"{name}, {side}x{side}: {line}"))
    return {"name": name, **asdict(run)}


def _content(
    scenario: Scenario,
    info: ModelInfo,
    endpoint: Endpoint,
    windows: dict[int, list[Any]],
    counters: dict[int, dict[str, float]],
    tiled: list[dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    measured = [results.measurement(load, windows[index], counters[index]) for index, load in enumerate(scenario.loads)]
    content = {
        "format": results.FORMAT,
        "scenario": scenario.name,
        "description": scenario.description,
        "model": info.name,
        "precision": info.inference_precision,
        "runtime": info.runtime,
        "url": endpoint.http.rpartition(":")[0],
        "perf_analyzer": VERSION,
        "seconds": round(seconds, 1),
        "machine": machine(),
        "measurements": measured,
        "tiled": tiled,
    }
    return results.checked(_plain(content), "the result")


def _plain(value: Any) -> Any:
    """Tuples as lists: what JSON makes of them."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
