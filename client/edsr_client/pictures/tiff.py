"""TIFF files. Pillow reads them; it cannot write 16 bits a channel, nor all that a file may carry beside the pixels."""

from __future__ import annotations

import io
import zlib
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metadata import EXIF_IFD, GPS_IFD, RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Metadata

XMP_TAG, ICC_TAG, INCH = 700, 34675, 2
BYTE, LONG, UNDEFINED = 1, 4, 7  # types of tags
# zlib's usual 6 takes twice as long, and saves 2%.
DEFLATE_LEVEL = 4
STRIP_ROWS, MAX_BYTES = 64, 2**32 - 2**20


def encode_tiff(image: NDArray[Any], metadata: Metadata) -> bytes:
    """The content of a TIFF file: strips, compressed by zlib over the differences of neighbours, without loss.

    TIFF 6.0, sections 3 (strips), 14 (predictor), 18 (alpha); Deflate as in Adobe's supplement 2.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, C], C of 1 to 4.
        metadata: what to put beside the pixels.

    Raises:
        ValueError: the file would be too large.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    channels = 1 if image.ndim == 2 else image.shape[2]
    deep = image.dtype == np.uint16
    rows = np.ascontiguousarray(image.reshape(image.shape[0], image.shape[1], channels)).astype(
        "<u2" if deep else np.uint8
    )
    rows[:, 1:] -= rows[:, :-1].copy()
    strips = [
        zlib.compress(rows[top : top + STRIP_ROWS].tobytes(), DEFLATE_LEVEL) for top in range(0, len(rows), STRIP_ROWS)
    ]
    lengths = [len(strip) for strip in strips]
    if sum(lengths) > MAX_BYTES:
        raise ValueError("it would be larger than 4 GB, which TIFF cannot hold")
    directory = ImageFileDirectory_v2(prefix=b"II")
    for tag, value in _tags(metadata).items():
        directory[tag] = value
    if metadata.xmp:
        directory.tagtype[XMP_TAG] = BYTE
    if metadata.icc:
        directory[ICC_TAG] = metadata.icc
        directory.tagtype[ICC_TAG] = UNDEFINED
    if metadata.dpi and X_RESOLUTION not in directory:
        directory[X_RESOLUTION], directory[Y_RESOLUTION] = metadata.dpi
        directory[RESOLUTION_UNIT] = INCH
    structure: dict[int, Any] = {
        256: image.shape[1],
        257: image.shape[0],
        258: (16 if deep else 8,) * channels,
        259: 8,
        262: 2 if channels >= 3 else 1,
        273: (0, *accumulate(lengths[:-1])),  # Pillow adds where they begin
        277: channels,
        278: STRIP_ROWS,
        279: tuple(lengths),
        284: 1,
        317: 2,
    }
    if channels in (2, 4):
        structure[338] = 2  # alpha that is not premultiplied
    for tag, value in structure.items():
        directory[tag] = value
    for tag in (273, 279):
        directory.tagtype[tag] = LONG
    file = io.BytesIO()
    directory.save(file)
    file.write(b"".join(strips))
    return file.getvalue()


def _tags(metadata: Metadata) -> dict[int, Any]:
    """EXIF and XMP as the tags of a TIFF file, where they stand in the main directory; EXIF's own as dictionaries."""
    from PIL import Image

    exif = Image.Exif()
    if metadata.exif:
        exif.load(metadata.exif)
    tags = {tag: exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else value for tag, value in exif.items()}
    if metadata.xmp:
        tags[XMP_TAG] = metadata.xmp
    return tags
