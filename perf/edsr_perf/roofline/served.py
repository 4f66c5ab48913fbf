"""The served model on this processor, in-process: the file and the options of the backend, no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .peaks import INT8, Work


def served(folder: Path, precision: str, shapes: list[tuple[int, int]], threads: int, flop_per_px: int) -> list[Work]:
    """One picture of noise per shape, called "256x256".

    Args:
        folder: with model.onnx, or model.int8.onnx.
        precision: "f32", "bf16" or "int8".
        shapes: (height, width), LR pixels.
        threads: of the inference.
        flop_per_px: operations per LR pixel.
    """
    from edsr_serving.openvino_model import compile_for_cpu

    infer = compile_for_cpu(file_of(folder, precision), precision, threads).create_infer_request()
    found = []
    for height, width in shapes:
        picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)

        def run(picture: Any = picture) -> object:
            return infer.infer({0: picture}, share_inputs=True, share_outputs=True)

        found.append(Work(precision, f"{height}x{width}", float(height * width * flop_per_px), run))
    return found


def file_of(folder: Path, precision: str) -> Path:
    """The ONNX file that a precision is compiled from."""
    return folder / ("model.int8.onnx" if precision == INT8 else "model.onnx")
