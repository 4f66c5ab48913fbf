"""WebP: the canvas, which its decoder allocates when it opens a file (RFC 9649, sections 2.5 to 2.7)."""

from __future__ import annotations

import mmap
import struct


def canvas_of(data: bytes | mmap.mmap) -> tuple[int, int] | None:
    """(width, height) of the canvas; None if the header is none."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
