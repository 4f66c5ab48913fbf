"""The pixels of a PNG file: rows filtered and packed, strip by strip, each as it becomes smallest.

Strips are packed apart and joined (RFC 1951: blocks that end on a byte), so every one can have a strategy of its own,
and memory does not grow with the picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .png_effort import AVERAGE, NONE, PAETH, SUB, UP, Effort, Way

Bytes = NDArray[np.uint8]
# What filters work on stays in a processor's cache.
STRIP_BYTES = 2**18
# Of a strip, to choose its way by.
SAMPLE = 32
WINDOW_BITS, MEMORY_LEVEL = 15, 9
ZLIB_HEADER = b"\x78\x01"
# A last block that holds nothing.
LAST_BLOCK = b"\x03\x00"


def strip_rows(row_bytes: int) -> int:
    """How many rows a strip should have."""
    return max(1, STRIP_BYTES // row_bytes)


def as_bytes(rows: NDArray[Any]) -> Bytes:
    """Rows of uint8 or uint16, [N, W] or [N, W, C], as PNG holds them: uint8 [N, bytes of a row], high byte first."""
    ordered = rows.astype(rows.dtype.newbyteorder(">"), copy=False)
    return np.ascontiguousarray(ordered).view(np.uint8).reshape(len(rows), -1)


def packed(strips: Iterable[Bytes], pixel_bytes: int, effort: Effort) -> Iterator[bytes]:
    """The content of PNG's IDAT chunks (a zlib stream, RFC 1950), a part for each strip.

    Args:
        strips: from the top, uint8 [N, bytes of a row], all of one width.
        pixel_bytes: of one pixel.
        effort: what to try.
    """
    head, check, above = ZLIB_HEADER, zlib.adler32(b""), None
    for strip in strips:
        filtered, content = _smallest(_Neighbours(strip, above, pixel_bytes), effort)
        check = zlib.adler32(filtered.data, check)
        yield head + content
        head, above = b"", strip[-1]
    yield head + LAST_BLOCK + check.to_bytes(4, "big")


class _Neighbours:
    """A strip, and what is to the left of its bytes, above them, and both."""

    def __init__(self, strip: Bytes, above: Bytes | None, pixel_bytes: int) -> None:
        around = np.zeros((strip.shape[0] + 1, pixel_bytes + strip.shape[1]), np.uint8)
        around[1:, pixel_bytes:] = strip
        if above is not None:
            around[0, pixel_bytes:] = above
        self.strip, self.left = around[1:, pixel_bytes:], around[1:, :-pixel_bytes]
        self.up, self.corner = around[:-1, pixel_bytes:], around[:-1, :-pixel_bytes]

    def filtered(self, kind: int) -> Bytes:
        """Its rows behind one another, each after the number of its filter."""
        rows, width = self.strip.shape
        lines = np.empty((rows, 1 + width), np.uint8)
        lines[:, 0] = kind
        np.subtract(self.strip, PREDICTIONS[kind](self.left, self.up, self.corner), out=lines[:, 1:])
        return lines.reshape(-1)


def _smallest(strip: _Neighbours, effort: Effort) -> tuple[Bytes, bytes]:
    """A strip filtered, and packed."""
    filtered = {kind: strip.filtered(kind) for kind in dict.fromkeys(way.filter for way in effort.ways)}
    if not effort.sampled:
        found = ((filtered[way.filter], _deflated(filtered[way.filter], way)) for way in effort.ways)
        return min(found, key=lambda one: len(one[1]))
    best = min(effort.ways, key=lambda way: len(_deflated(_sample(filtered[way.filter]), way)))
    return filtered[best.filter], _deflated(filtered[best.filter], best)


def _sample(content: Bytes) -> Bytes:
    length = -(-len(content) // SAMPLE)
    start = (len(content) - length) // 2
    return content[start : start + length]


def _deflated(content: Bytes, way: Way) -> bytes:
    packer = zlib.compressobj(way.level, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL, way.strategy)
    return packer.compress(content.data) + packer.flush(zlib.Z_FULL_FLUSH)


def _average(left: Bytes, up: Bytes, corner: Bytes) -> Bytes:
    return (left & up) + ((left ^ up) >> 1)


def _paeth(left: Bytes, up: Bytes, corner: Bytes) -> Bytes:
    """Of left, up and corner the nearest to left + up - corner; of equals the first (specification of PNG, 9.4).

    Without branches, in 8 bits: |up - corner| and |left - corner| are the distances of left and up. That of the corner
    is their difference, and counts only where it lies between both; elsewhere the three differences say that it does
    not: that of left and up is then the difference of the distances.
    """
    of_left, of_up, apart = _distance(up, corner), _distance(left, corner), _distance(left, up)
    is_left = _mask(of_left <= of_up)
    nearer = np.minimum(of_left, of_up)
    of_corner = np.maximum(of_left, of_up, out=of_up)
    of_corner -= nearer
    is_corner = of_corner != apart
    is_corner &= of_corner < nearer
    found: Bytes = left ^ up
    found &= is_left
    found ^= up
    change: Bytes = found ^ corner
    change &= _mask(is_corner)
    found ^= change
    return found


def _distance(one: Bytes, other: Bytes) -> Bytes:
    found: Bytes = np.maximum(one, other)
    found -= np.minimum(one, other)
    return found


def _mask(chosen: NDArray[np.bool_]) -> Bytes:
    """255 where true, else 0."""
    return np.negative(chosen.view(np.uint8))


PREDICTIONS: dict[int, Callable[[Bytes, Bytes, Bytes], Any]] = {
    NONE: lambda left, up, corner: 0,
    SUB: lambda left, up, corner: left,
    UP: lambda left, up, corner: up,
    AVERAGE: _average,
    PAETH: _paeth,
}
