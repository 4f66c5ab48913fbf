"""Runs a served ONNX graph on the CPU in exactly the number formats it declares, and shows every value on the way.

CPU runtimes widen float16 to float32 where that is faster, and so hide what a GPU will do. ONNX's reference evaluator
keeps to the declared types; only its convolution is replaced, by one that multiplies float16 and adds in float32 as
tensor cores do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .serving_graph import INPUT, OUTPUT

if TYPE_CHECKING:
    from onnx import ModelProto


class Emulation:
    """A served graph, value by value."""

    def __init__(self, model: ModelProto) -> None:
        from onnx.reference import ReferenceEvaluator
        from onnx.reference.op_run import OpRun

        class Conv(OpRun):  # type: ignore[misc]
            op_domain = ""

            def _run(self, x: NDArray[Any], w: NDArray[Any], b: NDArray[Any], **_: object) -> tuple[NDArray[Any]]:
                return (convolve_3x3(x, w, b),)

        self._evaluator = ReferenceEvaluator(model, new_ops=[Conv])

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """The output for uint8 [N, H, W, 3], and every float tensor on the way, by name."""
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is what we look for, not a surprise
            values = self._evaluator.run(None, {INPUT: image}, intermediate=True)
        floats = {k: v for k, v in values.items() if isinstance(v, np.ndarray) and v.ndim == 4 and v.dtype.kind == "f"}
        return values[OUTPUT], floats


def convolve_3x3(x: NDArray[Any], w: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """A 3x3 convolution with zero padding 1: `x` [N, C, H, W], `w` [F, C, 3, 3], `b` [F] -> [N, F, H, W], `x`'s type.

    Sums are float32 whatever the type, and are rounded to it once, at the end.
    """
    n, channels, height, width = x.shape
    padded = np.zeros((n, height + 2, width + 2, channels), np.float32)
    padded[:, 1:-1, 1:-1] = x.transpose(0, 2, 3, 1)
    kernel = w.astype(np.float32).transpose(2, 3, 1, 0)
    total = np.empty((n * height * width, w.shape[0]), np.float32)
    total[...] = b.astype(np.float32)
    for row in range(3):
        for column in range(3):
            window = padded[:, row : row + height, column : column + width]
            total += window.reshape(-1, channels) @ kernel[row, column]
    return np.ascontiguousarray(total.reshape(n, height, width, -1).transpose(0, 3, 1, 2)).astype(x.dtype)
