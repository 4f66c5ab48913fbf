"""How far two pictures are from each other, and whether that is as near as their precision promises."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import DisagreementError
from .catalogue import Agreement


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[float | None, int]:
    """PSNR in dB over all values (None if they are equal), and the largest difference in levels.

    Raises:
        DisagreementError: they have different shapes.
    """
    if one.shape != other.shape:
        raise DisagreementError(f"One answer is {list(one.shape)}, another {list(other.shape)}.")
    levels = np.abs(one.astype(np.int16) - other)
    squares = float(np.square(levels, dtype=np.float64).mean())
    return (round(10 * math.log10(255**2 / squares), 2) if squares else None), int(levels.max())


def check(name: str, psnr_db: float | None, max_levels: int, expected: Agreement | None) -> None:
    """Raise DisagreementError if an answer is farther from float32's than expected."""
    if expected is None:
        return
    near = psnr_db is None or psnr_db >= expected.min_psnr_db
    if not near or (expected.max_levels is not None and max_levels > expected.max_levels):
        most = "" if expected.max_levels is None else f" and at most {expected.max_levels} level(s)"
        raise DisagreementError(
            f"{name} is {psnr_db} dB and up to {max_levels} level(s) from float32, where {expected.min_psnr_db:g} dB"
            f"{most} are expected: it does not compute the same. Nothing was written."
        )
