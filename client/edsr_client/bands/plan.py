"""When a picture goes in bands, and which; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..border import MARGIN_PX
from ..errors import ImageTooLargeError, OutputError
from ..pictures.decode import DEFAULT_MAX_PIXELS
from ..pictures.formats import Format
from ..tiling import ALIGNMENT_PX

When = Literal["auto", "always", "never"]
# From here on a picture takes a gigabyte and more at once: 32 megapixels are 864 MB upscaled by 3.
BANDED_PIXELS = 32_000_000
# What may be asked for without saying so: memory is no reason to refuse, time and disk are.
BANDED_MAX_PIXELS = 4_000_000_000
# Of one upscaled band. Two are in memory at a time, and as much again while tiles are put together.
BAND_BYTES = 96_000_000
LEAST_ROWS = 2 * ALIGNMENT_PX
READ, WRITTEN = ("TIFF", "PNG", "JPEG"), ("tiff", "png", "jpeg")


@dataclass(frozen=True)
class Band:
    """Some rows of a picture, LR: what is read, and what of that is kept.

    Attributes:
        index: from the top.
        top, bottom: rows that are read, with the halo.
        keep_top, keep_bottom: rows that this band contributes.
    """

    index: int
    top: int
    bottom: int
    keep_top: int
    keep_bottom: int


@dataclass(frozen=True)
class Bands:
    """A picture of `height` rows in bands of `rows`, with a halo on the sides that are not the picture's border."""

    height: int
    rows: int
    halo_px: int

    def __len__(self) -> int:
        return math.ceil(self.height / self.rows)

    def __iter__(self) -> Iterator[Band]:
        for index in range(len(self)):
            top, bottom = index * self.rows, min((index + 1) * self.rows, self.height)
            last = min(self.height, bottom + self.halo_px)
            # Enough rows that their mirror image at the picture's border is that of the whole picture.
            first = max(0, min(top - self.halo_px, last - MARGIN_PX))
            yield Band(index, first, last, top, bottom)


def bands_for(height: int, row_bytes: int, scale: int, halo_px: int, tile_rows: int) -> Bands:
    """Bands as high as a row of tiles, or as BAND_BYTES allow if that is less; the halo included, whole blocks.

    Args:
        height: of the picture, LR rows.
        row_bytes: of one LR row.
        scale: of the model.
        halo_px: LR rows around what a band keeps.
        tile_rows: height of the tiles that suit the servers.
    """
    fitting = BAND_BYTES // (row_bytes * scale * scale)
    sent = max(2 * halo_px + LEAST_ROWS, min(tile_rows, fitting) // ALIGNMENT_PX * ALIGNMENT_PX)
    return Bands(height, sent - 2 * halo_px, halo_px)


def wanted(when: When, kind: str, pixels: int, format_: Format) -> bool:
    """Whether a picture goes in bands.

    Args:
        when: "auto" for large ones, "always", "never".
        kind: of the file, as Pillow calls it.
        pixels: of the picture.
        format_: of the result.

    Raises:
        OutputError: always, but its kinds of file cannot be read or written so.
    """
    possible = kind in READ and format_.name in WRITTEN
    if when == "always" and not possible:
        raise OutputError(f"{kind} to {format_.name.upper()} does not go in bands; TIFF, PNG and JPEG do (`--bands`).")
    return possible and (when == "always" or (when == "auto" and pixels > BANDED_PIXELS))


def check_pixels(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Raise ImageTooLargeError over the caller's limit; over one's own of bands if the caller has named none."""
    most = BANDED_MAX_PIXELS if max_pixels == DEFAULT_MAX_PIXELS else max_pixels
    if size[0] * size[1] > most:
        raise ImageTooLargeError(
            f"{name} claims {size[0]}x{size[1]} = {size[0] * size[1]:,} pixels, more than {most:,}. If that is meant, "
            "raise max_pixels=... (`--max-pixels`)."
        )
