"""Where a GeoTIFF lies on the earth, for pixels of another size; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# GeoTIFF 1.1, chapter 7: the size of a pixel, points of the raster on the ground, or a matrix from one to the other.
PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS = 33550, 33922, 34264, 34735
RASTER_TYPE, PIXEL_IS_POINT = 1025, 2
# Polynomials of satellite pictures, in the order of GDAL ("RPCs in GeoTIFF"): offsets of line and sample, their scales.
RPC = 50844
RPC_OFFSETS, RPC_SCALES = (2, 3), (7, 8)
PLACE_TAGS = (PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, RPC)


def corrected_place(tags: Mapping[int, Any], factors: tuple[float, float]) -> dict[int, Any]:
    """Those of `tags` that count in pixels, so that every place on the ground stays where it was.

    A whole number names the corner of a pixel, or its middle where the file says "PixelIsPoint" and in polynomials.

    Args:
        tags: of the main directory of a TIFF file.
        factors: new size / old size, (x, y).

    Raises:
        ValueError, TypeError, IndexError: a tag is not what GeoTIFF says.
    """
    x, y = factors
    half = 0.5 if _is_point(tuple(tags.get(GEO_KEYS) or ())) else 0.0
    found: dict[int, Any] = {}
    if PIXEL_SCALE in tags:
        across, down, *rest = _numbers(tags[PIXEL_SCALE])
        found[PIXEL_SCALE] = (across / x, down / y, *rest)
    if TIE_POINTS in tags:
        points = _numbers(tags[TIE_POINTS])
        points[0::6] = [(at + half) * x - half for at in points[0::6]]
        points[1::6] = [(at + half) * y - half for at in points[1::6]]
        found[TIE_POINTS] = tuple(points)
    if TRANSFORMATION in tags:
        matrix = _numbers(tags[TRANSFORMATION])
        for row in range(0, 12, 4):
            across, down = matrix[row] / x, matrix[row + 1] / y
            matrix[row + 3] += half * (across - matrix[row] + down - matrix[row + 1])
            matrix[row], matrix[row + 1] = across, down
        found[TRANSFORMATION] = tuple(matrix)
    if RPC in tags:
        terms = _numbers(tags[RPC])
        for at, factor in zip(RPC_OFFSETS, (y, x), strict=True):
            terms[at] = (terms[at] + 0.5) * factor - 0.5
        for at, factor in zip(RPC_SCALES, (y, x), strict=True):
            terms[at] *= factor
        found[RPC] = tuple(terms)
    return found


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values]


def _is_point(keys: tuple[int, ...]) -> bool:
    """Whether the key directory (four numbers of header, then four for every key) has GTRasterTypeGeoKey so."""
    return any(keys[at] == RASTER_TYPE and keys[at + 3] == PIXEL_IS_POINT for at in range(4, len(keys) - 3, 4))
