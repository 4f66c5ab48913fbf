"""AVIF and HEIC: the sizes that boxes claim, of items, grids, overlays and tracks (ISO/IEC 14496-12, 23008-12).

Decoders allocate a grid's canvas by its own words, however few and small its tiles are.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

# Boxes that hold boxes, and how many bytes come before those.
CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0}
DERIVED = (b"grid", b"iovl")
MAX_BOXES, MAX_EXTENTS, DEPTH = 100_000, 10_000, 8
HEAD_BYTES = 64


@dataclass
class Boxes:
    """What a file claims.

    Attributes:
        sizes: every (width, height) of items, grids, overlays, tracks.
        exif: the EXIF data, beginning with a TIFF header.
    """

    sizes: list[tuple[int, int]] = field(default_factory=list)
    exif: list[bytes] = field(default_factory=list)

    @property
    def largest(self) -> tuple[int, int]:
        """The size of most pixels; (0, 0) if none is named."""
        return max(self.sizes, key=lambda size: size[0] * size[1], default=(0, 0))


@dataclass
class _Items:
    kinds: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, tuple[int, list[tuple[int, int]]]] = field(default_factory=dict)
    data_at: int = 0


def boxes_of(data: bytes | mmap.mmap) -> Boxes:
    """What the boxes claim, as far as they can be read."""
    found, items = Boxes(), _Items()
    for kind, begin, end in _walk(data, 0, len(data), 0, [MAX_BOXES]):
        try:
            _read(data, kind, begin, end, found, items)
        except (struct.error, IndexError):  # cut short: its decoder will say so
            continue
    for item, kind in items.kinds.items():
        if kind in DERIVED:
            found.sizes += _derived(_content(data, item, items, HEAD_BYTES), kind)
        elif kind == b"Exif":
            content = _content(data, item, items, len(data))
            found.exif.append(content[4 + int.from_bytes(content[:4], "big") :])
    return found


def _read(data: bytes | mmap.mmap, kind: bytes, begin: int, end: int, found: Boxes, items: _Items) -> None:
    if kind == b"ispe":
        found.sizes.append(struct.unpack_from(">II", data, begin + 4))
    elif kind == b"tkhd":
        width, height = struct.unpack_from(">II", data, end - 8)
        found.sizes.append((width >> 16, height >> 16))
    elif kind == b"infe" and data[begin] >= 2:
        wide = data[begin] >= 3
        (item,) = struct.unpack_from(">I" if wide else ">H", data, begin + 4)
        at = begin + 4 + (4 if wide else 2) + 2
        items.kinds[item] = data[at : at + 4]
    elif kind == b"idat":
        items.data_at = begin
    elif kind == b"iloc":
        items.places |= _places(data, begin, end)


def _walk(
    data: bytes | mmap.mmap, begin: int, end: int, depth: int, left: list[int]
) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of every box that counts."""
    position = begin
    while position + 8 <= end and left[0] > 0:
        left[0] -= 1
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1 and position + 16 <= end:
            size, head = int(struct.unpack_from(">Q", data, position + 8)[0]), 16
        size = size or end - position
        if size < head:
            return
        inner, last = position + head, min(end, position + size)
        if kind in CONTAINERS and depth < DEPTH:
            yield from _walk(data, inner + CONTAINERS[kind], last, depth + 1, left)
        elif kind == b"iinf" and inner < last:
            yield from _walk(data, inner + (6 if data[inner] == 0 else 8), last, depth + 1, left)
        else:
            yield kind, inner, last
        position += size


def _places(data: bytes | mmap.mmap, begin: int, end: int) -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """Of every item in `iloc` how it is placed, and its (offset, length) there."""
    version, sizes = data[begin], struct.unpack_from(">H", data, begin + 4)[0]
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version else 0
    position, left = begin + 6, MAX_EXTENTS

    def number(count: int) -> int:
        nonlocal position
        position += count
        if position > end:
            raise IndexError
        return int.from_bytes(data[position - count : position], "big")

    wide = 4 if version == 2 else 2
    found: dict[int, tuple[int, list[tuple[int, int]]]] = {}
    for _ in range(min(number(wide), MAX_EXTENTS)):
        item = number(wide)
        how = number(2) & 15 if version else 0
        number(2)
        base, extents = number(base_bytes), []
        for _ in range(number(2)):
            number(index_bytes)
            extents.append((base + number(offset_bytes), number(length_bytes)))
            left -= 1
            if left < 0:
                return found
        found[item] = (how, extents)
    return found


def _content(data: bytes | mmap.mmap, item: int, items: _Items, most: int) -> bytes:
    how, extents = items.places.get(item, (0, []))
    start = items.data_at if how == 1 else 0
    parts, held = [], 0
    for offset, length in extents:
        part = data[start + offset : start + offset + min(length or len(data), most - held)]
        parts.append(part)
        held += len(part)
        if held >= most:
            break
    return b"".join(parts)


def _derived(content: bytes, kind: bytes) -> list[tuple[int, int]]:
    """The canvas of a grid or an overlay."""
    if len(content) < 8:
        return []
    wide = content[1] & 1
    at = 4 if kind == b"grid" else 10
    try:
        return [struct.unpack_from(">II" if wide else ">HH", content, at)]
    except struct.error:
        return []
