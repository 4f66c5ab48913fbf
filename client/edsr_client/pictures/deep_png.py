"""PNG files with 16 bits a channel, which Pillow cannot write: pixels by OpenCV, metadata as Pillow makes it."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import Format
from .metadata import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What every PNG file has; all others of a file that Pillow wrote hold metadata.
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def encode_deep_png(image: NDArray[Any], metadata: Metadata, format_: Format) -> bytes:
    """The content of a PNG file.

    Args:
        image: uint16, [H, W] or [H, W, C], C of 1 to 4.
        metadata: what to put beside the pixels.
        format_: PNG.

    Raises:
        ValueError: the encoder fails.
    """
    import cv2

    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[2] == 2:  # OpenCV has no grey with alpha
        image = np.concatenate([image[..., :1].repeat(3, axis=2), image[..., 1:]], axis=2)
    order = [2, 1, 0, 3]
    done, encoded = cv2.imencode(".png", image if image.ndim == 2 else image[..., order[: image.shape[2]]])
    if not done:
        raise ValueError("the PNG encoder failed")
    content = encoded.tobytes()
    head = len(SIGNATURE) + 25  # IHDR: length, name, 13 bytes, checksum
    return content[:head] + b"".join(metadata_chunks(metadata, image.ndim == 2, format_)) + content[head:]


def metadata_chunks(metadata: Metadata, grey: bool, format_: Format) -> Iterator[bytes]:
    """The chunks that hold it, taken from a PNG file of one pixel that Pillow writes."""
    from PIL import Image

    from .encode import save_options

    file = io.BytesIO()
    Image.new("L" if grey else "RGB", (1, 1)).save(file, "PNG", **save_options(metadata, format_))
    content, position = file.getvalue(), len(SIGNATURE)
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        if name not in PIXEL_CHUNKS:
            yield content[position : position + length + 12]
        position += length + 12
