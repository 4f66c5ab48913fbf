"""What a decoder other than the client's own sees in a file."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Of an animation as many frames are looked at, spread over all.
FRAMES_SEEN = 4
# EXIF that upscaling rightly changes, or that only describes how a file is stored.
CHANGED = ("Orientation", "XResolution", "YResolution", "ResolutionUnit", "PixelXDimension", "PixelYDimension")
STORAGE = (
    *("ImageWidth", "ImageLength", "BitsPerSample", "Compression", "Photometric", "Strip", "Planar", "RowsPer", "Tile"),
    *("SamplesPer", "JPEGInter", "YCbCr", "NewSubfile", "InterColor", "Interop"),
    # libexif adds these where they are missing.
    *("ExifVersion", "Flashpix", "FlashPix", "ColorSpace", "ComponentsConfiguration"),
)


@dataclass
class Opinion:
    """A picture as somebody sees it, turned as its EXIF says.

    Attributes:
        by: the decoder.
        size: (width, height).
        count: of frames.
        frames: some of them by index; uint8 or uint16, [H, W, C] with C of 1 to 4.
        durations_ms: of all frames; () if it is no animation, or they are not known.
        icc: the profile; b"" without.
        xmp: whether there is any.
        exif: names and values of what should be kept, as text.
    """

    by: str
    size: tuple[int, int]
    count: int = 1
    frames: dict[int, Array] = field(default_factory=dict)
    durations_ms: tuple[float, ...] = ()
    icc: bytes = b""
    xmp: bool = False
    exif: dict[str, str] = field(default_factory=dict)


def opinion_of(path: Path) -> Opinion | None:
    """By the first second decoder that reads it; None if none does."""
    with path.open("rb") as file:
        head = file.read(64)
    for look in _decoders(head):
        try:
            found = look(path)
        except Exception:  # noqa: S112  each library raises its own
            continue
        if found is not None and found.frames:
            return found
    return None


def _decoders(head: bytes) -> list[Callable[[Path], Opinion | None]]:
    if head[:2] in (b"II", b"MM"):
        return [_by_tifffile]
    if head[:4] == b"\x89PNG" and b"acTL" in head:
        return [_by_av]
    if head[4:8] == b"ftyp":
        return [_by_vips, _by_av]
    if head[:2] == b"BM":
        return [_by_av, _by_opencv]
    if head[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"):
        return [_by_opencv]
    return [_by_vips, _by_opencv]


def seen(count: int) -> list[int]:
    """Which frames of so many are looked at."""
    return (
        sorted({round(at * (count - 1) / max(1, FRAMES_SEEN - 1)) for at in range(FRAMES_SEEN)}) if count > 1 else [0]
    )


def _by_vips(path: Path) -> Opinion | None:
    os.environ.setdefault("VIPS_WARNING", "0")
    import pyvips

    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    image = pyvips.Image.new_from_file(os.fspath(path), fail_on="none")
    count = int(image.get("n-pages")) if "n-pages" in image.get_fields() else 1
    loader = str(image.get("vips-loader")) if "vips-loader" in image.get_fields() else ""
    is_animation = count > 1 and loader.startswith(("gif", "webp"))
    if is_animation:
        image = pyvips.Image.new_from_file(os.fspath(path), n=-1)
    metadata = vips_metadata(image)
    delays = tuple(map(float, image.get("delay"))) if "delay" in image.get_fields() and is_animation else ()
    height = int(image.get("page-height")) if is_animation else 0
    if not is_animation:
        image = image.autorot()
    if image.interpretation in ("cmyk", "lab"):
        image = image.colourspace("srgb")
    if loader.startswith("heif") and image.format == "ushort":  # 8 bits are taken of AVIF, as is documented
        image = image.colourspace("b-w" if image.bands <= 2 else "srgb")
    if image.format not in ("uchar", "ushort"):
        return None
    pixels = np.ndarray(
        (image.height, image.width, image.bands),
        np.uint8 if image.format == "uchar" else np.uint16,
        image.write_to_memory(),
    )
    if not is_animation:
        return Opinion("libvips", (image.width, image.height), 1, {0: pixels}, **metadata)
    frames = {at: pixels[at * height : (at + 1) * height] for at in seen(count)}
    return Opinion("libvips", (image.width, height), count, frames, delays, **metadata)


def vips_metadata(image: Any) -> dict[str, Any]:
    """Profile, XMP and EXIF of an image of pyvips."""
    fields = image.get_fields()
    exif = {
        name: str(image.get(name)).split(" (")[0].strip()
        for name in fields
        if name.startswith(("exif-ifd0-", "exif-ifd2-", "exif-ifd3-"))
        and not any(word in name for word in (*CHANGED, *STORAGE, "MakerNote"))
    }
    icc = bytes(image.get("icc-profile-data")) if "icc-profile-data" in fields else b""
    return {"icc": icc, "xmp": "xmp-data" in fields, "exif": exif}


def _by_tifffile(path: Path) -> Opinion | None:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages.first
        pixels = page.asarray()
        axes, photometric = page.axes, int(page.photometric)
        orientation = page.tags["Orientation"].value if "Orientation" in page.tags else 1
        if axes.startswith("S"):
            pixels = np.moveaxis(pixels, 0, -1)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.dtype == np.bool_ or page.bitspersample == 1:
            pixels = (pixels > 0).astype(np.uint8) * 255
        elif page.bitspersample < 8 and photometric in (0, 1):
            pixels = (pixels.astype(np.uint16) * 255 // (2**page.bitspersample - 1)).astype(np.uint8)
        if photometric == 3:
            pixels = (np.moveaxis(page.colormap, 0, -1)[pixels[..., 0]] >> 8).astype(np.uint8)
        elif photometric == 0:
            pixels = np.iinfo(pixels.dtype).max - pixels
        elif photometric not in (1, 2) and not (photometric == 6 and int(page.compression) == 7):
            return None
        if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] > 4:
            return None
        extra = [int(one) for one in page.extrasamples]
        if extra and extra[0] == 0:  # nobody knows what it is
            pixels = pixels[..., : pixels.shape[2] - len(extra)]
        elif extra[:1] == [1]:
            pixels = _straight(pixels)
        pixels = _turned(pixels, int(orientation))
        icc = page.tags[34675].value if 34675 in page.tags else b""
        return Opinion(
            "tifffile", (pixels.shape[1], pixels.shape[0]), 1, {0: pixels}, icc=bytes(icc or b""), xmp=700 in page.tags
        )


def _straight(pixels: Array) -> Array:
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:].astype(np.float64)
    colour = np.minimum(pixels[..., :-1] * top / np.maximum(alpha, 1), top)
    return np.concatenate([np.rint(colour), alpha], axis=2).astype(pixels.dtype)


def _turned(pixels: Array, orientation: int) -> Array:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _by_av(path: Path) -> Opinion | None:
    import av

    size = _clean_aperture(path.read_bytes())
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        if stream.codec_context.name in ("hevc", "av1") and len(container.streams.video) > 1:
            return None  # tiles of a grid
        decoded = []
        for frame in container.decode(stream):
            # Of AVIF and HEIC 8 bits are taken, as is documented.
            pixels = frame.to_ndarray(format="rgba")
            if size is not None and size[0] <= frame.width and size[1] <= frame.height:
                pixels = pixels[: size[1], : size[0]]  # blocks of the codec reach further
            decoded.append((pixels, frame.duration, frame.time_base))
            if len(decoded) > 500:
                return None
    pixels = decoded[0][0]
    durations = tuple(float((length or 0) * base * 1000) for _, length, base in decoded) if len(decoded) > 1 else ()
    frames = {at: decoded[at][0] for at in seen(len(decoded))}
    return Opinion("FFmpeg", (pixels.shape[1], pixels.shape[0]), len(decoded), frames, durations)


def _clean_aperture(data: bytes) -> tuple[int, int] | None:
    """What of a HEIC's blocks is the picture (ISO/IEC 14496-12, 12.1.4.1)."""
    from edsr_client.pictures.structure.isobmff import boxes_of

    if data[4:8] != b"ftyp":
        return None
    at = data.find(b"clap")
    if at < 0:
        sizes = set(boxes_of(data).sizes)
        return sizes.pop() if len(sizes) == 1 else None
    width, over_width, height, over_height = struct.unpack_from(">4I", data, at + 4)
    return width // over_width, height // over_height


def _by_opencv(path: Path) -> Opinion | None:
    import cv2

    pixels = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        return None
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] > 2 else range(pixels.shape[2])
    return Opinion("OpenCV", (pixels.shape[1], pixels.shape[0]), 1, {0: np.asarray(pixels)[..., list(order)]})
