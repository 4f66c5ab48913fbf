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
from .in_process import InProcess
from .open_loop import open_window
from .runner import Window, run_window
from .scenarios import IN_PROCESS, Load, Scenario
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
    scenario: Scenario,
    tool: Sequence[str],
    endpoint: Endpoint,
    model: str | None,
    tell: Callable[[str], None],
    version: Path | None = None,
) -> dict[str, Any]:
    """Measure everything, and return the content of a file of results.

    The windows of all loads alternate: first one of each, then the next of each. What the machine does meanwhile then
    falls on all alike.

    Args:
        version: the folder model_repository/MODEL/1 of what is served, if this machine serves it: what is measured
            in-process is left out without.

    Raises:
        EdsrError: the server cannot be used.
        ToolError: perf_analyzer failed.
    """
    started = time.monotonic()
    with Upscaler(endpoint.http, model=model) as upscaler:
        info = upscaler.model_info()
        loads = [load for load in scenario.loads if version or load.protocol != IN_PROCESS]
        bare = version and any(load.protocol == IN_PROCESS for load in loads)
        local = InProcess(version, info.inference_precision) if version and bare else None
        windows: dict[int, list[Window]] = {index: [] for index in range(len(loads))}
        counters: dict[int, dict[str, float]] = {}
        for height, width in sorted({(load.height, load.width) for load in loads}):
            upscaler.upscale(np.zeros((height, width, 3), np.uint8))  # the server prepares each shape once
        for number in range(scenario.windows):
            for index, load in enumerate(loads):
                if load.protocol == IN_PROCESS and local:
                    window, counters[index] = local.window(load), {}
                else:
                    window, counters[index] = _served(tool, load, endpoint, info)
                windows[index].append(window)
                tell(f"[{number + 1}/{scenario.windows}] {load.name}: {load.label}: {results.words(load, window)}")
        tiled = [_tiled(upscaler, each.name, each.side, each.rounds, tell) for each in scenario.tiled]
    measured = [results.measurement(load, windows[index], counters[index]) for index, load in enumerate(loads)]
    return _content(scenario, info, endpoint, measured, tiled, time.monotonic() - started)


def _served(tool: Sequence[str], load: Load, endpoint: Endpoint, info: ModelInfo) -> tuple[Window, dict[str, float]]:
    """A window, and how far the server's counters grew in it."""
    before = metrics.read_metrics(endpoint.metrics, info.name) if endpoint.metrics else {}
    url = endpoint.of(load.protocol)
    if load.request_rate:
        window = open_window(load, info.name, url, info.scale)
    else:
        window = run_window(tool, load, info.name, url, info.scale)
    after = metrics.read_metrics(endpoint.metrics, info.name) if endpoint.metrics else {}
    return window, metrics.difference(before, after)


def _tiled(upscaler: Upscaler, name: str, side: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    run = measure_tiled(upscaler, picture, 512, rounds, lambda line: tell(f"{name}, {side}x{side}: {line}"))
    return {"name": name, **asdict(run)}


def _content(
    scenario: Scenario,
    info: ModelInfo,
    endpoint: Endpoint,
    measured: list[dict[str, Any]],
    tiled: list[dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
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
