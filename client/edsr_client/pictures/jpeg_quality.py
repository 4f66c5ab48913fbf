"""How strongly a JPEG file is compressed, estimated from its quantisation tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# ITU-T T.81, table K.1, row by row: what libjpeg scales by its quality.
LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
LOSSY = ("JPEG", "MPO")


def jpeg_quality(image: Image.Image) -> int | None:
    """The quality, 1 to 100 as libjpeg counts it, of an opened JPEG file; None for other formats. Nothing is decoded.

    Whoever has tables of his own (cameras, Photoshop) gets the quality whose table is nearest.
    """
    if image.format not in LOSSY:
        return None
    tables = getattr(image, "quantization", None) or {}
    layers = getattr(image, "layer", None) or []
    # The first component is the luma; it says which table is its.
    table = tables.get(layers[0][3] if layers else 0) or next(iter(tables.values()), None)
    return quality_of_table(table) if table and len(table) == len(LUMA) else None


def quality_of_table(table: Sequence[int]) -> int:
    """The quality whose luma table is nearest to `table`, 64 steps of quantisation, row by row.

    Near is measured in ratios: a step of 2 for 1 is as far as 100 for 50. Of equally near ones the highest is taken.
    """
    found = [math.log(max(1, step)) for step in table]
    return max(
        range(1, 101),
        key=lambda quality: (-sum(abs(a - b) for a, b in zip(found, _logarithms(quality), strict=True)), quality),
    )


@lru_cache(maxsize=100)
def _logarithms(quality: int) -> tuple[float, ...]:
    return tuple(math.log(step) for step in scaled(quality))


def scaled(quality: int) -> tuple[int, ...]:
    """libjpeg's luma table of a quality, baseline: steps of 1 to 255."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(255, max(1, (step * percent + 50) // 100)) for step in LUMA)
