"""JPEG: its segments, without decoding (ITU-T T.81, annex B)."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SOI, EOI, SOS, DRI, APP1 = 0xD8, 0xD9, 0xDA, 0xDD, 0xE1
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
# In entropy-coded data 0xFF is followed by 0, by a restart marker, or by padding: anything else is the next marker.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
EXIF_HEADER = b"Exif\0\0"


@dataclass
class Jpeg:
    """What the segments say.

    Attributes:
        size: (width, height); (0, 0) before a frame header.
        is_progressive: whether coefficients come in several scans.
        scans: how many there are.
        is_ended: whether the end marker is there.
        has_restarts: whether restart markers stand between its parts.
        exif: all EXIF segments in one, as decoders join them.
        missing: (component, coefficient) that no scan has brought in full precision.
    """

    size: tuple[int, int] = (0, 0)
    is_progressive: bool = False
    scans: int = 0
    is_ended: bool = False
    has_restarts: bool = False
    exif: bytes = b""
    missing: set[tuple[int, int]] = field(default_factory=set)


def jpeg_of(data: bytes | mmap.mmap) -> Jpeg:
    """What the segments of the first picture of a file say, as far as they go."""
    found = Jpeg()
    exif: list[bytes] = []
    for marker, body in _segments(data):
        if marker == EOI:
            found.is_ended = True
        elif marker == DRI:
            found.has_restarts = True
        elif marker == APP1 and body[: len(EXIF_HEADER)] == EXIF_HEADER:
            exif.append(bytes(body[len(EXIF_HEADER) if exif else 0 :]))
        elif marker in FRAMES and len(body) >= 6:
            height, width, components = struct.unpack_from(">HHB", body, 1)
            found.size, found.is_progressive = (width, height), marker in PROGRESSIVE
            names = body[6 : 6 + 3 * components : 3]
            found.missing = {(name, at) for name in names for at in range(64 if found.is_progressive else 1)}
        elif marker == SOS and body:
            found.scans += 1
            found.missing -= _brought(bytes(body), found.is_progressive)
    found.exif = b"".join(exif)
    return found


def _brought(body: bytes, is_progressive: bool) -> set[tuple[int, int]]:
    """What a scan brings to its full precision; in a baseline file each component is one piece."""
    count = body[0]
    names = body[1 : 1 + 2 * count : 2]
    tail = body[1 + 2 * count : 4 + 2 * count]
    if not is_progressive:
        return {(name, 0) for name in names}
    if len(tail) < 3 or tail[2] & 15:
        return set()
    return {(name, at) for name in names for at in range(tail[0], min(tail[1], 63) + 1)}


def _segments(data: bytes | mmap.mmap) -> Iterator[tuple[int, memoryview]]:
    """(marker, content) up to the end marker, or to where the file breaks off."""
    view, position = memoryview(data), 2
    while (found := NEXT_MARKER.search(data, position)) is not None:
        marker = data[found.start() + 1]
        position = found.end()
        if marker == EOI:
            yield marker, view[:0]
            return
        if marker in (SOI, 0x01):
            continue
        if position + 2 > len(data):
            return
        length = int.from_bytes(data[position : position + 2], "big")
        yield marker, view[position + 2 : position + length]
        position += max(2, length)
