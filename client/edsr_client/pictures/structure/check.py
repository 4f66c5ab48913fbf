"""The checks that come before decoders, by the kind of file."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ...errors import ImageTooLargeError
from ..budget import Budget
from . import gif, isobmff, jpeg, tags, webp

# libavif's own limits (AVIF_DEFAULT_IMAGE_SIZE_LIMIT, _DIMENSION_LIMIT), which Pillow leaves as they are.
AVIF_MAX_PIXELS, AVIF_MAX_SIDE_PX = 16_384 * 16_384, 32_768
AVIF_BRANDS = (b"avif", b"avis")
TILE_WIDTH, TILE_HEIGHT, WIDTH, HEIGHT, STRIP_ROWS, BITS, SAMPLES = 322, 323, 256, 257, 278, 258, 277
PNG = b"\x89PNG\r\n\x1a\n"
# Pillow reads what precedes the pixels of a PNG file; these chunks it hands on as they are.
EXIF_CHUNK = b"eXIf"
RAW_PROFILES = ("Raw profile type exif", "Raw profile type APP1")


def check_structure(data: bytes | mmap.mmap, budget: Budget, frame: int | None = None) -> None:
    """Go through a file's structure, and refuse what a decoder would allocate too much for.

    Args:
        data: the file's content.
        budget: the limits.
        frame: that alone is wanted, of an animation or of several pages.

    Raises:
        ImageTooLargeError: a canvas, frames, tags, strips or scans are over the limits.
    """
    if data[:6] in gif.SIGNATURES and len(data) >= 13:
        size, count = gif.canvas_of(data)
        budget.check_size(size, "a canvas of ")
        budget.check_frames(1 if frame is not None else count, size)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        canvas = webp.canvas_of(data)
        if canvas is not None:
            budget.check_size(canvas)
    elif data[4:8] == b"ftyp":
        _check_boxes(data, budget)
    elif data[:2] == b"\xff\xd8":
        found = jpeg.jpeg_of(data)
        budget.check_size(found.size)
        budget.check_scans(found.scans, found.size)
        check_exif(found.exif, budget)
    elif tags.is_tiff(data):
        tags.check_tags(data, budget, "its tags")
        page = frame if frame is not None and frame >= 0 else 0
        _check_tile(next(islice(tags.directories(data), page, None), {}), budget)
    elif data[: len(PNG)] == PNG:
        for content in _exif_chunks(data):
            check_exif(content, budget)


def check_exif(content: bytes, budget: Budget) -> None:
    """Raise ImageTooLargeError if EXIF data would unpack to far more than they are."""
    tags.check_tags(content.removeprefix(jpeg.EXIF_HEADER), budget, "its EXIF data")


def check_opened(info: Mapping[Any, Any], budget: Budget) -> None:
    """The same for EXIF data that only an opened file shows: WebP's, and what ImageMagick hides in texts of PNG.

    Args:
        info: what Pillow tells of an opened file.
        budget: the limits.
    """
    exif = info.get("exif")
    if isinstance(exif, bytes):
        check_exif(exif, budget)
    for key in RAW_PROFILES:
        text = info.get(key)
        if isinstance(text, str | bytes):
            with contextlib.suppress(ValueError):
                digits = "".join((text if isinstance(text, str) else text.decode("latin-1")).split("\n")[3:])
                check_exif(bytes.fromhex(digits), budget)


def _exif_chunks(data: bytes | mmap.mmap) -> Iterator[bytes]:
    position = len(PNG)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == EXIF_CHUNK:
            yield data[position + 8 : position + 8 + length]
        position += length + 12


def _check_boxes(data: bytes | mmap.mmap, budget: Budget) -> None:
    found = isobmff.boxes_of(data)
    size = found.largest
    budget.check_size(size)
    for exif in found.exif:
        check_exif(exif, budget)
    if data[8:12] in AVIF_BRANDS and (size[0] * size[1] > AVIF_MAX_PIXELS or max(size) > AVIF_MAX_SIDE_PX):
        raise ImageTooLargeError(
            f"{budget.name} is an AVIF picture of {size[0]}x{size[1]}. The decoder here takes {AVIF_MAX_PIXELS:,} "
            f"pixels and {AVIF_MAX_SIDE_PX:,} a side; convert it to TIFF with another program first."
        )


def _check_tile(directory: dict[int, tags.Tag], budget: Budget) -> None:
    """Decoders make room for a whole tile, however small the picture is."""

    def first(tag: int, otherwise: int) -> int:
        values = directory[tag].values if tag in directory else ()
        return values[0] if values else otherwise

    width, height = first(WIDTH, 0), first(HEIGHT, 0)
    budget.check_size((width, height))
    across, down = first(TILE_WIDTH, width), first(TILE_HEIGHT, min(height, first(STRIP_ROWS, height)))
    bits = max(directory[BITS].values, default=1) if BITS in directory else 1
    budget.check_tile(across * down * first(SAMPLES, 1) * -(-bits // 8))
