"""Does the converted model compute what TensorFlow computes on the original graph? Real pictures and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ParityError
from .network import MEAN_BGR
from .pictures import PARITY, pictures
from .runtimes import Runner

# On the 0..255 scale. Float32 sums in another order differ by about 1e-4 after 67 layers.
MAX_FLOAT_DIFFERENCE = 1e-3
# Values within that distance of a half may round the other way.
MAX_LEVEL_DIFFERENCE = 1
MAX_DIFFERING_FRACTION = 1e-3


@dataclass(frozen=True)
class Parity:
    """Differences between the converted model and TensorFlow over all parity inputs."""

    inputs: int
    values: int
    float_max_difference: float
    uint8_max_difference: int
    uint8_differing_fraction: float

    def check(self) -> None:
        """Raise ParityError if a difference is larger than allowed (or not a number)."""
        within = (
            self.float_max_difference <= MAX_FLOAT_DIFFERENCE
            and self.uint8_max_difference <= MAX_LEVEL_DIFFERENCE
            and self.uint8_differing_fraction <= MAX_DIFFERING_FRACTION
        )
        if not within:
            raise ParityError(
                f"The converted model does not match TensorFlow: float body differs by {self.float_max_difference:.2g} "
                f"(allowed {MAX_FLOAT_DIFFERENCE:g}), uint8 by {self.uint8_max_difference} level(s) on "
                f"{self.uint8_differing_fraction:.4%} of values (allowed {MAX_LEVEL_DIFFERENCE} on "
                f"{MAX_DIFFERING_FRACTION:.1%}). Nothing was written. Please report the graph and the versions."
            )


def real_pictures() -> Iterator[NDArray[np.uint8]]:
    """Yield uint8 [1, H, W, 3] RGB: small cuttings of photographs."""
    return (picture[None] for _, picture in pictures(PARITY))


def parity_inputs() -> Iterator[NDArray[np.uint8]]:
    """Yield uint8 [N, H, W, 3] RGB: real pictures, noise, extremes, odd sizes down to one pixel, a batch."""
    yield from real_pictures()
    random = np.random.default_rng(20260914)
    for shape in ((1, 37, 53, 3), (2, 16, 19, 3), (1, 1, 1, 3), (1, 1, 23, 3), (1, 29, 2, 3)):
        yield random.integers(0, 256, shape, dtype=np.uint8)
    yield np.zeros((1, 11, 13, 3), np.uint8)
    yield np.full((1, 13, 11, 3), 255, np.uint8)


def measure(original: Runner, body: Runner, served: Runner) -> Parity:
    """Compare on every parity input.

    Args:
        original: the frozen graph; float32 [N, H, W, 3] BGR minus mean -> the same at the scale.
        body: the converted float body; float32 [N, 3, H, W] RGB minus mean -> the same at the scale.
        served: the serving graph; uint8 [N, H, W, 3] RGB -> uint8 at the scale.
    """
    mean = np.array(MEAN_BGR, np.float32)
    float_max, level_max, differing, values, inputs = 0.0, 0, 0, 0, 0
    for image in parity_inputs():
        bgr = image[..., ::-1].astype(np.float32) - mean
        expected = original(np.ascontiguousarray(bgr))
        got = body(np.ascontiguousarray(bgr[..., ::-1].transpose(0, 3, 1, 2))).transpose(0, 2, 3, 1)[..., ::-1]
        float_max = _worst(float_max, expected - got)
        levels = np.abs(to_uint8(expected + mean)[..., ::-1].astype(np.int16) - served(image))
        level_max = max(level_max, int(levels.max()))
        differing += int(np.count_nonzero(levels))
        values += levels.size
        inputs += 1
    return Parity(inputs, values, float_max, level_max, differing / values)


def to_uint8(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round half to even and clip, as OpenCV's saturate_cast does."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _worst(so_far: float, difference: NDArray[Any]) -> float:
    largest = float(np.abs(difference).max())
    return largest if not largest <= so_far else so_far  # a NaN is kept, never lost in a comparison
