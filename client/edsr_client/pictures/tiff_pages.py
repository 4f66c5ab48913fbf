"""The directories of a TIFF file as they stand there: also of those kinds that Pillow does not open."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

WIDTH, HEIGHT, STRIP_OFFSETS, STRIP_SIZES, STRIP_ROWS = 256, 257, 273, 279, 278
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
ORIENTATION, LONG = 274, 4
# TIFF 6.0, section 2, and BigTIFF: format of a value by type; fractions are pairs.
FORMATS = {1: "B", 2: "s", 3: "H", 4: "L", 5: "LL", 6: "b", 7: "s", 8: "h", 9: "l", 10: "ll", 11: "f", 12: "d"}
FORMATS |= {13: "L", 16: "Q", 17: "q", 18: "Q"}
# Formats of the number of entries; of tag, type and number of values; of an offset: of TIFF and BigTIFF.
DIRECTORIES = (("H", "HHL", "L"), ("Q", "HHQ", "Q"))
STARTS = (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b")
MAX_BYTES = 2**32 - 2**24
# More are rather a mistake, or an attack, than a file.
MAX_PAGES = 100_000
# Type, number of values, and their bytes.
Entry = tuple[int, int, bytes]


@dataclass(frozen=True)
class Page:
    """One directory of a file.

    Attributes:
        order: "<" or ">", of all that follows.
        is_big: whether it is BigTIFF.
        tags: as numbers, tuples of numbers, or bytes.
        raw: the same as they stand in the file.
    """

    order: str
    is_big: bool
    tags: Mapping[int, Any]
    raw: Mapping[int, Entry]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return int(self.tags[WIDTH]), int(self.tags[HEIGHT])

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All values of a tag; () without it."""
        value = self.tags.get(tag, ())
        return tuple(value) if isinstance(value, tuple | bytes) else (int(value),)


def is_tiff(data: bytes) -> bool:
    """Whether a file's content begins as TIFF or BigTIFF does."""
    return data[:4] in STARTS


def pages_of(file: BinaryIO) -> list[Page]:
    """All pages, in their order.

    Raises:
        ValueError: the first directory is no directory, or there are too many.
    """
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    (offset,) = struct.unpack_from(order + DIRECTORIES[big][2], head, 8 if big else 4)
    pages: list[Page] = []
    seen: set[int] = set()
    while offset and offset not in seen:
        if len(pages) > MAX_PAGES:
            raise ValueError(f"more than {MAX_PAGES:,} pages")
        seen.add(offset)
        try:
            page, offset = _page(file, offset, order, big, end)
        except struct.error:
            if not pages:
                raise ValueError("it has no directory where it should be") from None
            break
        pages.append(page)
    if not pages:
        raise ValueError("it has no directory")
    return pages


def file_of(order: str, entries: Mapping[int, Entry], blocks: Sequence[bytes], offsets: int) -> bytes:
    """The content of a TIFF file of one page.

    Args:
        order: "<" or ">", of the values.
        entries: every tag but the offsets.
        blocks: strips or tiles.
        offsets: the tag that says where they stand.

    Raises:
        ValueError: it would be too large.
    """
    if sum(map(len, blocks)) > MAX_BYTES:
        raise ValueError("it has more than 4 GB of data")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HL", 42, 8)

    def directory(first: int) -> bytes:
        positions = [first, *(first + end for end in accumulate(len(block) for block in blocks[:-1]))]
        values = struct.pack(f"{order}{len(blocks)}L", *positions)
        return _packed({**entries, offsets: (LONG, len(blocks), values)}, order, False, len(head))

    return b"".join([head, directory(len(head) + len(directory(0))), *blocks])


class Retold(io.RawIOBase):
    """A TIFF file with another first directory, the only one: its content, and that behind it.

    Args:
        file: the file; it stays open and unchanged.
        page: one of its pages, for the byte order.
        entries: all tags.
    """

    def __init__(self, file: BinaryIO, page: Page, entries: Mapping[int, Entry]) -> None:
        self._file, self._position = file, 0
        end = file.seek(0, 2)
        self._end = end + end % 2
        big = page.is_big and page.order == "<"  # Pillow takes big-endian BigTIFF for something else
        self._tail = _packed(entries, page.order, big, self._end)
        self._head = b"II" if page.order == "<" else b"MM"
        self._head += struct.pack(page.order + ("HHHQ" if big else "HL"), *((43, 8, 0) if big else (42,)), self._end)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._position, self._end + len(self._tail))[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        at, wanted = self._position, len(buffer)
        if at < len(self._head):
            found = self._head[at : at + wanted]
        elif at >= self._end:
            found = self._tail[at - self._end : at - self._end + wanted]
        else:
            self._file.seek(at)
            found = self._file.read(min(wanted, self._end - at)) or bytes(min(wanted, self._end - at))
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


def _packed(entries: Mapping[int, Entry], order: str, big: bool, start: int) -> bytes:
    """A directory that stands at `start`, the last one, and its values."""
    count_form, entry_form, field_form = DIRECTORIES[big]
    field = struct.calcsize("=" + field_form)
    table = struct.pack(order + count_form, len(entries))
    at = start + len(table) + len(entries) * (struct.calcsize("=" + entry_form) + field) + field
    values = b""
    for tag, (kind, count, value) in sorted(entries.items()):
        packed = value.ljust(field, b"\0")
        if len(value) > field:
            packed = struct.pack(order + field_form, at + len(values))
            values += value + bytes(len(value) % 2)
        table += struct.pack(order + entry_form, tag, kind, count) + packed
    return table + bytes(field) + values


def _page(file: BinaryIO, offset: int, order: str, big: bool, end: int) -> tuple[Page, int]:
    """A page, and where the next one is; `end` of the file."""
    count_form, entry_form, field_form = DIRECTORIES[big]
    field = struct.calcsize("=" + field_form)
    file.seek(offset)
    (count,) = struct.unpack(order + count_form, file.read(struct.calcsize("=" + count_form)))
    size = struct.calcsize("=" + entry_form) + field
    table = file.read(min(count, 65_536) * size + field)
    if len(table) < count * size:
        raise struct.error
    raw = {}
    for index in range(count):
        tag, kind, values = struct.unpack_from(order + entry_form, table, index * size)
        entry = table[index * size + size - field : (index + 1) * size]
        if kind in FORMATS:
            length = min(values * struct.calcsize("=" + FORMATS[kind]), end)
            raw[tag] = (kind, values, _bytes(file, entry, length, order, field))
    following = table[count * size :]
    after = struct.unpack(order + field_form, following)[0] if len(following) == field else 0
    return Page(order, big, {tag: _value(order, *entry) for tag, entry in raw.items()}, raw), after


def _bytes(file: BinaryIO, entry: bytes, length: int, order: str, field: int) -> bytes:
    if length <= field:
        return entry[:length]
    file.seek(struct.unpack(order + ("Q" if field == 8 else "L"), entry)[0])
    return file.read(length)


def _value(order: str, kind: int, _count: int, data: bytes) -> Any:
    form = FORMATS[kind]
    if form == "s":
        return data
    size = struct.calcsize("=" + form)
    whole = len(data) // size  # less than there should be where the file ends
    values = struct.unpack(f"{order}{whole * len(form)}{form[0]}", data[: whole * size])
    return values[0] if len(values) == 1 else values
