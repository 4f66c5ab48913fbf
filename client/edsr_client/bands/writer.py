"""The result from its bands, joined by libvips, in memory that does not grow with it."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..files import Finishing
from ..pictures.encode import FULL_CHROMA_QUALITY
from ..pictures.formats import Format
from ..pictures.metadata import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Metadata
from ..pictures.png import png_parts
from ..pictures.png_effort import effort_named
from ..pictures.png_rows import Bytes, as_bytes, strip_rows
from ..pictures.tiff import DEFLATE_LEVEL, apart_from_exif
from ..staged import PREFIX, SUFFIX
from .insertion import add_metadata
from .source import load_vips
from .tiff_tags import add_tags

MM_PER_INCH = 25.4
RESOLUTION = (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
# From here on a TIFF file needs 64-bit offsets, whatever its compression makes of it.
BIG_TIFF_BYTES = 2_000_000_000
INTERPRETATIONS = {(1, 1): "b-w", (2, 1): "b-w", (1, 2): "grey16", (2, 2): "grey16", (3, 1): "srgb", (4, 1): "srgb"}


@dataclass(frozen=True)
class Layout:
    """What the bands hold: (width, height) in all, channels, and bytes per channel."""

    size: tuple[int, int]
    channels: int
    itemsize: int


class Writer:
    """Writes one file; `stop` from another thread ends that.

    Args:
        bands: paths of the bands and their rows, from the top.
        layout: of the bands.
        size: (width, height) of the result.
    """

    def __init__(self, bands: list[tuple[Path, int]], layout: Layout, size: tuple[int, int]) -> None:
        self._vips = load_vips()
        self._image = self._joined(bands, layout, size)

    def write(self, target: Path, format_: Format, finishing: Finishing, metadata: Metadata) -> None:
        """Write the file, which appears whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        target = Path(os.path.realpath(target))
        partial = target.parent / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
        try:
            if format_.name == "png":
                self._save_png(partial, format_, finishing.png_effort, metadata)
            elif format_.name == "tiff":
                self._save_tiff(partial, metadata)
            else:
                self._save_jpeg(partial, format_, finishing.quality, metadata)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            if target.exists():
                partial.chmod(target.stat().st_mode & 0o7777)
            partial.replace(target)
        except (self._vips.Error, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            raise OutputError(f"Cannot write {target}: {reason}.") from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def stop(self) -> None:
        """End `write` soon."""
        self._image.set_kill(True)

    def _joined(self, bands: list[tuple[Path, int]], layout: Layout, size: tuple[int, int]) -> Any:
        width, height = layout.size
        kind = "uchar" if layout.itemsize == 1 else "ushort"
        space = INTERPRETATIONS.get((layout.channels, layout.itemsize), "rgb16")
        images = [
            self._vips.Image.rawload(os.fsencode(path), width, rows, layout.channels, format=kind, interpretation=space)
            for path, rows in bands
        ]
        # Bands of another height than the first are put into boxes of its height: only the last one is lower.
        image = self._vips.Image.arrayjoin(images, across=1).crop(0, 0, width, height)
        if size == layout.size:
            return image
        has_alpha = layout.channels in (2, 4)
        image = image.premultiply() if has_alpha else image
        image = image.resize(size[0] / width, vscale=size[1] / height, kernel="lanczos3")
        image = image.unpremultiply() if has_alpha else image
        return image.cast(kind).crop(0, 0, *size).copy(interpretation=space)

    def _with_metadata(self, metadata: Metadata) -> Any:
        vips, image = self._vips, self._image.copy()
        if metadata.icc:
            image.set_type(vips.GValue.blob_type, "icc-profile-data", metadata.icc)
        dpi = metadata.dpi or (0.0, 0.0)
        image = image.copy(xres=dpi[0] / MM_PER_INCH, yres=dpi[1] / MM_PER_INCH)
        if metadata.dpi:
            image.set_type(vips.GValue.gstr_type, "resolution-unit", "in")
        return image

    def _save_png(self, path: Path, format_: Format, effort: str | None, metadata: Metadata) -> None:
        image = self._image
        itemsize = 1 if image.format == "uchar" else 2
        strips = self._strips(strip_rows(image.width * image.bands * itemsize))
        size = (image.width, image.height)
        with path.open("wb") as file:
            for part in png_parts(size, image.bands, itemsize, strips, metadata, format_, effort_named(effort)):
                file.write(part)

    def _strips(self, rows: int) -> Iterator[Bytes]:
        image, region = self._image, self._vips.Region.new(self._image)
        kind = np.uint8 if image.format == "uchar" else np.uint16
        for top in range(0, image.height, rows):
            count = min(rows, image.height - top)
            pixels = np.frombuffer(region.fetch(0, top, image.width, count), kind)
            yield as_bytes(pixels.reshape(count, image.width, image.bands))

    def _save_jpeg(self, path: Path, format_: Format, quality: int | None, metadata: Metadata) -> None:
        image = self._with_metadata(metadata)
        quality = format_.quality if quality is None else quality
        if image.format == "ushort":
            image = (image >> 8).cast("uchar").copy(interpretation="b-w" if image.bands < 3 else "srgb")
        image.jpegsave(
            os.fsencode(path),
            # libvips would write EXIF anew, and knows neither IPTC nor XMP over 64 KB in JPEG.
            keep="icc" if metadata.icc else "none",
            Q=max(1, quality or 1),
            subsample_mode="off" if (quality or 0) >= FULL_CHROMA_QUALITY else "on",
        )
        add_metadata(path, metadata)

    def _save_tiff(self, path: Path, metadata: Metadata) -> None:
        image = self._with_metadata(metadata)
        raw = image.width * image.height * image.bands * (1 if image.format == "uchar" else 2)
        image.tiffsave(
            os.fsencode(path),
            keep="icc" if metadata.icc else "none",
            compression="deflate",
            level=DEFLATE_LEVEL,
            predictor="horizontal",
            tile=True,
            tile_width=256,
            tile_height=256,
            bigtiff=raw > BIG_TIFF_BYTES,
        )
        # libvips writes a resolution even where there is none.
        more = {tag: (kind, data) for tag, kind, data in apart_from_exif(replace(metadata, icc=None))}
        add_tags(path, metadata.exif, () if metadata.dpi else RESOLUTION, more)
