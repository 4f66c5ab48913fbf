"""Points and areas of a picture that is turned; pure."""

from __future__ import annotations

Size = tuple[float, float]
Point = tuple[float, float]


def turned_point(point: Point, size: Size, orientation: int) -> Point:
    """Where a point lies after EXIF's orientation was applied (EXIF 2.32, 4.6.4).

    Args:
        point: (x, y) from the top left corner, as stored.
        size: (width, height) as stored, in the same unit.
        orientation: 1 to 8.
    """
    x, y = point
    width, height = size
    if orientation in (5, 6, 7, 8):
        x, y, width, height = y, x, height, width
    if orientation in (2, 3, 6, 7):
        x = width - x
    if orientation in (3, 4, 7, 8):
        y = height - y
    return x, y
