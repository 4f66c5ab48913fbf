"""Triton's own counters (the /metrics endpoint), before and after a load."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping

LINE = re.compile(r"^((?:nv_inference|nv_cpu|nv_gpu)_\w+)\{([^}]*)\} ([0-9.eE+-]+)$", re.MULTILINE)
GAUGES = ("nv_cpu", "nv_gpu", "nv_inference_pending")
TIMEOUT_S = 5.0


def read_metrics(url: str, model: str) -> dict[str, float]:
    """Triton's metrics of a model, and of the machine, by name; {} if there is no such endpoint.

    Args:
        url: host:port of the metrics.
        model: whose.
    """
    try:
        with urllib.request.urlopen(f"http://{url}/metrics", timeout=TIMEOUT_S) as response:
            return metrics_of(response.read().decode("utf-8", "replace"), model)
    except OSError:
        return {}


def metrics_of(text: str, model: str) -> dict[str, float]:
    """The same from the text of the endpoint (Prometheus' format); failures are added up over their reasons."""
    found: dict[str, float] = {}
    for name, labels, value in LINE.findall(text):
        if "model=" not in labels or f'model="{model}"' in labels:
            found[name] = found.get(name, 0.0) + float(value)
    return found


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How far counters grew; gauges as they are afterwards."""
    return {
        name: round(value if name.startswith(GAUGES) else value - before.get(name, 0.0), 3)
        for name, value in after.items()
    }
