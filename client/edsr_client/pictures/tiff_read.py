"""TIFF pages of the kinds that Pillow reads not at all, with fewer bits, or wrongly; all others by name."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import BadImageError
from .depth import full_range, to_8_bits
from .tiff_kinds import (
    BITS_PER_SAMPLE,
    BLACK_IS_ZERO,
    CMYK,
    COLOUR_MAP,
    COMPRESSION,
    EXTRA_SAMPLES,
    PALETTE,
    PHOTOMETRIC,
    PLANAR,
    SAMPLE_FORMAT,
    SAMPLES_PER_PIXEL,
    WHITE_IS_ZERO,
    Kind,
    kind_of,
)
from .tiff_pages import (
    HEIGHT,
    ORIENTATION,
    STRIP_OFFSETS,
    STRIP_ROWS,
    STRIP_SIZES,
    WIDTH,
    Page,
    Retold,
    is_tiff,
    page_at,
    pages_of,
)
from .tiff_samples import samples_of

# Samples that are unpacked at a time, for every pixel that is allowed.
SAMPLES_FACTOR = 8
LONG = 4
STRUCTURE = (*range(256, 260), PHOTOMETRIC, 266, 273, 277, 278, 279, 284, 317, 320, *range(322, 326), 332, 334)
STRUCTURE += (EXTRA_SAMPLES, SAMPLE_FORMAT, 347, 530, 532)

Array = NDArray[Any]


@dataclass(frozen=True)
class Chosen:
    """The page of a TIFF file that is to be read.

    Attributes:
        index: of the page, from 0.
        count, main: of all pages; of those that are pictures of their own, not smaller copies.
        notes: what was left, or taken for want of better.
    """

    page: Page
    kind: Kind
    index: int
    count: int
    main: int
    notes: tuple[str, ...] = ()

    @property
    def is_for_pillow(self) -> bool:
        """Whether Pillow reads it; else `pixels_of`."""
        if self.page.is_big and self.page.order == ">":
            return False
        return self.kind.is_for_pillow and not (self.kind.photometric == PALETTE and _is_of_8_bits(self.page))

    @property
    def orientation(self) -> int:
        """EXIF's numbers, 1 to 8."""
        value = (self.page.numbers(ORIENTATION) or (1,))[0]
        return value if value in range(2, 9) else 1


def choose_page(file: BinaryIO, frame: int | None) -> Chosen | None:
    """The page that is meant; the first main one where none, or one that is not there, is named. None: no TIFF file.

    Raises:
        ValueError: it has no directory.
    """
    if not is_tiff(file.read(4)):
        return None
    pages = pages_of(file)
    main = [index for index, (_, is_main) in enumerate(pages) if is_main]
    notes = []
    if frame is None and main and len(pages) > 1:
        notes.append(f"the file holds {len(pages)} pictures; the main one was taken")
    if frame is None and not main:
        notes.append("the file says that its first picture is a smaller copy of another one, which is not in it")
    index = frame if frame is not None and 0 <= frame < len(pages) else (main or [0])[0]
    page = page_at(file, pages[index][0])
    return Chosen(page, kind_of(page.tags), index, len(pages), len(main), tuple(notes))


def check_page(chosen: Chosen, name: str, frame: int | None) -> None:
    """Raise BadImageError for a page that is not there, several of which none is named, or a kind that is not read."""
    if frame is None and chosen.main > 1:
        raise BadImageError(
            f"{name} has {chosen.main} pages. Take one at a time: frame=0 ... {chosen.count - 1} (`--frame`)."
        )
    if frame is not None and not 0 <= frame < chosen.count:
        raise BadImageError(f"{name} has no frame {frame}; it has {chosen.count}, counted from 0.")
    if not chosen.is_for_pillow and not chosen.kind.is_for_samples:
        raise BadImageError(
            f"{name} is {chosen.kind.name}, which cannot be read. Convert it to 8 or 16 bits of grey or RGB."
        )


def pixels_of(data: bytes, chosen: Chosen, max_pixels: int) -> Array:
    """uint8 or uint16, [H, W] or [H, W, C], not turned; of CMYK the four inks come first, uint8.

    Raises:
        ValueError, OSError: it is damaged, or has far more samples than `max_pixels`.
    """
    kind = chosen.kind
    wanted = [*range(kind.colours), *(() if kind.alpha is None else (kind.alpha,))]
    samples = samples_of(data, chosen.page, kind, wanted, SAMPLES_FACTOR * max_pixels)
    colour, alpha = samples[..., : kind.colours], samples[..., kind.colours :]
    if kind.photometric == PALETTE:
        colour = _looked_up(colour[..., 0], chosen.page, kind.depth)
        alpha = full_range(alpha.astype(colour.dtype), 8 * colour.dtype.itemsize if kind.depth > 8 else kind.depth)
        return np.concatenate([colour, alpha], axis=2) if alpha.shape[2] else colour
    colour, alpha = full_range(colour, kind.depth), full_range(alpha, kind.depth)
    if kind.photometric == CMYK:
        colour, alpha = to_8_bits(colour), to_8_bits(alpha)
    if kind.photometric == WHITE_IS_ZERO:
        colour = np.iinfo(colour.dtype).max - colour
    if kind.is_premultiplied:
        colour = divided_by_alpha(colour, alpha)
    pixels = np.concatenate([colour, alpha], axis=2) if alpha.shape[2] else colour
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def retold(file: BinaryIO, page: Page) -> BinaryIO:
    """The page as a grey picture that Pillow opens, with all other tags; its pixels are not to be read."""
    entries = {tag: entry for tag, entry in page.raw.items() if tag not in STRUCTURE}
    plain = {WIDTH: page.size[0], HEIGHT: page.size[1], BITS_PER_SAMPLE: 8, COMPRESSION: 1, PHOTOMETRIC: BLACK_IS_ZERO}
    plain |= {STRIP_OFFSETS: 8, SAMPLES_PER_PIXEL: 1, STRIP_ROWS: page.size[1], STRIP_SIZES: 0, PLANAR: 1}
    entries |= {tag: (LONG, 1, struct.pack(page.order + "L", value)) for tag, value in plain.items()}
    return io.BufferedReader(Retold(file, page, entries))


def divided_by_alpha(colour: Array, alpha: Array) -> Array:
    """Straight colour of premultiplied; uint8 or uint16 [H, W, C], alpha [H, W, 1]."""
    top = np.uint32(np.iinfo(colour.dtype).max)  # 65,535 squared fits
    straight = (colour.astype(np.uint32) * top + alpha // 2) // np.maximum(alpha, 1)
    limited: Array = np.minimum(straight, top).astype(colour.dtype)
    return limited


def _looked_up(indices: Array, page: Page, depth: int) -> Array:
    """Colours of a palette: uint8 [H, W, 3], uint16 where there are 16 bits to choose by."""
    table = np.array(page.numbers(COLOUR_MAP), np.uint16)
    if table.size != 3 << depth:
        raise ValueError("its palette has not as many colours as it should")
    if _is_of_8_bits(page):
        table = table.astype(np.uint8)
    elif depth <= 8:
        table = (table >> 8).astype(np.uint8)
    return np.ascontiguousarray(table.reshape(3, -1).T[indices])


def _is_of_8_bits(page: Page) -> bool:
    """Whether a palette was written with 8 bits a colour, as old programs did; libtiff takes it so too."""
    return max(page.numbers(COLOUR_MAP), default=0) < 256
