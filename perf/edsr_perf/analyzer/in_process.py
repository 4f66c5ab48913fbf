"""The same inference without a server, in turns with the loads: what the machine itself makes of it."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
from edsr_serving.cpu import usable_cpus
from edsr_serving.openvino_model import compile_for_cpu

from ..errors import MissingModelError
from ..roofline.served import file_of
from .runner import PERCENTILES, Window, percentile
from .scenarios import Load

WARMUP_REQUESTS = 3


class InProcess:
    """A model of the repository, compiled in this process as the CPU backend compiles it.

    Args:
        version: the folder model_repository/MODEL/1.
        precision: that is served.

    Raises:
        MissingModelError: it is not built.
    """

    def __init__(self, version: Path, precision: str) -> None:
        path = file_of(version, precision)
        if not path.is_file():
            raise MissingModelError(f"{path} is not built. Run `make onnx`.")
        self._infer = compile_for_cpu(path, precision, usable_cpus()).create_infer_request()

    def window(self, load: Load) -> Window:
        """One picture after the other; all of a request's time is computing."""
        picture = np.random.default_rng(0).integers(0, 256, (1, load.height, load.width, 3), dtype=np.uint8)
        times = []
        for _ in range(WARMUP_REQUESTS + load.requests):
            started = time.perf_counter()
            self._infer.infer({0: picture}, share_inputs=True, share_outputs=True)
            times.append((time.perf_counter() - started) * 1000)
        kept = times[WARMUP_REQUESTS:]
        mean = statistics.fmean(kept)
        latency = {f"p{p}": percentile(kept, p) for p in PERCENTILES}
        latency.update(mean=mean, min=min(kept), max=max(kept))
        split = {"client": 0.0, "network": 0.0, "queue": 0.0, "compute": mean}
        return Window(load.requests, 1000 / mean, latency, split, tuple(kept))
