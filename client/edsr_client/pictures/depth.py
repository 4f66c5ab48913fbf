"""16-bit images through an 8-bit network; pure.

The network takes and gives 8 bits: 256 levels. What 16 bits hold beyond that, slow gradients above all, is kept by the
image itself: it is enlarged by cubic interpolation in full precision (the base), and the network only adds what it sees
beyond interpolation (the detail):

    result = cubic(image) + 257 x core(network(round(image / 257)) - cubic(round(image / 257)))

A detail of less than one level is the rounding of the two 8-bit images and no detail; `core` leaves it out, takes it
whole from two levels on, and fades it in between. Smooth areas are thus the 16-bit base alone, without banding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# 65535 / 255
LEVEL = 257
# Cubic interpolation reaches two pixels far.
MARGIN_PX = 3
# Rows of LR pixels worked on at a time: floats of a whole picture would take 36 bytes a channel and pixel.
BAND_PX = 256


def to_8_bits(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """uint16 levels as the nearest uint8 levels; uint8 as it is."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return ((image.astype(np.uint32) + LEVEL // 2) // LEVEL).astype(np.uint8)


def full_range(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Levels of `bits` bits, 1 to 16, spread over all of 8 or 16 bits: uint8 up to 8 bits, else uint16."""
    if bits in (8, 16):
        return samples
    top, most = (255, samples.astype(np.uint16)) if bits < 8 else (65_535, samples.astype(np.uint32))
    highest = 2**bits - 1
    spread: NDArray[Any] = ((most * top + highest // 2) // highest).astype(np.uint8 if bits < 8 else np.uint16)
    return spread


def deepen(low: NDArray[np.uint16], upscaled: NDArray[np.uint8], scale: int) -> NDArray[np.uint16]:
    """The 16-bit upscaled image.

    Args:
        low: uint16 [H, W, C].
        upscaled: uint8 [scale H, scale W, C], the network's answer to `to_8_bits(low)`.

    Returns:
        uint16 [scale H, scale W, C].
    """
    result = np.empty(upscaled.shape, np.uint16)
    for top in range(0, low.shape[0], BAND_PX):
        bottom = min(top + BAND_PX, low.shape[0])
        first, last = max(0, top - MARGIN_PX), min(low.shape[0], bottom + MARGIN_PX)
        band, rows = low[first:last], slice(top * scale, bottom * scale)
        inner = slice((top - first) * scale, (bottom - first) * scale)
        base = _cubic(band, scale)[inner]
        detail = upscaled[rows] - _cubic(to_8_bits(band), scale)[inner]
        detail *= np.clip(np.abs(detail) - 1, 0, 1)
        result[rows] = np.clip(np.rint(base + LEVEL * detail), 0, 65535).astype(np.uint16)
    return result


def _cubic(image: NDArray[np.uint8] | NDArray[np.uint16], scale: int) -> NDArray[np.float32]:
    import cv2

    size = (image.shape[1] * scale, image.shape[0] * scale)
    enlarged = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, np.float32).reshape(size[1], size[0], image.shape[2])
