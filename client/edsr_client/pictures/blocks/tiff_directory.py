"""The tags of one page of a TIFF file as an EXIF block, without those that say where its pixels lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from .exif_rules import APART, LAYERS, STORAGE
from .values import (
    BIG_SIZES,
    EXIF_IFD,
    LONG,
    MAIN,
    MAKER_NOTE,
    POINTERS,
    SIZES,
    UNDEFINED,
    Value,
    Values,
    is_movable,
    laid_out,
)

# A value of more is left out; gigabytes of tags would fit into a BigTIFF file.
MAX_VALUE_BYTES = 64 * 2**20
MAX_BYTES = 256 * 2**20
BIG_INTEGERS = {16: 4, 17: 9, 18: 13}  # 64 bits, by the type with 32


@dataclass(frozen=True)
class TiffTags:
    """What was found.

    Attributes:
        exif: a block; None if nothing describes the picture.
        apart: values of XMP, IPTC, PHOTOSHOP by tag, as they stand there.
        faults: tags that could not be read.
        is_note_lost: whether there was a maker's note that would mean nothing elsewhere.
    """

    exif: bytes | None
    apart: dict[int, bytes]
    faults: list[int]
    is_note_lost: bool


@dataclass(frozen=True)
class _Form:
    order: str
    big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "L")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        return self.order + ("HHQ" if self.big else "HHL")


def tags_of(file: BinaryIO, page: int) -> TiffTags:
    """The tags of a page, counted from 0; the file is left where it was.

    Raises:
        ValueError: there is no such page, or the file is none.
    """
    position = file.tell()
    try:
        form = _form(file)
        reader = _Reader(file, form)
        values = reader.page(page)
        apart = {tag: values[MAIN].pop(tag).data for tag in APART if tag in values[MAIN]}
        note = values.get(EXIF_IFD, {}).get(MAKER_NOTE)
        is_lost = note is not None and not is_movable(note.data)
        if is_lost:
            del values[EXIF_IFD][MAKER_NOTE]
        return TiffTags(laid_out(values, form.order, form.order), apart, reader.faults, is_lost)
    except struct.error:
        raise ValueError("it ends too early") from None
    finally:
        file.seek(position)


def _form(file: BinaryIO) -> _Form:
    file.seek(0)
    head = file.read(4)
    if head[:2] not in (b"II", b"MM"):
        raise ValueError("no TIFF file")
    return _Form("<" if head[:2] == b"II" else ">", 43 in head[2:])


class _Reader:
    def __init__(self, file: BinaryIO, form: _Form) -> None:
        self._file, self._form = file, form
        self._size = file.seek(0, 2)
        self._taken = 0
        self.faults: list[int] = []

    def page(self, page: int) -> Values:
        form = self._form
        offset = self._numbers(8 if form.big else 4, form.offset)[0]
        seen: set[int] = set()
        for _ in range(page):
            if offset in seen or not offset:
                raise ValueError("no such page")
            seen.add(offset)
            (count,) = self._numbers(offset, form.count)
            end = offset + struct.calcsize(form.count) + count * self._entry_bytes
            (offset,) = self._numbers(end, form.offset)
        return self._directory(MAIN, offset, {offset})

    @property
    def _entry_bytes(self) -> int:
        return struct.calcsize(self._form.entry) + struct.calcsize(self._form.offset)

    def _numbers(self, at: int, format_: str) -> tuple[int, ...]:
        self._file.seek(at)
        return struct.unpack(format_, self._file.read(struct.calcsize(format_)))

    def _directory(self, directory: int, at: int, seen: set[int]) -> Values:
        (count,) = self._numbers(at, self._form.count)
        start = at + struct.calcsize(self._form.count)
        fitting = min(count, (self._size - start) // self._entry_bytes, 2**16)
        self._file.seek(start)
        rows = self._file.read(fitting * self._entry_bytes)
        found: Values = {directory: {}}
        for index in range(fitting):
            row = rows[index * self._entry_bytes : (index + 1) * self._entry_bytes]
            tag, kind, number = struct.unpack_from(self._form.entry, row)
            if tag in POINTERS[directory]:
                found |= self._inner(tag, row, seen)
            elif tag == LAYERS:  # may be larger than the picture
                found[directory][tag] = Value(UNDEFINED, 1, b"\0")
            elif tag not in STORAGE or tag in APART:
                value = self._value(kind, number, row)
                if value is None:
                    self.faults.append(tag)
                else:
                    found[directory].setdefault(tag, value)
        return found

    def _inner(self, tag: int, row: bytes, seen: set[int]) -> Values:
        at = struct.unpack(self._form.offset, row[-struct.calcsize(self._form.offset) :])[0]
        kind = struct.unpack_from(self._form.order + "HH", row)[1]
        if kind in (LONG, 13) and self._form.big:
            at = struct.unpack_from(self._form.order + "L", row, struct.calcsize(self._form.entry))[0]
        if at in seen or not 8 <= at < self._size:
            self.faults.append(tag)
            return {}
        seen.add(at)
        try:
            return self._directory(tag, at, seen)
        except struct.error:
            self.faults.append(tag)
            return {}

    def _value(self, kind: int, count: int, row: bytes) -> Value | None:
        size = BIG_SIZES.get(kind, -1) * count
        width = struct.calcsize(self._form.offset)
        if size < 0 or size > min(MAX_VALUE_BYTES, self._size) or self._taken + size > MAX_BYTES:
            return None
        self._taken += size
        if size <= width:
            return _narrowed(Value(kind, count, row[-width:][:size]), self._form.order)
        (at,) = struct.unpack(self._form.offset, row[-width:])
        self._file.seek(at)
        data = self._file.read(size)
        return _narrowed(Value(kind, count, data), self._form.order) if len(data) == size else None


def _narrowed(value: Value, order: str) -> Value | None:
    """The value with a type of classic TIFF; None if its numbers are too large for that."""
    if value.kind in SIZES:
        return value
    letter = {16: "Q", 17: "q", 18: "Q"}[value.kind]
    numbers = struct.unpack(f"{order}{value.count}{letter}", value.data)
    kind = BIG_INTEGERS[value.kind]
    try:
        return Value(kind, value.count, struct.pack(f"{order}{value.count}{'l' if kind == 9 else 'L'}", *numbers))
    except struct.error:
        return None
