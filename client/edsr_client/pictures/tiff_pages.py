"""The directories of a TIFF file as they stand there: also of those kinds that Pillow does not open."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

NEWER_SUBFILE, WIDTH, HEIGHT, STRIP_OFFSETS, STRIP_SIZES, STRIP_ROWS = 254, 256, 257, 273, 279, 278
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
MAX_PAGES, MAX_TAGS = 100_000, 65_536
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


def pages_of(file: BinaryIO) -> list[tuple[int, bool]]:
    """Of all pages, in their order, where the directory stands, and whether it is a picture of its own.

    The others are smaller copies of one.

    Raises:
        ValueError: the first directory is no directory, or there are too many.
    """
    order, big = _form(file)
    (offset,) = struct.unpack(order + DIRECTORIES[big][2], file.read(8 if big else 4))
    pages: dict[int, bool] = {}
    while offset and offset not in pages:
        if len(pages) > MAX_PAGES:
            raise ValueError(f"more than {MAX_PAGES:,} pages")
        try:
            entries, after = _entries(file, offset, order, big)
        except struct.error:
            if not pages:
                raise ValueError("it has no directory where it should be") from None
            break
        kind, _, field = entries.get(NEWER_SUBFILE, (LONG, 1, bytes(8)))
        is_copy = FORMATS[kind] in ("B", "H", "L") and struct.unpack_from(order + FORMATS[kind], field)[0] & 1
        pages[offset] = not is_copy
        offset = after
    if not pages:
        raise ValueError("it has no directory")
    return list(pages.items())


def page_at(file: BinaryIO, offset: int) -> Page:
    """The page whose directory stands at an offset.

    Raises:
        ValueError: its tags hold more than the file: they lie over each other.
    """
    order, big = _form(file)
    entries, _ = _entries(file, offset, order, big)
    left = file.seek(0, 2)
    raw = {}
    for tag, (kind, count, field) in entries.items():
        length = count * struct.calcsize("=" + FORMATS[kind])
        value = field[:length]
        if length > len(field):
            file.seek(struct.unpack(order + DIRECTORIES[big][2], field)[0])
            value = file.read(min(length, left))
            left -= len(value)
        raw[tag] = (kind, count, value)
    if left <= 0:
        raise ValueError("its tags lie over each other")
    return Page(order, big, _Values(order, raw), raw)


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


def _form(file: BinaryIO) -> tuple[str, bool]:
    """Byte order, and whether it is BigTIFF; the pointer to the first directory comes next."""
    file.seek(0)
    head = file.read(4)
    order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    file.seek(8 if big else 4)
    return order, big


def _entries(file: BinaryIO, offset: int, order: str, big: bool) -> tuple[dict[int, Entry], int]:
    """Of every tag its type, the number of its values, and them or where they are; and where the next directory is."""
    count_form, entry_form, field_form = DIRECTORIES[big]
    field = struct.calcsize("=" + field_form)
    file.seek(offset)
    (count,) = struct.unpack(order + count_form, file.read(struct.calcsize("=" + count_form)))
    size = struct.calcsize("=" + entry_form) + field
    table = file.read(min(count, MAX_TAGS) * size + field)
    if len(table) < count * size:
        raise struct.error
    entries: dict[int, Entry] = {}
    for start in range(0, count * size, size):
        tag, kind, values = struct.unpack_from(order + entry_form, table, start)
        if kind in FORMATS:
            entries[tag] = (kind, values, table[start + size - field : start + size])
    following = table[count * size :]
    return entries, struct.unpack(order + field_form, following)[0] if len(following) == field else 0


class _Values(Mapping[int, Any]):
    """The values of tags, unpacked when they are asked for."""

    def __init__(self, order: str, raw: Mapping[int, Entry]) -> None:
        self._order, self._raw = order, raw

    def __getitem__(self, tag: int) -> Any:
        kind, _, data = self._raw[tag]
        form = FORMATS[kind]
        if form == "s":
            return data
        size = struct.calcsize("=" + form)
        whole = len(data) // size  # less than there should be where the file ends
        values = struct.unpack(f"{self._order}{whole * len(form)}{form[0]}", data[: whole * size])
        return values[0] if len(values) == 1 else values

    def __iter__(self) -> Iterator[int]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)
