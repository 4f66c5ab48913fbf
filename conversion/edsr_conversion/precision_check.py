"""Is a precision good enough? Its answers beside float32's, and its activations beside what its format can hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .emulation import Emulation
from .errors import ParityError
from .parity import real_pictures
from .precisions import INT8
from .runtimes import openvino_runner

if TYPE_CHECKING:
    from onnx import ModelProto

# Half a level of error everywhere would be 54 dB; at 60 a picture differs by one level in less than 7% of its values.
MIN_PSNR_DB = 60.0
# In 8 bits that cannot be had; its quality is judged against originals, see int8.py. This finds what is broken.
MIN_PSNR_INT8_DB = 40.0


@dataclass(frozen=True)
class PrecisionCheck:
    """How a precision compares with float32, emulated on the CPU in its own number format.

    Attributes:
        inputs: pictures compared.
        psnr_db: of the uint8 answers against float32's, on real pictures; 999 if they are equal (JSON has no infinity).
        max_difference: in levels, on any input.
        differing_fraction: of values, on real pictures.
        max_activation, max_activation_input, max_activation_tensor: the largest magnitude in the narrowest format
            used, and where it was.
        format_max: the largest magnitude the format holds.
        finite: no NaN or infinity anywhere.
    """

    inputs: int
    psnr_db: float
    max_difference: int
    differing_fraction: float
    max_activation: float
    max_activation_input: str
    max_activation_tensor: str
    format_max: float
    finite: bool

    def check(self, precision: str) -> None:
        """Raise ParityError if the precision must not be served."""
        if not self.finite:
            raise ParityError(
                f"{precision} overflows: {self.max_activation_tensor} is not finite on {self.max_activation_input}. "
                "Nothing was written. Use fp32 for this model."
            )
        required = min_psnr_db(precision)
        if not self.psnr_db >= required:
            raise ParityError(
                f"{precision} is too far from float32: {self.psnr_db:.1f} dB on real pictures, {required:g} are "
                "required. Nothing was written. Use fp32 for this model."
            )


def min_psnr_db(precision: str) -> float:
    """The smallest PSNR against float32, on real pictures, with which a precision is served."""
    return MIN_PSNR_INT8_DB if precision == INT8 else MIN_PSNR_DB


def check_inputs() -> Iterator[tuple[str, bool, NDArray[np.uint8]]]:
    """Yield (name, whether a real picture, uint8 [1, H, W, 3]): real pictures, then what drives activations far."""
    for index, picture in enumerate(real_pictures()):
        yield f"picture {index}", True, picture
    random = np.random.default_rng(20261123)
    size = (1, 24, 24, 3)
    rows, columns = np.indices(size[1:3])
    board = ((rows + columns) % 2 * 255).astype(np.uint8)
    yield "black", False, np.zeros(size, np.uint8)
    yield "white", False, np.full(size, 255, np.uint8)
    yield "noise", False, random.integers(0, 256, size, dtype=np.uint8)
    yield "black and white noise", False, (random.integers(0, 2, size) * 255).astype(np.uint8)
    yield "checkerboard", False, np.ascontiguousarray(np.broadcast_to(board[None, :, :, None], size))


def measure_precision(
    fp32: ModelProto, other: ModelProto, report: Callable[[str], None] = lambda _: None
) -> PrecisionCheck:
    """Compare a served graph with its float32 original; both uint8 [N, H, W, 3] -> uint8 at the scale."""
    reference, emulation = openvino_runner(fp32), Emulation(other)
    squares, differing, values, worst, inputs = 0, 0, 0, 0, 0
    largest, where, finite, format_max = -1.0, ("", ""), True, math.inf
    for name, is_real, image in check_inputs():
        report(name)
        answer, floats = emulation.run(image)
        levels = np.abs(reference(image).astype(np.int64) - answer)
        worst = max(worst, int(levels.max()))
        inputs += 1
        if is_real:
            squares += int((levels**2).sum())
            differing += int(np.count_nonzero(levels))
            values += levels.size
        narrowest = min(array.dtype.itemsize for array in floats.values())
        for tensor, array in floats.items():
            if array.dtype.itemsize > narrowest:
                continue
            format_max = min(format_max, float(np.finfo(array.dtype).max))
            magnitude = _magnitude(array)
            if magnitude > largest and finite:
                largest, where = magnitude, (name, tensor)
            finite = finite and math.isfinite(magnitude)
    psnr = 10 * math.log10(255**2 * values / squares) if squares else 999.0
    # JSON has no infinity, and this one is not a figure anyway.
    shown = largest if math.isfinite(largest) else format_max
    return PrecisionCheck(inputs, psnr, worst, differing / values, shown, *where, format_max, finite)


def _magnitude(array: NDArray[Any]) -> float:
    largest = float(np.abs(array).max())
    return math.inf if math.isnan(largest) else largest
