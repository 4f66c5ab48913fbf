"""Picture files of every kind, made for the tests."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'dc:creator="a photographer" tiff:Orientation="6" tiff:ImageWidth="12"/></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)
MAKE, ORIENTATION, X_RESOLUTION, Y_RESOLUTION = 271, 0x0112, 282, 283
EXIF_IFD, GPS_IFD, PIXEL_X, EXPOSURE, LATITUDE_REF = 0x8769, 0x8825, 0xA002, 0x829A, 1


def photo(height: int = 24, width: int = 36) -> NDArray[np.uint8]:
    """Smooth colours with an edge, so that even JPEG keeps it; no two corners are alike."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x // max(1, width - 1), 255 * y // max(1, height - 1)
    blue = np.where(x + y < (height + width) // 3, 220, 30)
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


@functools.cache  # a profile holds the time of its making
def profile(name: str = "sRGB") -> bytes:
    """An ICC profile for RGB; "wide" is one whose primaries lie outside those of sRGB."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if name == "wide":
        start = content.find(b"rXYZ", 132)
        offset = int.from_bytes(content[start + 4 : start + 8], "big")
        content[offset + 8 : offset + 12] = (int(0.9 * 65536)).to_bytes(4, "big")
    return bytes(content)


def exif(orientation: int = 1, dpi: float | None = 300) -> bytes:
    """EXIF data with a camera, an exposure time, a place, sizes, and a resolution."""
    data = Image.Exif()
    data[MAKE] = "Camera"
    data[ORIENTATION] = orientation
    if dpi:
        data[X_RESOLUTION] = data[Y_RESOLUTION] = dpi
    data[EXIF_IFD] = {PIXEL_X: 36, EXPOSURE: 0.01}
    data[GPS_IFD] = {LATITUDE_REF: "N", 2: (48.0, 8.0, 0.0)}
    return data.tobytes()


def encoded(pixels: Any, format_: str, **options: Any) -> bytes:
    """A file by Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def encoded_deep(pixels: NDArray[np.uint16], extension: str) -> bytes:
    """A file with 16 bits a channel by OpenCV, from RGB(A)."""
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.ndim == 3 else ...
    done, content = cv2.imencode(extension, pixels if pixels.ndim == 2 else pixels[..., order])
    assert done
    return content.tobytes()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def opened(content: bytes) -> Image.Image:
    """A file as Pillow sees it."""
    return Image.open(io.BytesIO(content))
