"""EXIF blocks that have to be written anew: shorter, in another byte order, with or without a value."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction

from .exif import Block
from .exif_rules import INCH, ORIENTATION, RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Factors
from .values import (
    ENTRY_BYTES,
    EXIF_IFD,
    GPS_IFD,
    INLINE_BYTES,
    MAIN,
    MAKER_NOTE,
    RATIONAL,
    SHORT,
    Value,
    is_movable,
    laid_out,
)


def without_orientation(content: bytes) -> bytes | None:
    """The block for an encoder that writes it anew, and so breaks it, where it finds an orientation."""
    block = Block(content)
    block.remove(MAIN, [ORIENTATION])
    return block.tobytes()


# As many values are named in a note.
MOST_NAMES = 5


def says_resolution(content: bytes) -> bool:
    """Whether a block has a resolution."""
    return X_RESOLUTION in Block(content).directories[MAIN]


def with_resolution(content: bytes | None, dpi: Factors) -> bytes | None:
    """A block that says the resolution; None if it cannot be written anew.

    Args:
        content: the block, None for a new one.
        dpi: pixels per inch (x, y).
    """
    block = Block(content) if content else None
    values, order = (block.values(), block.order) if block else ({MAIN: {}}, "<")
    note = values.get(EXIF_IFD, {}).get(MAKER_NOTE)
    if note is not None and not is_movable(note.data):
        return None
    for tag, number in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
        parts = Fraction(number).limit_denominator(10_000)
        values[MAIN][tag] = Value(RATIONAL, 1, struct.pack(order + "LL", parts.numerator, parts.denominator))
    values[MAIN][RESOLUTION_UNIT] = Value(SHORT, 1, struct.pack(order + "H", INCH))
    return laid_out(values, order, order)


def relaid(
    content: bytes, order: str | None = None, without: Iterable[tuple[int, int]] = ()
) -> tuple[bytes | None, bool]:
    """A block written anew, as short as it can be, and whether its maker's note had to be left out.

    Args:
        content: the block.
        order: byte order, "<" or ">"; by default its own.
        without: (directory, tag) of what to leave out.
    """
    block = Block(content)
    values = block.values()
    for directory, tag in without:
        values.get(directory, {}).pop(tag, None)
    note = values.get(EXIF_IFD, {}).get(MAKER_NOTE)
    is_lost = note is not None and not is_movable(note.data)
    if is_lost:
        del values[EXIF_IFD][MAKER_NOTE]
    return laid_out(values, block.order, order or block.order), is_lost


def fitting_exif(content: bytes, most: int) -> tuple[bytes | None, list[str]]:
    """A block of at most `most` bytes, its largest values left out where it is longer, and what they are."""
    block = Block(content)
    sizes = [
        (len(value.data), directory, tag)
        for directory, values in block.values().items()
        for tag, value in values.items()
    ]
    shorter, is_note_lost = relaid(content)
    length, gone = len(shorter or b""), [(EXIF_IFD, MAKER_NOTE)] if is_note_lost else []
    lost = [_name(*one) for one in gone]
    for size, directory, tag in sorted(sizes, reverse=True):
        if length <= most:
            break
        if (directory, tag) not in gone[:1]:
            gone.append((directory, tag))
            lost.append(f"{_name(directory, tag)} ({size:,} bytes)")
            length -= ENTRY_BYTES + (size if size > INLINE_BYTES else 0)
    shorter, _ = relaid(content, without=gone)
    more = [f"{len(lost) - MOST_NAMES} more"] if len(lost) > MOST_NAMES else []
    return (shorter if len(shorter or b"") <= most else None), lost[:MOST_NAMES] + more


def _name(directory: int, tag: int) -> str:
    from PIL import ExifTags

    names = ExifTags.GPSTAGS if directory == GPS_IFD else ExifTags.TAGS
    return str(names.get(tag, f"0x{tag:04X}"))
