"""JPEG files that lack their end marker alone: whole pictures, which viewers show."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from .structure.jpeg import jpeg_of

END = b"\xff\xd9"
# What a decoder takes for more of the picture, if it still waits for some. Several, for the first bits of one may
# happen to say "nothing follows". After the last part before a restart marker only the right marker lets it go on.
FILLERS = tuple(
    bytes([first]) + b"\x5a\xc3\x3c\x96\x0f" * 200 for first in (0x00, 0x24, 0x5A, 0x7D, 0x93, 0xB6, 0xD9, 0xFE)
)
RESTARTS = tuple(bytes([0xFF, 0xD0 + number]) for number in range(8))
NOTE = "the JPEG file lacks its end marker; all pixels are there"


def with_end(data: bytes) -> tuple[bytes, list[str]]:
    """The file with its end marker, if that is all it lacks, and a note; else as it is.

    Whether all pixels are there shows by what a decoder makes of bytes added at the end: nothing, if it needs none.
    """
    if data[:2] != b"\xff\xd8" or data.endswith(END):
        return data, []
    found = jpeg_of(data)
    if found.is_ended or not found.scans or found.missing or data.endswith(b"\xff"):
        return data, []
    try:
        expected = _digest(data + END)
        more = [*FILLERS, *(restart + FILLERS[2] for restart in RESTARTS if found.has_restarts)]
        if any(_digest(data + filler + END) != expected for filler in more):
            return data, []
    except (OSError, SyntaxError, ValueError):
        return data, []
    return data + END, [NOTE]


def _digest(data: bytes) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return hashlib.blake2b(np.ascontiguousarray(image).data).digest()
