"""The 8-bit weight format of TensorFlow 1's `quantize_weights`: quint8 with a range, mode MIN_FIRST."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = 255  # steps between the 256 values of a quint8


@dataclass(frozen=True)
class QuantizedTensor:
    """`values` uint8 of any shape, and the float32 range [`minimum`, `maximum`] that they span."""

    values: NDArray[np.uint8]
    minimum: float
    maximum: float

    def dequantize(self) -> NDArray[np.float32]:
        """The float32 values TensorFlow's `Dequantize` (mode MIN_FIRST) produces.

        w = q * s + s * round(min / s) with s = (max - min) / 255: the range is shifted so that zero is exact, which
        is why it is not simply min + q * s. Source: `QuantizedToFloat` in tensorflow/core/kernels/quantization_utils.h.
        A range of no width, or one whose steps float32 cannot tell from zero, stands for a constant.
        """
        if _is_constant(self.minimum, self.maximum):
            return np.full(self.values.shape, self.minimum, dtype=np.float32)
        step, lowest = _grid(self.minimum, self.maximum)
        shifted_minimum = np.float32(lowest) * np.float32(step)
        return np.asarray(self.values * step + shifted_minimum, np.float32)


def quantize(weights: NDArray[np.float32]) -> QuantizedTensor:
    """Quantise `weights` (any shape) over their own range, as `quantize_weights` does.

    Raises:
        ValueError: a weight is not finite.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights must be finite")
    low, high = float(np.min(weights)), float(np.max(weights))
    if _is_constant(low, high):
        return QuantizedTensor(np.zeros(weights.shape, np.uint8), low, high)
    step, lowest = _grid(low, high)
    # The inverse of dequantize(): on the shifted grid, so that every weight lands on its nearest value.
    levels = np.rint(weights.astype(np.float64) / step) - lowest
    return QuantizedTensor(np.clip(levels, 0, LEVELS).astype(np.uint8), low, high)


def _is_constant(minimum: float, maximum: float) -> bool:
    return bool(np.float32((maximum - minimum) / LEVELS) == 0)


def _grid(minimum: float, maximum: float) -> tuple[float, float]:
    """(step, lowest): the values are step * (lowest + q) for q in 0..255. TensorFlow rounds in float32."""
    step = (float(np.float32(maximum)) - float(np.float32(minimum))) / LEVELS
    return step, round_half_away(float(np.float32(minimum) / np.float32(step)))


def round_half_away(value: float) -> float:
    """C's round(): halves away from zero."""
    return float(np.sign(value) * np.floor(abs(value) + 0.5))
