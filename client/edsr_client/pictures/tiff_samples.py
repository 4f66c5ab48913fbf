"""The samples of a TIFF page, whatever its planes, tiles and byte order: Pillow decodes them as one grey plane each,
and what stands in them is put in order here.

Pillow reads three or four channels of 16 bits as 8, and many kinds not at all; OpenCV misreads planes. As planes of
numbers all are the same to it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tiff_kinds import JPEG, WITH_PREDICTOR, Kind
from .tiff_pages import (
    HEIGHT,
    STRIP_OFFSETS,
    STRIP_ROWS,
    STRIP_SIZES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_SIZES,
    TILE_WIDTH,
    WIDTH,
    Page,
    file_of,
)

LONG = 4
JPEG_TABLES, FILL_ORDER, COMPRESSION = 347, 266, 259
UNPACKED_ROWS = 64
# Every byte with its bits the other way round.
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

Samples = NDArray[Any]


def samples_of(data: bytes, page: Page, kind: Kind, wanted: Sequence[int], max_samples: int) -> Samples:
    """Some samples of every pixel: uint8 or uint16 [H, W, len(wanted)], at the levels of the file.

    Args:
        data: the file's content.
        page: of the file.
        kind: of the page, one that is_for_samples.
        wanted: indices of the samples.
        max_samples: the most to be unpacked at a time.

    Raises:
        ValueError: it is truncated, or its tags are at odds with each other.
        OSError: its data are damaged.
    """
    blocks = _blocks(data, page)
    if not kind.is_planar:
        return _plane(page, kind, blocks, kind.samples, max_samples)[..., list(wanted)]
    each = len(blocks) // kind.samples
    if not each or len(blocks) % kind.samples:
        raise ValueError(f"{len(blocks)} blocks of data for {kind.samples} planes")
    planes = [_plane(page, kind, blocks[each * index : each * (index + 1)], 1, max_samples) for index in wanted]
    return np.concatenate(planes, axis=2)


def _blocks(data: bytes, page: Page) -> list[bytes]:
    is_tiled = TILE_WIDTH in page.tags
    offsets = page.numbers(TILE_OFFSETS if is_tiled else STRIP_OFFSETS) or page.numbers(STRIP_OFFSETS)
    sizes = page.numbers(TILE_SIZES if is_tiled else STRIP_SIZES) or page.numbers(STRIP_SIZES)
    if len(offsets) == 1 and not sizes:
        sizes = (len(data) - offsets[0],)
    if not offsets or len(offsets) != len(sizes):
        raise ValueError("its tags do not say where its data are")
    if any(offset + size > len(data) for offset, size in zip(offsets, sizes, strict=True)):
        raise ValueError("its data end before they should")
    blocks = [data[offset : offset + size] for offset, size in zip(offsets, sizes, strict=True)]
    is_reversed = (page.numbers(FILL_ORDER) or (1,))[0] == 2
    return [block.translate(REVERSED) for block in blocks] if is_reversed else blocks


def _plane(page: Page, kind: Kind, blocks: list[bytes], samples: int, max_samples: int) -> Samples:
    """Strips or tiles of `samples` to the pixel; [H, W, samples]."""
    width, height = page.size
    block, rows = (width, int(page.tags.get(STRIP_ROWS, height)))
    if kind.is_tiled:
        block, rows = int(page.tags[TILE_WIDTH]), int(page.tags[TILE_HEIGHT])
    if min(width, height, block, rows) < 1:
        raise ValueError("its tags name no size")
    across = -(-width // block)
    is_packed = kind.depth not in (8, 16)
    numbers = -(-block * samples * kind.depth // 8) if is_packed else block * samples  # in a row of a block
    if across * numbers * height > max_samples:
        raise ValueError("it has too many samples in each pixel, or its tiles are far larger than it is")
    grid = _decoded(page, kind, blocks, (numbers, min(rows, height) if not kind.is_tiled else rows), across, height)
    grid = grid.reshape(height, across, numbers)
    if is_packed:
        grid = _unpacked(grid, block * samples, kind.depth)
    grid = grid.reshape(height, across, block, samples)
    if kind.predictor == 2 and kind.compression in WITH_PREDICTOR:
        grid = np.cumsum(grid, axis=2, dtype=grid.dtype)
    return grid.reshape(height, across * block, samples)[:, :width]


def _decoded(page: Page, kind: Kind, blocks: list[bytes], block: tuple[int, int], across: int, height: int) -> Samples:
    """Blocks of (numbers in a row, rows) as the grey picture that they are to Pillow."""
    from PIL.TiffImagePlugin import TiffImageFile

    depth = 16 if kind.depth == 16 else 8
    tags = {WIDTH: across * block[0], HEIGHT: height, 258: depth, COMPRESSION: kind.compression, 262: 1, 277: 1, 284: 1}
    is_tiled = TILE_WIDTH in page.tags
    tags |= {TILE_WIDTH: block[0], TILE_HEIGHT: block[1]} if is_tiled else {STRIP_ROWS: block[1]}
    entries = {tag: (LONG, 1, struct.pack(page.order + "L", value)) for tag, value in tags.items()}
    sizes = struct.pack(f"{page.order}{len(blocks)}L", *(len(one) for one in blocks))
    entries[TILE_SIZES if is_tiled else STRIP_SIZES] = (LONG, len(blocks), sizes)
    if kind.compression == JPEG and JPEG_TABLES in page.raw:
        entries[JPEG_TABLES] = page.raw[JPEG_TABLES]
    file = io.BytesIO(file_of(page.order, entries, blocks, TILE_OFFSETS if is_tiled else STRIP_OFFSETS))
    with TiffImageFile(file) as image:
        plane = np.asarray(image)
    return plane.astype(np.uint16 if depth == 16 else np.uint8)


def _unpacked(rows: Samples, count: int, depth: int) -> Samples:
    """`count` numbers of `depth` bits from each row of bytes, the highest bit first; uint8 or uint16."""
    flat = rows.reshape(-1, rows.shape[2])
    numbers = np.empty((len(flat), count), np.uint8 if depth < 8 else np.uint16)
    weights = (1 << np.arange(depth - 1, -1, -1)).astype(numbers.dtype)
    for top in range(0, len(flat), UNPACKED_ROWS):
        bits = np.unpackbits(flat[top : top + UNPACKED_ROWS], axis=1, count=count * depth)
        numbers[top : top + UNPACKED_ROWS] = (bits.reshape(len(bits), count, depth) * weights).sum(2, numbers.dtype)
    return numbers.reshape(*rows.shape[:2], count)
