"""PNG files, with 8 or 16 bits a channel: pixels by `png_rows`, metadata as Pillow makes it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from .formats import Format
from .metadata import Metadata
from .png_effort import Effort
from .png_rows import Bytes, as_bytes, packed, strip_rows

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What every PNG file has; all others of a file that Pillow wrote hold metadata.
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# Of grey, grey with alpha, RGB, RGBA (specification, 11.2.1).
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def encode_png(image: NDArray[Any], metadata: Metadata, format_: Format, effort: Effort) -> bytes:
    """The content of a PNG file.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, C], C of 1 to 4.
        metadata: what to put beside the pixels.
        format_: PNG.
        effort: of the compression.
    """
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    rows = strip_rows(width * channels * image.itemsize)
    strips = (as_bytes(image[top : top + rows]) for top in range(0, height, rows))
    return b"".join(png_parts((width, height), channels, image.itemsize, strips, metadata, format_, effort))


def png_parts(
    size: tuple[int, int],
    channels: int,
    itemsize: int,
    strips: Iterable[Bytes],
    metadata: Metadata,
    format_: Format,
    effort: Effort,
) -> Iterator[bytes]:
    """The same in parts, for pictures that are larger than memory.

    Args:
        size: (width, height).
        channels, itemsize: of a pixel, and bytes of each.
        strips: rows from the top, as `png_rows.as_bytes` gives them.
        metadata, format_, effort: as for `encode_png`.
    """
    header = struct.pack(">2I5B", *size, 8 * itemsize, COLOUR_TYPES[channels], 0, 0, 0)
    yield SIGNATURE + _chunk(b"IHDR", header) + b"".join(metadata_chunks(metadata, channels < 3, format_))
    for part in packed(strips, channels * itemsize, effort):
        yield _chunk(b"IDAT", part)
    yield _chunk(b"IEND", b"")


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


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
