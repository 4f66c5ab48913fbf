"""TIFF files. Pillow reads them; it cannot write 16 bits a channel, nor all that a file may carry beside the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks.exif import Block
from .blocks.exif_rules import IPTC, PHOTOSHOP
from .blocks.photoshop import iptc_of
from .blocks.values import ENTRY_BYTES, INLINE_BYTES, LONG, MAIN, RATIONAL, SHORT, UNDEFINED
from .metadata import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Metadata

XMP_TAG, ICC_TAG, INCH = 700, 34675, 2
BYTE = 1
# zlib's usual 6 takes twice as long, and saves 2%.
DEFLATE_LEVEL = 4
STRIP_ROWS, MAX_BYTES = 64, 2**32 - 2**20


def encode_tiff(image: NDArray[Any], metadata: Metadata) -> bytes:
    """The content of a TIFF file: strips, compressed by zlib over the differences of neighbours, without loss.

    TIFF 6.0, sections 3 (strips), 14 (predictor), 18 (alpha); Deflate as in Adobe's supplement 2.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, C], C of 1 to 4.
        metadata: what to put beside the pixels.

    Raises:
        ValueError: the file would be too large.
    """
    channels = 1 if image.ndim == 2 else image.shape[2]
    deep = image.dtype == np.uint16
    block = Block(metadata.exif) if metadata.exif else None
    order = block.order if block else "<"
    # An EXIF block is a TIFF file without pixels: it begins this one, so that all in it stays at its offset.
    content = bytearray(block.content if block else b"II\x2a\0" + bytes(4))
    rows = np.ascontiguousarray(image.reshape(image.shape[0], image.shape[1], channels)).astype(
        f"{order}u2" if deep else np.uint8
    )
    rows[:, 1:] -= rows[:, :-1].copy()
    strips = [
        zlib.compress(rows[top : top + STRIP_ROWS].tobytes(), DEFLATE_LEVEL) for top in range(0, len(rows), STRIP_ROWS)
    ]
    lengths = [len(strip) for strip in strips]
    if sum(lengths) + len(content) > MAX_BYTES:
        raise ValueError("it would be larger than 4 GB, which TIFF cannot hold")
    content += bytes(len(content) % 2)
    offsets = [*accumulate(lengths[:-1], initial=len(content))]
    content += b"".join(strips)
    directory = _Directory(content, order, block)
    directory.put_numbers(256, LONG, [image.shape[1]])
    directory.put_numbers(257, LONG, [image.shape[0]])
    directory.put_numbers(258, SHORT, [16 if deep else 8] * channels)
    directory.put_numbers(259, SHORT, [8])
    directory.put_numbers(262, SHORT, [2 if channels >= 3 else 1])
    directory.put_numbers(273, LONG, offsets)
    directory.put_numbers(277, SHORT, [channels])
    directory.put_numbers(278, LONG, [STRIP_ROWS])
    directory.put_numbers(279, LONG, lengths)
    directory.put_numbers(284, SHORT, [1])
    directory.put_numbers(317, SHORT, [2])
    if channels in (2, 4):
        directory.put_numbers(338, SHORT, [2])  # alpha that is not premultiplied
    _put_metadata(directory, metadata)
    directory.finish()
    return bytes(content)


class _Directory:
    """The main directory of a file: that of an EXIF block that the file begins with, and more."""

    def __init__(self, content: bytearray, order: str, block: Block | None) -> None:
        self._content, self._order = content, order
        entries = block.directories[MAIN].values() if block else ()
        self._rows = {entry.tag: bytes(content[entry.at : entry.at + ENTRY_BYTES]) for entry in entries}

    def __contains__(self, tag: int) -> bool:
        return tag in self._rows

    def put_numbers(self, tag: int, kind: int, numbers: Sequence[int]) -> None:
        """Add whole numbers; of a rational both of its parts."""
        letter = "H" if kind == SHORT else "L"
        count = len(numbers) // 2 if kind == RATIONAL else len(numbers)
        self.put(tag, kind, count, struct.pack(f"{self._order}{len(numbers)}{letter}", *numbers))

    def put(self, tag: int, kind: int, count: int, data: bytes) -> None:
        """Add a value."""
        if len(data) > INLINE_BYTES:
            where = struct.pack(self._order + "L", self._append(data))
            data = where
        self._rows[tag] = struct.pack(self._order + "HHL", tag, kind, count) + data.ljust(INLINE_BYTES, b"\0")

    def finish(self) -> None:
        """Write it behind all else, and where it is into the header."""
        rows = [row for _, row in sorted(self._rows.items())]
        where = self._append(struct.pack(self._order + "H", len(rows)) + b"".join(rows) + bytes(4))
        struct.pack_into(self._order + "L", self._content, 4, where)

    def _append(self, data: bytes) -> int:
        self._content += bytes(len(self._content) % 2)
        where = len(self._content)
        self._content += data
        return where


def _put_metadata(directory: _Directory, metadata: Metadata) -> None:
    for tag, kind, data in apart_from_exif(metadata):
        directory.put(tag, kind, len(data), data)
    if metadata.dpi and X_RESOLUTION not in directory:
        for tag, dpi in zip((X_RESOLUTION, Y_RESOLUTION), metadata.dpi, strict=True):
            value = Fraction(dpi).limit_denominator(10_000)
            directory.put_numbers(tag, RATIONAL, [value.numerator, value.denominator])
        directory.put_numbers(RESOLUTION_UNIT, SHORT, [INCH])


def apart_from_exif(metadata: Metadata) -> Iterator[tuple[int, int, bytes]]:
    """(tag, type, data) of what TIFF has in the main directory, and others beside their EXIF block."""
    if metadata.xmp:
        yield XMP_TAG, BYTE, metadata.xmp
    if metadata.icc:
        yield ICC_TAG, UNDEFINED, metadata.icc
    if metadata.photoshop:
        yield PHOTOSHOP, BYTE, metadata.photoshop
        if iptc := iptc_of(metadata.photoshop):
            yield IPTC, UNDEFINED, iptc
