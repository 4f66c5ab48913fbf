"""The values of EXIF and TIFF apart from any file: what their bytes mean, and a new block made of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAIN, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0, 0x8769, 0x8825, 0xA005
MAKER_NOTE = 0x927C
# Bytes of a value by type; 129 is UTF-8 (EXIF 3.0), 13 a directory.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
BIG_SIZES = SIZES | {16: 8, 17: 8, 18: 8}
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, DIRECTORY = 2, 3, 4, 5, 7, 13
POINTER_KINDS = (LONG, 9, DIRECTORY)  # some cameras write a signed number
NUMBERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 11: "f", 12: "d", 13: "L", 16: "Q", 17: "q", 18: "Q"}
WORDS = {2: (3, 8), 4: (4, 5, 9, 10, 11, 13), 8: (12, 16, 17, 18)}  # what is turned round with the byte order
POINTERS = {MAIN: (EXIF_IFD, GPS_IFD), EXIF_IFD: (INTEROP_IFD,), GPS_IFD: (), INTEROP_IFD: ()}
HEADER = b"Exif\0\0"
ENTRY_BYTES, INLINE_BYTES = 12, 4
# Makers' notes that count from their own start and say their byte order, or are text: they may be moved.
MOVABLE = (
    b"Apple iOS\0",
    b"Nikon\0\x02",
    b"FUJIFILM",
    b"GENERALE",
    b"OLYMPUS\0",
    b"OM SYSTEM\0",
    b"PENTAX \0",
    b"RICOH\0II",
    b"RICOH\0MM",
)

Values = dict[int, "dict[int, Value]"]


@dataclass(frozen=True)
class Value:
    """A value apart from a block.

    Attributes:
        kind: type, as TIFF numbers them.
        count: of its parts.
        data: in the byte order of the block it comes from.
    """

    kind: int
    count: int
    data: bytes


def numbers_of(value: Value, order: str) -> tuple[float, ...] | None:
    """The numbers of a value; None if it is no number. A rational without value is NaN."""
    if value.kind in (RATIONAL, 10):
        letter = "L" if value.kind == RATIONAL else "l"
        parts = struct.unpack(f"{order}{value.count * 2}{letter}", value.data)
        return tuple(
            top / bottom if bottom else float("nan") for top, bottom in zip(parts[::2], parts[1::2], strict=True)
        )
    if value.kind not in NUMBERS:
        return None
    return struct.unpack(f"{order}{value.count}{NUMBERS[value.kind]}", value.data)


def is_movable(note: bytes) -> bool:
    """Whether a maker's note means the same elsewhere, and beside values of the other byte order."""
    return note.startswith(MOVABLE) or all(32 <= byte < 127 or byte in b"\t\r\n\0" for byte in note)


def laid_out(values: Values, order: str, new_order: str = "<") -> bytes | None:
    """A new block of values; None if there are none.

    Args:
        values: as `Block.values` gives them.
        order, new_order: byte order of the values' data, and of the block.
    """
    details = dict(values.get(EXIF_IFD, {}))
    content = bytearray((b"II\x2a\0" if new_order == "<" else b"MM\0\x2a") + bytes(4))
    if values.get(INTEROP_IFD):
        details[INTEROP_IFD] = _pointer(_appended(content, values[INTEROP_IFD], order, new_order), order)
    main = dict(values.get(MAIN, {}))
    for tag, entries in ((EXIF_IFD, details), (GPS_IFD, values.get(GPS_IFD, {}))):
        if entries:
            main[tag] = _pointer(_appended(content, entries, order, new_order), order)
    if not main:
        return None
    struct.pack_into(new_order + "L", content, 4, _appended(content, main, order, new_order))
    return HEADER + bytes(content)


def turned_round(value: Value) -> bytes:
    """The data of a value in the other byte order."""
    for width, kinds in WORDS.items():
        if value.kind in kinds:
            words = (value.data[at : at + width][::-1] for at in range(0, len(value.data), width))
            return b"".join(words)
    return value.data


def _pointer(where: int, order: str) -> Value:
    return Value(LONG, 1, struct.pack(order + "L", where))


def _appended(content: bytearray, values: dict[int, Value], order: str, new_order: str) -> int:
    """Where the directory begins, behind its values."""
    rows = []
    for tag, value in sorted(values.items()):
        data = value.data if order == new_order else turned_round(value)
        if len(data) > INLINE_BYTES:
            content += bytes(len(content) % 2)
            where = struct.pack(new_order + "L", len(content))
            content += data
            data = where
        rows.append(struct.pack(new_order + "HHL", tag, value.kind, value.count) + data.ljust(INLINE_BYTES, b"\0"))
    content += bytes(len(content) % 2)
    start = len(content)
    content += struct.pack(new_order + "H", len(rows)) + b"".join(rows) + bytes(4)
    return start
