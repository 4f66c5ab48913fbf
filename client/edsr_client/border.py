"""The border of a picture: what the network is shown beyond it, and that flat areas stay flat to its edge; pure.

The network pads with zeros, which stand for the mean grey of photographs. It was trained so, and photographs fare best
with it. But where the picture is small there is nothing but border: so pictures with a small side are continued by
their mirror image, "symmetric", and what becomes of that is cut off again. Larger ones are on request.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .tiling import NO_MARGINS, Margins, Shape, Tile

Border = Literal["zero", "symmetric"]
BORDERS: tuple[Border, ...] = ("zero", "symmetric")
# What larger pictures get by default; docs/tiling.md has the figures.
DEFAULT_BORDER: Border = "zero"
# How far a picture is continued: further away nothing changes by a level.
MARGIN_PX = 16
# A shorter side than this is small: with zeros on both sides more than half of the pixels would see them.
SMALL_SIDE_PX = 64
# A pixel all of whose neighbours so far away have its colour is flat, and stays that colour to the last level.
FLAT_PX = 3

Plane = NDArray[np.uint8]


def check_border(border: Any) -> None:
    """Raise ValueError unless it is one of BORDERS, margins, or None for the default."""
    if border is None or border in list(BORDERS):
        return
    axes = border if isinstance(border, tuple) and len(border) == 2 else [()]
    ends = [px for axis in axes for px in axis if isinstance(axis, tuple) and len(axis) == 2]
    if len(ends) != 4 or not all(isinstance(px, int) and px >= 0 for px in ends):
        raise ValueError(
            f"border must be {' or '.join(map(repr, BORDERS))}, or ((top, bottom), (left, right)) in pixels, "
            f"not {border!r}"
        )


def margins_of(picture: Shape, border: Border | Margins | None) -> Margins:
    """How far a picture of (height, width) is continued by its mirror image, in LR pixels on each side."""
    if isinstance(border, tuple):
        return border
    if (border or DEFAULT_BORDER) == "symmetric" or min(picture) < SMALL_SIDE_PX:
        return (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX)
    return NO_MARGINS


def window(plane: Plane, tile: Tile, shape: Shape) -> Plane:
    """What is sent for a tile: [h, w, 3] of `plane`, beyond whose edges its mirror image goes on and on."""
    rows, columns = tile.source(shape)
    if min(rows.start, columns.start) >= 0 and rows.stop <= plane.shape[0] and columns.stop <= plane.shape[1]:
        return plane[rows, columns]
    return plane[np.ix_(_mirrored(rows, plane.shape[0]), _mirrored(columns, plane.shape[1]))]


def _mirrored(indices: slice, length: int) -> NDArray[np.intp]:
    """Of positions on a line of `length` pixels and its mirror images: 2 1 0 | 0 1 2 | 2 1 0."""
    folded = np.arange(indices.start, indices.stop) % (2 * length)
    return np.asarray(np.where(folded < length, folded, 2 * length - 1 - folded))


def keep_flat(plane: Plane, tile: Tile, result: Plane, scale: int) -> None:
    """Give flat areas of the picture their own colour in the result; in place, for the part that a tile has made.

    A network is a sum of many products: white comes out as 254 here and there, in 8 bits and in bfloat16 a level or two
    off. Where nothing is to be seen for FLAT_PX around, there is nothing to be enhanced either.

    Args:
        plane: uint8 [H, W, 3], the picture.
        tile: which part.
        result: uint8 [scale H, scale W, 3].
        scale: of the model.
    """
    (top, bottom), (left, right) = tile.keep_y, tile.keep_x
    kept = plane[top:bottom, left:right]
    is_flat = _flat(plane, tile)
    if not is_flat.any():
        return
    made = result[tile.target(scale)]
    for row in range(scale):
        for column in range(scale):
            np.copyto(made[row::scale, column::scale], kept, where=is_flat[..., None])


def _flat(plane: Plane, tile: Tile) -> NDArray[np.bool_]:
    """Which pixels of a tile have no other colour within FLAT_PX, as far as there is picture; [h, w]."""
    import cv2

    (top, bottom), (left, right) = tile.keep_y, tile.keep_x
    first_row, first_column = max(0, top - FLAT_PX), max(0, left - FLAT_PX)
    around = plane[first_row : bottom + FLAT_PX, first_column : right + FLAT_PX]
    rows = slice(top - first_row, bottom - first_row)
    columns = slice(left - first_column, right - first_column)
    neighbours = np.ones((2 * FLAT_PX + 1, 2 * FLAT_PX + 1), np.uint8)
    # What lies outside has no part in either: OpenCV's default for both.
    least, most = (operation(around, neighbours)[rows, columns] for operation in (cv2.erode, cv2.dilate))
    return np.asarray((least == most).all(axis=2))
