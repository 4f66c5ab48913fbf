"""What a file carries besides pixels: EXIF, XMP, IPTC, ICC profile, resolution. Kept, and corrected where upscaling
made it wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from .blocks.exif import Block
from .blocks.exif_rules import (
    CREDENTIALS_NOTE,
    IPTC,
    MAX_DPI,
    ORIENTATION,
    PHOTOSHOP,
    RESOLUTION_UNIT,
    X_RESOLUTION,
    XMP,
    Y_RESOLUTION,
    cleaned,
    corrected_exif,
)
from .blocks.extended_xmp import joined
from .blocks.parts import Parts, parts_of
from .blocks.photoshop import cleaned_photoshop, corrected_photoshop
from .blocks.tiff_directory import tags_of
from .blocks.values import EXIF_IFD, GPS_IFD, HEADER, INTEROP_IFD, MAIN, MAKER_NOTE, is_movable
from .blocks.xmp_rules import BROKEN_NOTE, DEPTH_NOTE, GAIN_MAP_NOTE, MOTION_NOTE, cleaned_xmp, corrected_xmp
from .colour import Colour

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = [
    "EXIF_IFD",
    "GPS_IFD",
    "INTEROP_IFD",
    "ORIENTATION",
    "RESOLUTION_UNIT",
    "X_RESOLUTION",
    "Y_RESOLUTION",
    "Metadata",
    "corrected",
    "read_metadata",
    "with_profile",
]

TEXT_OF_OTHERS = ("XML:com.adobe.xmp", "Raw profile type")
# Texts of PNG that some programs make of EXIF or of a thumbnail, and that are not true any more.
STALE_TEXT = ("exif:Orientation", "exif:PixelXDimension", "exif:PixelYDimension", "exif:ExifImage", "Thumb::")
APPLE_GAIN_MAP = "hdrgainmap"
BROKEN_EXIF_NOTE = "the EXIF data is broken and was dropped"
MAKER_NOTE_NOTE = "the maker's note in the EXIF data was dropped: it would mean nothing where it has to stand now"


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
        photoshop: image resources, of which IPTC is one.
        colour: what the file says of its colours outside of a profile.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    comment: bytes | None = None
    photoshop: bytes | None = None
    colour: Colour | None = None

    @property
    def icc_space(self) -> str:
        """Colour space of the profile: "RGB", "GRAY", "CMYK", ...; "" without one."""
        return self.icc[16:20].decode("latin-1").strip() if self.icc else ""

    def without(self, *kinds: str) -> Metadata:
        """The same without some of the attributes."""
        nothing: dict[str, Any] = {kind: () if kind == "text" else None for kind in kinds}
        return replace(self, **nothing)


def read_metadata(
    image: PillowImage, without_decoding: bool = False, file: BinaryIO | None = None
) -> tuple[Metadata, int, list[str]]:
    """What an opened picture carries, its EXIF orientation (1 to 8), and notes on what is broken or lost, and dropped.

    What is only true of the file it comes from is not among it: the thumbnail, the storage of the pixels, flags of
    videos and pictures behind the main one. The orientation that it names is 1, since it is applied to the pixels.

    Args:
        without_decoding: leave out what PNG files have behind their pixels.
        file: the content, open for reading and seeking, which tells more than `image`; it is left where it was. By
            default what Pillow has open.
    """
    notes: list[str] = []
    file = file or _file_of(image)
    parts = Parts() if file is None else parts_of(image.format, file)
    exif, turn, apart = _read_exif(image, parts, file, notes)
    icc = image.info.get("icc_profile") or parts.icc
    if icc is not None and not _is_profile(icc):
        notes.append("the ICC profile is broken and was dropped")
        icc = None
    metadata = Metadata(
        exif,
        _read_xmp(image, parts, apart, turn, exif, notes),
        icc,
        _dpi(image.info.get("dpi")),
        _text(image, without_decoding) if image.format == "PNG" else (),
        _comment(image, parts),
        cleaned_photoshop(apart.get(PHOTOSHOP) or parts.photoshop, apart.get(IPTC), turn != 1, notes),
    )
    _note_companions(image, parts, notes)
    # Pillow and OpenCV turn TIFF files themselves, and pillow-heif HEIC.
    is_turned_by_decoder = image.format in ("TIFF", "HEIF")
    return metadata, 1 if is_turned_by_decoder else turn, list(dict.fromkeys(notes))


def corrected(metadata: Metadata, old_size: tuple[int, int], new_size: tuple[int, int]) -> Metadata:
    """The metadata of the upscaled picture.

    Sizes and places in pixels are the new ones. The resolution grows with the picture, so that it is as large on paper
    as it was.

    Args:
        old_size, new_size: (width, height), both after the orientation was applied.
    """
    factors = (new_size[0] / old_size[0], new_size[1] / old_size[1])
    return replace(
        metadata,
        exif=metadata.exif and corrected_exif(metadata.exif, old_size, new_size),
        xmp=metadata.xmp and corrected_xmp(metadata.xmp, old_size, new_size),
        dpi=metadata.dpi and _dpi((metadata.dpi[0] * factors[0], metadata.dpi[1] * factors[1])),
        photoshop=metadata.photoshop and corrected_photoshop(metadata.photoshop, factors),
    )


def with_profile(metadata: Metadata, grey: bool) -> tuple[Metadata, list[str]]:
    """What a file says of its colours outside of a profile, as a profile; and notes on what cannot be said so."""
    colour = metadata.colour
    if colour is None or metadata.icc:
        return replace(metadata, colour=None), []
    notes = [] if colour.is_clear else [f"{colour.words} cannot be kept in bands: dropped"]
    return replace(metadata, icc=colour.icc(grey), colour=None), notes


def _file_of(image: PillowImage) -> BinaryIO | None:
    """What Pillow reads; None where its plugin has closed it."""
    file = getattr(image, "fp", None)
    return None if file is None or getattr(file, "closed", True) else file


def _read_exif(
    image: PillowImage, parts: Parts, file: BinaryIO | None, notes: list[str]
) -> tuple[bytes | None, int, dict[int, bytes]]:
    """EXIF, the orientation that is or will be applied, and what stands in its directory but is handed over apart.

    EXIF's own words only: an orientation that stands in XMP alone is no instruction to viewers.
    """
    try:
        if image.format == "TIFF":
            return _read_tiff(image, file, notes)
        content = parts.exif or image.info.get("exif")
        if not content:
            return None, _turn_of_decoder(image) or 1, {}
        block = Block(content)
        turn, apart = cleaned(block, _stored_size(image), notes, _turn_of_decoder(image))
        _drop_moved_note(image, block, content, file, notes)
        return _proven(block.tobytes(), _stored_size(image)), turn, apart
    except (ValueError, TypeError, ArithmeticError, LookupError, struct.error):
        notes.append(BROKEN_EXIF_NOTE)
        return None, _turn_of_decoder(image) or 1, {}


def _read_tiff(
    image: PillowImage, file: BinaryIO | None, notes: list[str]
) -> tuple[bytes | None, int, dict[int, bytes]]:
    if file is None:
        raise ValueError("no file")
    tags = tags_of(file, image.tell())
    if tags.is_note_lost:
        notes.append(MAKER_NOTE_NOTE)
    if tags.exif is None:
        return None, 1, tags.apart
    block = Block(tags.exif)
    block.faults += [(0, tag) for tag in tags.faults]
    turn, _ = cleaned(block, _stored_size(image), notes)
    return _proven(block.tobytes(), _stored_size(image)), turn, tags.apart


def _proven(content: bytes | None, size: tuple[int, int]) -> bytes | None:
    """A block of which it is sure before the work that it can be corrected after it."""
    if content is not None:
        corrected_exif(content, size, (size[0] * 3, size[1] * 3))
    return content


def _stored_size(image: PillowImage) -> tuple[int, int]:
    """(width, height) before any orientation."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        return int(tags[256]), int(tags[257])
    if (_turn_of_decoder(image) or 1) >= 5:
        return image.height, image.width
    return image.size


def _turn_of_decoder(image: PillowImage) -> int | None:
    """The orientation that pillow-heif has applied, and set to 1 in the block; None for all other formats."""
    if image.format != "HEIF":
        return None
    turn = image.info.get("original_orientation")
    return turn if turn in range(2, 9) else 1


def _drop_moved_note(image: PillowImage, block: Block, content: bytes, file: BinaryIO | None, notes: list[str]) -> None:
    """Pillow writes the block of an AVIF file anew, to put its orientation in, and so moves the maker's note."""
    note = block.value(EXIF_IFD, MAKER_NOTE)
    if image.format != "AVIF" or note is None or is_movable(note.data) or file is None:
        return
    position = file.tell()
    file.seek(0)
    is_as_it_was = content.removeprefix(HEADER) in file.read()
    file.seek(position)
    if not is_as_it_was:
        notes.append(MAKER_NOTE_NOTE)
        block.remove(EXIF_IFD, [MAKER_NOTE])


def _read_xmp(
    image: PillowImage, parts: Parts, apart: dict[int, bytes], turn: int, exif: bytes | None, notes: list[str]
) -> bytes | None:
    found: Any = parts.xmp or image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or apart.get(XMP)
    if isinstance(found, str):
        found = found.encode("utf-8", "surrogateescape")
    if not isinstance(found, bytes) or not found.strip(b"\0 \t\r\n"):
        return None
    try:
        found = joined(found, parts.extended, notes)
    except ValueError:
        notes.append(BROKEN_NOTE)
        return None
    is_alone = image.format not in ("HEIF", "AVIF") and (exif is None or Block(exif).value(MAIN, ORIENTATION) is None)
    return cleaned_xmp(found, turn, is_alone, notes)


def _note_companions(image: PillowImage, parts: Parts, notes: list[str]) -> None:
    """What is in the file beside the picture and cannot be kept."""
    further: Any = image.info.get("aux") or {}
    for note, is_there in (
        (CREDENTIALS_NOTE, parts.credentials),
        (MOTION_NOTE, parts.video),
        (GAIN_MAP_NOTE, parts.gain_map or any(APPLE_GAIN_MAP in str(one) for one in further)),
        (DEPTH_NOTE, bool(image.info.get("depth_images")) or any(APPLE_GAIN_MAP not in str(one) for one in further)),
    ):
        if is_there:
            notes.append(note)
    if parts.others:
        notes.append(f"what other programs keep in the file was dropped: {', '.join(dict.fromkeys(parts.others))}")


def _comment(image: PillowImage, parts: Parts) -> bytes | None:
    comment = b"\n".join(parts.comments) or image.info.get("comment")
    return comment if isinstance(comment, bytes) and comment else None


def _text(image: PillowImage, without_decoding: bool) -> tuple[tuple[str, str], ...]:
    """PNG's text chunks, also those after the pixels, without those in which other metadata are hidden."""
    found: dict[Any, Any] = image.info if without_decoding else image.text  # type: ignore[attr-defined]
    return tuple(
        (key, value)
        for key, value in found.items()
        if isinstance(value, str) and not key.startswith(TEXT_OF_OTHERS) and not key.startswith(STALE_TEXT)
    )


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
