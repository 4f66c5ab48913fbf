"""GIF: the canvas that all frames need together, which decoders enlarge as frames come (GIF89a, sections 18 to 20)."""

from __future__ import annotations

import mmap
import struct

SIGNATURES = (b"GIF87a", b"GIF89a")
IMAGE, EXTENSION = 0x2C, 0x21


def canvas_of(data: bytes | mmap.mmap) -> tuple[tuple[int, int], int]:
    """(width, height) that hold the screen and every frame, and the number of frames, as far as the file is whole."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _palette(flags)
    frames = 0
    while position < len(data):
        block = data[position]
        position += 1
        if block == IMAGE and position + 9 <= len(data):
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, position)
            width, height, frames = max(width, left + across), max(height, top + down), frames + 1
            position = _after_blocks(data, position + 9 + _palette(flags) + 1)
        elif block == EXTENSION:
            position = _after_blocks(data, position + 1)
        # Decoders step over what is neither, the end mark excepted.
        elif block == 0x3B:
            break
    return (width, height), frames


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes | mmap.mmap, position: int) -> int:
    while position < len(data) and data[position]:
        position += data[position] + 1
    return position + 1
