"""What requests waited and took, on Triton's /metrics.

A backend that answers from a queue of its own returns from `execute` at once, so that Triton's `queue` and `compute`
durations say nothing of it. These counters do, in the same form: cumulative microseconds, labelled model and version.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

QUEUE_DURATION = "edsr_queue_duration_us"
COMPUTE_DURATION = "edsr_compute_duration_us"
REFUSED = "edsr_queue_full_count"
DESCRIPTIONS = {
    QUEUE_DURATION: "Cumulative time requests waited for the backend in microseconds",
    COMPUTE_DURATION: "Cumulative time of the inference itself in microseconds",
    REFUSED: "Number of requests refused because the queue was full",
}


class QueueMetrics:
    """Counters of one model.

    Args:
        pb_utils: Triton's `triton_python_backend_utils`.
        labels: "model" and "version".
    """

    def __init__(self, pb_utils: ModuleType, labels: Mapping[str, str]) -> None:
        self._families = {
            name: pb_utils.MetricFamily(name=name, description=text, kind=pb_utils.MetricFamily.COUNTER)
            for name, text in DESCRIPTIONS.items()
        }
        self._metrics = {name: family.Metric(labels=dict(labels)) for name, family in self._families.items()}

    def answered(self, waited_s: float, took_s: float) -> None:
        """Count a request that waited and was computed, in seconds."""
        self._metrics[QUEUE_DURATION].increment(waited_s * 1e6)
        self._metrics[COMPUTE_DURATION].increment(took_s * 1e6)

    def refused(self) -> None:
        """Count a request that found the queue full."""
        self._metrics[REFUSED].increment(1)

    def close(self) -> None:
        """Let go of the counters, then of their families: Triton asks for this order."""
        self._metrics.clear()
        self._families.clear()
