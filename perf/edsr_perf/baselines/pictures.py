"""The picture that everybody upscales, and its content as a file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
PHOTOGRAPH = Path("demo/photograph.png")
JPEG_QUALITY = 95


def photograph(root: Path, height: int, width: int) -> Pixels:
    """uint8 [height, width, 3] RGB: the middle of the committed photograph, mirrored where that is not enough."""
    from PIL import Image

    return fitted(np.asarray(Image.open(root / PHOTOGRAPH).convert("RGB")), height, width)


def fitted(picture: Pixels, height: int, width: int) -> Pixels:
    """The middle of a picture in that size; it goes on mirrored at its borders."""
    missing = [max(0, size - side) for size, side in zip((height, width), picture.shape[:2], strict=True)]
    around = [(side // 2, side - side // 2) for side in missing]
    larger = np.pad(picture, [*around, (0, 0)], mode="symmetric")
    top, left = (larger.shape[0] - height) // 2, (larger.shape[1] - width) // 2
    return np.ascontiguousarray(larger[top : top + height, left : left + width])


def encoded(picture: Pixels, format_: str) -> bytes:
    """The content of a PNG or JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if format_ == "jpeg" else {}
    Image.fromarray(picture).save(file, format_.upper(), **options)
    return file.getvalue()


def decoded(content: bytes) -> Pixels:
    """uint8 [H, W, 3] RGB of a file's content."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
