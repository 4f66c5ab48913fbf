"""What a file carries besides pixels: EXIF, XMP, ICC profile, resolution. Kept, and corrected where upscaling made it
wrong."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .colour import Colour
from .place import PLACE_TAGS, corrected_place

if TYPE_CHECKING:
    from PIL.Image import Exif
    from PIL.Image import Image as PillowImage

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, EXIF_IFD, GPS_IFD = 0x0112, 0x011A, 0x011B, 0x8769, 0x8825
INTEROP_IFD, RESOLUTION_UNIT = 0xA005, 0x0128
PIXEL_X, PIXEL_Y = 0xA002, 0xA003
# How the pixels of the old file were stored; also its ICC profile, XMP and the like, which are handed over apart.
STRUCTURE = {
    *range(254, 270), 273, 274, 277, 278, 279, 280, 281, *range(284, 288), 290, 291, 297, 301, 317, *range(318, 348),
    *range(512, 533), 559, 700, 33723, 34377, 34675, 37724, 50706,
}  # fmt: skip
# What a file's own words about its orientation look like in XMP, as attribute and as element.
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*=\s*[\"']|<tiff:Orientation>\s*)\d+")
XMP_SIZE = re.compile(
    rb"((?:tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension)\s*=\s*[\"']\d*[\"'])"
    rb"|(<(tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension)>\s*\d*\s*</\3>)"
)
XMP_THUMBNAILS = re.compile(rb"<(xmp|xap):Thumbnails>.*?</\1:Thumbnails>", re.DOTALL)
MAX_DPI = 65_535
TEXT_OF_OTHERS = ("XML:com.adobe.xmp", "Raw profile type")


@dataclass(frozen=True)
class Metadata:
    """What goes with the pixels; None for what there is not.

    Attributes:
        exif: as it stands in a file, beginning with "Exif" and two zeros.
        xmp: the packet, UTF-8.
        icc: the profile.
        dpi: pixels per inch (x, y).
        text: PNG's (keyword, text); with its language where Pillow has one, as `iTXt`.
        comment: JPEG's or GIF's.
        colour: what the file says of its colours outside of a profile.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    comment: bytes | None = None
    colour: Colour | None = None

    @property
    def icc_space(self) -> str:
        """Colour space of the profile: "RGB", "GRAY", "CMYK", ...; "" without one."""
        return self.icc[16:20].decode("latin-1").strip() if self.icc else ""


def read_metadata(image: PillowImage, without_decoding: bool = False) -> tuple[Metadata, int, list[str]]:
    """What an opened picture carries, its EXIF orientation (1 to 8), and notes on what is broken and dropped.

    Args:
        without_decoding: leave out what PNG files have behind their pixels.
    """
    notes: list[str] = []
    exif, orientation = _read_exif(image, notes)
    icc = image.info.get("icc_profile") or None
    if icc is not None and not _is_profile(icc):
        notes.append("the ICC profile is broken and was dropped")
        icc = None
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or None
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "surrogateescape")
    comment = image.info.get("comment")
    metadata = Metadata(
        exif,
        xmp if isinstance(xmp, bytes) else None,
        icc,
        _dpi(image.info.get("dpi")),
        _text(image, without_decoding) if image.format == "PNG" else (),
        comment if isinstance(comment, bytes) and comment else None,
    )
    return metadata, orientation, notes


def corrected(metadata: Metadata, old_size: tuple[int, int], new_size: tuple[int, int]) -> Metadata:
    """The metadata of the upscaled picture.

    Orientation is normal, since it was applied; the thumbnail is gone, since it shows the old picture; sizes in pixels
    are the new ones. The resolution grows with the picture, so that it is as large on paper as it was.

    Args:
        old_size, new_size: (width, height), both after the orientation was applied.
    """
    factors = (new_size[0] / old_size[0], new_size[1] / old_size[1])
    dpi = metadata.dpi and _dpi((metadata.dpi[0] * factors[0], metadata.dpi[1] * factors[1]))
    return replace(
        metadata, exif=_corrected_exif(metadata.exif, new_size, factors), xmp=_corrected_xmp(metadata.xmp), dpi=dpi
    )


def with_profile(metadata: Metadata, grey: bool) -> tuple[Metadata, list[str]]:
    """What a file says of its colours outside of a profile, as a profile; and notes on what cannot be said so."""
    colour = metadata.colour
    if colour is None or metadata.icc:
        return replace(metadata, colour=None), []
    notes = [] if colour.is_clear else [f"{colour.words} cannot be kept in bands: dropped"]
    return replace(metadata, icc=colour.icc(grey), colour=None), notes


def _text(image: PillowImage, without_decoding: bool) -> tuple[tuple[str, str], ...]:
    """PNG's text chunks, also those after the pixels, without those in which other metadata are hidden."""
    found: dict[Any, Any] = image.info if without_decoding else image.text  # type: ignore[attr-defined]
    return tuple(
        (key, value) for key, value in found.items() if isinstance(value, str) and not key.startswith(TEXT_OF_OTHERS)
    )


def _read_exif(image: PillowImage, notes: list[str]) -> tuple[bytes | None, int]:
    """EXIF's own words only: an orientation that stands in XMP alone is no instruction to viewers."""
    try:
        if image.format == "TIFF":
            exif, orientation = image.getexif(), 1  # Pillow and OpenCV turn TIFF files themselves
            is_turned = exif.get(ORIENTATION, 1) in range(2, 9)
            if is_turned and (place := [tag for tag in PLACE_TAGS if tag in exif]):
                notes.append("the picture is turned: its geo-tags, which count in pixels, were dropped")
                for tag in place:
                    del exif[tag]
        else:
            exif = _loaded(image.info.get("exif") or b"")
            orientation = exif.get(ORIENTATION, 1)
        content = _made_of(*_described(exif))
        _corrected_exif(content, image.size, (1.0, 1.0))  # what cannot be corrected is found now, not after the work
    except Exception:  # Pillow raises whatever its parser stumbled over
        notes.append("the EXIF data is broken and was dropped")
        return None, 1
    return content, orientation if orientation in range(2, 9) else 1


def _corrected_exif(content: bytes | None, size: tuple[int, int], factors: tuple[float, float]) -> bytes | None:
    if content is None:
        return None
    main, details = _described(_loaded(content))
    main |= corrected_place(main, factors)
    for tag, factor in ((X_RESOLUTION, factors[0]), (Y_RESOLUTION, factors[1])):
        if tag in main:
            value = float(main.pop(tag)) * factor
            if 0 < value < math.inf:  # 0/0 stands in real files
                main[tag] = _rational(value)
    for tag, length in ((PIXEL_X, size[0]), (PIXEL_Y, size[1])):
        if tag in details.get(EXIF_IFD, {}):
            details[EXIF_IFD][tag] = length
    return _made_of(main, details)


def _loaded(content: bytes) -> Exif:
    from PIL import Image

    exif = Image.Exif()
    exif.load(content)
    return exif


def _described(exif: Exif) -> tuple[dict[int, Any], dict[int, dict[int, Any]]]:
    """What describes the picture: the main directory without what a TIFF file says of its storage, and EXIF's own."""
    main = {tag: value for tag, value in exif.items() if tag not in STRUCTURE and tag not in (EXIF_IFD, GPS_IFD)}
    details = {ifd: dict(values) for ifd in (EXIF_IFD, GPS_IFD) if (values := exif.get_ifd(ifd))}
    if INTEROP_IFD in details.get(EXIF_IFD, {}):
        details[EXIF_IFD][INTEROP_IFD] = dict(exif.get_ifd(INTEROP_IFD))
    return main, details


def _made_of(main: dict[int, Any], details: dict[int, dict[int, Any]]) -> bytes | None:
    from PIL import Image

    if not main and not details:
        return None
    exif = Image.Exif()
    exif.endian = "<"
    for tag, value in (main | details).items():
        exif[tag] = value
    return exif.tobytes()


def _rational(value: float) -> Any:
    from fractions import Fraction

    from PIL.TiffImagePlugin import IFDRational

    return IFDRational(Fraction(min(value, MAX_DPI)).limit_denominator(10_000))


def _corrected_xmp(xmp: bytes | None) -> bytes | None:
    if xmp is None:
        return None
    xmp = XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return XMP_SIZE.sub(b"", XMP_THUMBNAILS.sub(b"", xmp))


def _is_profile(icc: Any) -> bool:
    """Whether the header of an ICC profile is one (ICC.1:2022, 7.2: size in bytes 0 to 3, "acsp" in 36 to 39)."""
    if not isinstance(icc, bytes) or len(icc) < 132 or icc[36:40] != b"acsp":
        return False
    return int(struct.unpack(">I", icc[:4])[0]) <= len(icc)


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(one) for one in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (min(x, MAX_DPI), min(y, MAX_DPI)) if x > 1 and y > 1 else None
