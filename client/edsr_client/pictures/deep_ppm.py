"""PPM files with more than 8 bits a colour, which Pillow reads as 8."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINARY, TEXT = b"P6", b"P3"
SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
HEADER = re.compile(rb"(P[36])" + SPACE + rb"(\d{1,9})" + SPACE + rb"(\d{1,9})" + SPACE + rb"(\d{1,9})\s")


def deep_ppm(data: bytes) -> NDArray[Any] | None:
    """uint16 [H, W, 3] over all levels; None for a file with 8 bits a colour, or of another kind.

    Raises:
        ValueError: it is truncated, or has levels above its own largest.
    """
    head = HEADER.match(data)
    if head is None or not 255 < int(head[4]) < 65_536:
        return None
    width, height, top = (int(head[index]) for index in (2, 3, 4))
    count = 3 * width * height
    if head[1] == BINARY:
        levels = np.frombuffer(data, ">u2", min(count, (len(data) - head.end()) // 2), head.end())
    else:
        levels = np.array(re.sub(rb"#[^\r\n]*", b"", data[head.end() :]).split()[:count], np.uint32)
    if len(levels) < count:
        raise ValueError("image file is truncated")
    if levels.max() > top:
        raise ValueError(f"it has levels above {top}")
    spread = (levels.astype(np.uint32) * 65_535 + top // 2) // top
    return spread.astype(np.uint16).reshape(height, width, 3)
