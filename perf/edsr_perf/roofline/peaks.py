"""What this processor reaches at most: chains of matrix products and of convolutions through OpenVINO, and copying."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MATRIX, MATRICES = 2048, 6
# Convolutions of 3x3: as wide as the two networks that are served.
FILTERS, CONVOLUTIONS, SIDE = (64, 256), 8, 128
COPIED_BYTES, COPIES = 2**28, 7
BFLOAT16, INT8 = "bf16", "int8"


@dataclass(frozen=True)
class Peak:
    """FLOP/s reached by one benchmark in one precision."""

    precision: str
    what: str
    flop_s: float


@dataclass(frozen=True)
class Work:
    """Something to run: `run` does `flop` operations in `precision`."""

    precision: str
    what: str
    flop: float
    run: Callable[[], object]


def native_precisions() -> list[str]:
    """The precisions this processor computes in by itself, "f32" first."""
    import openvino as ov

    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["f32", *(name for name, word in ((BFLOAT16, "BF16"), (INT8, "INT8")) if word in capabilities)]


def benchmarks(precision: str, threads: int) -> list[Work]:
    """The chains of matrix products and of convolutions, compiled in a precision, "f32", "bf16" or "int8"."""
    quantised, random = precision == INT8, np.random.default_rng(0)
    matrix = random.random((MATRIX, MATRIX), np.float32)
    run = _compiled(matrix_chain(quantised), precision, threads, matrix)
    found = [Work(precision, f"matrix product {MATRIX}", matrix_flop(), run)]
    for filters in FILTERS:
        maps = random.random((1, filters, SIDE, SIDE), np.float32)
        run = _compiled(convolution_chain(filters, quantised), precision, threads, maps)
        found.append(Work(precision, f"3x3 convolutions, {filters} filters", convolution_flop(filters), run))
    return found


def take_turns(works: Sequence[Work], rounds: int) -> list[list[float]]:
    """Seconds of every run of each, in turns, so that a slow minute of the machine slows all of them; one warms up."""
    seconds: list[list[float]] = [[] for _ in works]
    for turn in range(rounds + 1):
        for place, work in enumerate(works):
            took = timed(work.run)
            if turn:
                seconds[place].append(took)
    return seconds


def best(peaks: list[Peak]) -> dict[str, dict[str, Any]]:
    """The highest peak of each precision, as JSON."""
    names = dict.fromkeys(peak.precision for peak in peaks)
    return {
        name: asdict(max((p for p in peaks if p.precision == name), key=lambda peak: peak.flop_s)) for name in names
    }


def matrix_flop() -> float:
    """Operations of the chain of matrix products."""
    return 2.0 * MATRICES * MATRIX**3


def convolution_flop(filters: int) -> float:
    """Operations of the chain of convolutions, counted directly."""
    return 2.0 * CONVOLUTIONS * 9 * filters**2 * SIDE**2


def matrix_chain(quantised: bool) -> Any:
    """OpenVINO model: float32 [MATRIX, MATRIX] through MATRICES products; int8 inside if `quantised`."""
    import openvino as ov
    from openvino import opset13 as ops

    random = np.random.default_rng(1)
    given = ops.parameter([MATRIX, MATRIX], np.float32)
    x: Any = given
    for _ in range(MATRICES):
        weights = random.normal(0, MATRIX**-0.5, (MATRIX, MATRIX)).astype(np.float32)
        x = ops.matmul(_levels(x) if quantised else x, _weights(weights, quantised), False, True)
    return ov.Model([x], [given], "matrices")


def convolution_chain(filters: int, quantised: bool) -> Any:
    """OpenVINO model: float32 [1, filters, SIDE, SIDE] through CONVOLUTIONS layers with ReLU."""
    import openvino as ov
    from openvino import opset13 as ops

    random = np.random.default_rng(2)
    given = ops.parameter([1, filters, SIDE, SIDE], np.float32)
    x: Any = given
    for _ in range(CONVOLUTIONS):
        weights = random.normal(0, (2 / 9 / filters) ** 0.5, (filters, filters, 3, 3)).astype(np.float32)
        x = _levels(x) if quantised else x
        x = ops.relu(ops.convolution(x, _weights(weights, quantised), [1, 1], [1, 1], [1, 1], [1, 1]))
    return ov.Model([x], [given], "convolutions")


def bandwidth_bytes_s(threads: int) -> float:
    """Bytes per second of a copy of memory by all cores, those read and those written counted."""
    source = np.ones(COPIED_BYTES, np.uint8)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), parts))

        copy()
        return 2 * COPIED_BYTES / min(timed(copy) for _ in range(COPIES))


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _compiled(model: Any, precision: str, threads: int, given: NDArray[np.float32]) -> Callable[[], object]:
    """A function that runs the model once."""
    import openvino as ov

    hints: dict[str, Any] = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    hints["INFERENCE_PRECISION_HINT"] = "f32" if precision == INT8 else precision
    infer = ov.Core().compile_model(model, "CPU", hints).create_infer_request()
    return lambda: infer.infer({0: given}, share_inputs=True, share_outputs=True)


def _levels(x: Any) -> Any:
    """Activations in 256 levels from 0 to 4: what makes OpenVINO compute the layer after it in int8."""
    from openvino import opset13 as ops

    low, high = (np.array(value, np.float32) for value in (0, 4))
    return ops.fake_quantize(x, low, high, low, high, 256)


def _weights(weights: NDArray[np.float32], quantised: bool) -> Any:
    from openvino import opset13 as ops

    constant = ops.constant(weights)
    if not quantised:
        return constant
    high = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    return ops.fake_quantize(constant, -high, high, -high, high, 255)
