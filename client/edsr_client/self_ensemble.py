"""Self-ensemble, EDSR+: the mean of the results of a picture's eight flips and quarter turns; pure.

Lim et al. 2017, "Enhanced Deep Residual Networks for Single Image Super-Resolution" (arXiv:1707.02921), section 3.3.
The network is no more symmetric than training made it: eight answers for one picture differ a little, and their mean is
nearer to the original than each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tiling import Shape, TileLimits

# Numbered 0 to 7: a quarter turn to the left for each of the lower two bits; the third is a flip before them.
TURNS = 8
FLIP = 4


def turned(image: NDArray[Any], turn: int) -> NDArray[Any]:
    """One of the eight ways to lay a picture down, [H, W, ...] -> [H, W, ...] or [W, H, ...]; a view."""
    return np.rot90(image[:, ::-1] if turn & FLIP else image, turn % FLIP)


def turned_back(image: NDArray[Any], turn: int) -> NDArray[Any]:
    """The inverse of `turned`; a view."""
    upright = np.rot90(image, -(turn % FLIP))
    return upright[:, ::-1] if turn & FLIP else upright


def mean(total: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The sum of TURNS results, rounded once; halves go up."""
    return ((total + TURNS // 2) // TURNS).astype(np.uint8)


def turnable(limits: TileLimits) -> TileLimits:
    """Limits within which a tile may also lie on its side: of 1024x2048 and its like, sides of at most 1024."""
    sides = {
        (min(height, other_width), min(width, other_height))
        for height, width in limits.shapes
        for other_height, other_width in limits.shapes
    }
    return TileLimits(limits.max_px, tuple(sorted(sides, key=_area_first)))


def _area_first(shape: Shape) -> tuple[int, Shape]:
    return -shape[0] * shape[1], shape
