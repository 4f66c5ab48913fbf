"""How an ONNX file becomes the network that is served on a CPU; the same for the backend and for what measures it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .openvino_graph import answer_in_integers

# OpenVINO keeps compiled kernels for every shape it has seen, 5,000 by default: a gigabyte after 1,000 picture sizes.
# A shape takes about one kernel per convolution; this holds a handful of shapes.
CACHED_KERNELS = 400


def compile_for_cpu(path: Path, precision: str = "", threads: int | None = None) -> Any:
    """An openvino.CompiledModel with one stream, image [N, H, W, 3] to [N, sH, sW, 3], both uint8.

    Args:
        path: ONNX file.
        precision: "f32", "bf16", or "int8" for a file that is quantised, whose other parts then take the fastest native
            precision; "" for that everywhere.
        threads: None for all cores.

    Raises:
        RuntimeError: OpenVINO cannot read or compile it.
    """
    import openvino as ov

    hints: dict[str, Any] = {
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "CPU_RUNTIME_CACHE_CAPACITY": CACHED_KERNELS,
    }
    if threads is not None:
        hints["INFERENCE_NUM_THREADS"] = threads
    if precision not in ("", "int8"):
        hints["INFERENCE_PRECISION_HINT"] = precision
    core = ov.Core()
    model = core.read_model(path)
    if precision != "f32":  # which is the reference, and left as it is
        answer_in_integers(model)
    return core.compile_model(model, "CPU", hints)
