"""The result from its bands, by libvips, in memory that does not grow with it."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..pictures.encode import FULL_CHROMA_QUALITY, PNG_COMPRESSION
from ..pictures.formats import Format
from ..pictures.metadata import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Metadata
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

    def write(self, target: Path, format_: Format, quality: int | None, metadata: Metadata) -> None:
        """Write the file, which appears whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        target = Path(os.path.realpath(target))
        partial = target.parent / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
        image = self._with_metadata(metadata)
        try:
            # libvips would write EXIF anew, and knows neither IPTC nor XMP over 64 KB in JPEG.
            keep = "icc" if metadata.icc and format_.name != "png" else "none"
            self._save(image, os.fsencode(partial), format_, quality, keep)
            if format_.name == "tiff":  # libvips writes a resolution even where there is none
                more = {tag: (kind, data) for tag, kind, data in apart_from_exif(replace(metadata, icc=None))}
                add_tags(partial, metadata.exif, () if metadata.dpi else RESOLUTION, more)
            else:
                add_metadata(partial, metadata, format_, self._image.bands < 3)
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

    def _save(self, image: Any, path: bytes, format_: Format, quality: int | None, keep: str) -> None:
        if format_.name == "png":
            image.pngsave(path, compression=PNG_COMPRESSION, keep=keep)
        elif format_.name == "jpeg":
            quality = format_.quality if quality is None else quality
            if image.format == "ushort":
                image = (image >> 8).cast("uchar").copy(interpretation="b-w" if image.bands < 3 else "srgb")
            image.jpegsave(
                path,
                keep=keep,
                Q=max(1, quality or 1),
                subsample_mode="off" if (quality or 0) >= FULL_CHROMA_QUALITY else "on",
            )
        else:
            raw = image.width * image.height * image.bands * (1 if image.format == "uchar" else 2)
            image.tiffsave(
                path,
                keep=keep,
                compression="deflate",
                level=DEFLATE_LEVEL,
                predictor="horizontal",
                tile=True,
                tile_width=256,
                tile_height=256,
                bigtiff=raw > BIG_TIFF_BYTES,
            )
