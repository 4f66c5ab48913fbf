"""Picture quality as super-resolution papers measure it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """ITU-R BT.601 luma, 16..235, of uint8 [H, W, 3] RGB; the weights of MATLAB's rgb2ycbcr."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return 16 + rgb.astype(np.float64) @ weights


def psnr_y(picture: NDArray[np.uint8], reference: NDArray[np.uint8], shave_px: int = 3) -> float:
    """Peak signal-to-noise ratio of the luma in dB; infinite for equal pictures.

    Args:
        picture, reference: uint8 [H, W, 3] RGB.
        shave_px: border left out on every side, the scale by convention.

    Raises:
        ValueError: the shapes differ, or nothing is left inside the border.
    """
    if picture.shape != reference.shape or min(picture.shape[:2]) <= 2 * shave_px:
        raise ValueError(f"cannot compare {picture.shape} with {reference.shape}, border {shave_px}")
    inner = slice(shave_px, -shave_px or None)
    error = luma(picture)[inner, inner] - luma(reference)[inner, inner]
    mean_square = float(np.mean(error**2))
    return float("inf") if mean_square == 0 else 10 * np.log10(255**2 / mean_square)
