"""What of the metadata a file format can hold, known before the pixels are, and how JPEG and PNG hold it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from .blocks.exif_layout import (
    fitting_exif,
    relaid,
    says_resolution,
    with_resolution,
    without_orientation,
)
from .blocks.extended_xmp import divided, guid
from .blocks.parts import APP1, APP13, COMMENT, EXTENSION_NAME, PHOTOSHOP_NAME, XMP_NAME
from .blocks.photoshop import iptc_of
from .formats import Format
from .metadata import MAKER_NOTE_NOTE, Metadata

# What a segment of JPEG holds beside its own length, and in how many of them a profile may stand.
SEGMENT_BYTES, MAX_PROFILE_BYTES = 65_533, 255 * (65_533 - 14)
EXTENDED_BYTES = SEGMENT_BYTES - len(EXTENSION_NAME) - 40
# Formats without a field of their own for the resolution, and those that have none at all.
RESOLUTION_IN_EXIF, NO_RESOLUTION = ("webp", "avif", "heic"), ("gif",)
IPTC_KEYWORD = "Raw profile type iptc"
HEX_DIGITS_A_LINE = 72


def fitting_metadata(
    metadata: Metadata, space: str, format_: Format, notes: list[str], in_bands: bool = False
) -> Metadata:
    """What of the metadata a format, and the kind of pixels, can hold.

    Args:
        metadata: of the result.
        space: of the pixels, as profiles name it: "GRAY", "RGB".
        format_: of the file.
        notes: grows by what cannot be held.
        in_bands: the file is written by libvips, and the tags are added to its end.
    """
    name = format_.name.upper()
    metadata = _with_colour(metadata, space, format_, notes)
    if metadata.icc and format_.icc and metadata.icc_space != space:
        notes.append(f"the ICC profile is for {metadata.icc_space}, the pixels in {name} are {space}: it was dropped")
        metadata = replace(metadata, icc=None)
    if format_.name in RESOLUTION_IN_EXIF and metadata.dpi:
        metadata = _with_resolution(metadata, metadata.dpi, notes)
    metadata = _without_what_is_not_held(metadata, format_, notes)
    if format_.name == "jpeg":
        metadata = _fitting_segments(metadata, notes)
    if format_.name == "avif" and metadata.exif:
        metadata = replace(metadata, exif=without_orientation(metadata.exif))
    if format_.name == "tiff" and metadata.exif and in_bands:
        exif, is_note_lost = relaid(metadata.exif, "<")
        if is_note_lost:
            notes.append(MAKER_NOTE_NOTE)
        metadata = replace(metadata, exif=exif)
    return metadata


def jpeg_segments(metadata: Metadata) -> bytes:
    """XMP, Photoshop's resources and the comment as segments of a JPEG file; EXIF and the profile are written apart."""
    segments = []
    if metadata.xmp:
        parts = (metadata.xmp, b"")
        if len(metadata.xmp) > SEGMENT_BYTES - len(XMP_NAME):
            parts = divided(metadata.xmp, SEGMENT_BYTES - len(XMP_NAME)) or parts
        segments.append(segment(APP1, XMP_NAME + parts[0]))
        segments += _extended_segments(parts[1])
    room = SEGMENT_BYTES - len(PHOTOSHOP_NAME)
    content = metadata.photoshop or b""
    segments += [segment(APP13, PHOTOSHOP_NAME + content[at : at + room]) for at in range(0, len(content), room)]
    return b"".join(segments) + (segment(COMMENT, metadata.comment) if metadata.comment else b"")


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG file."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def iptc_text(photoshop: bytes) -> str:
    """Photoshop's resources as ImageMagick and exiftool write them into a text of PNG."""
    digits = photoshop.hex()
    lines = [digits[at : at + HEX_DIGITS_A_LINE] for at in range(0, len(digits), HEX_DIGITS_A_LINE)]
    return f"\niptc\n{len(photoshop):8d}\n" + "\n".join(lines) + "\n"


def _without_what_is_not_held(metadata: Metadata, format_: Format, notes: list[str]) -> Metadata:
    fits = len(metadata.comment or b"") <= format_.max_comment_bytes
    kinds = (
        ("exif", "EXIF", format_.exif),
        ("xmp", "XMP", format_.xmp),
        ("icc", "ICC profile", format_.icc),
        ("photoshop", _photoshop_label(metadata.photoshop), format_.iptc),
        ("text", "text", format_.text),
        ("comment", "the comment", fits),
        ("dpi", "the resolution", format_.name not in NO_RESOLUTION),
    )
    lost = [(field, label) for field, label, held in kinds if getattr(metadata, field) and not held]
    if lost:
        labels = " and ".join(label for _, label in lost)
        notes.append(f"{format_.name.upper()} cannot hold {labels}: dropped")
    return metadata.without(*(field for field, _ in lost))


def _with_colour(metadata: Metadata, space: str, format_: Format, notes: list[str]) -> Metadata:
    """What a file says of its colours outside of a profile: PNG keeps its own words, others get a profile."""
    colour = metadata.colour
    if colour is None or (format_.name == "png" and colour.chunks):
        return metadata
    if not colour.is_clear:
        notes.append(f"{format_.name.upper()} cannot hold {colour.words}: dropped")
    elif format_.icc and not metadata.icc:
        metadata = replace(metadata, icc=colour.icc(grey=space == "GRAY"))
    return metadata.without("colour")


def _with_resolution(metadata: Metadata, dpi: tuple[float, float], notes: list[str]) -> Metadata:
    """The resolution in EXIF, unless that says one."""
    if metadata.exif and says_resolution(metadata.exif):
        return metadata
    exif = with_resolution(metadata.exif, dpi)
    if exif is None:
        notes.append("the resolution was dropped: EXIF would have to be written anew, and its maker's note with it")
        return metadata
    return replace(metadata, exif=exif)


def _photoshop_label(content: bytes | None) -> str:
    return "IPTC" if content and iptc_of(content) else "Photoshop data"


def _fitting_segments(metadata: Metadata, notes: list[str]) -> Metadata:
    """For JPEG, whose segments end at 64 KB."""
    if metadata.exif and len(metadata.exif) > SEGMENT_BYTES:
        exif, lost = fitting_exif(metadata.exif, SEGMENT_BYTES)
        notes.append(f"EXIF is larger than the 64 KB that JPEG can hold: {', '.join(lost)} dropped")
        metadata = replace(metadata, exif=exif)
    most = SEGMENT_BYTES - len(XMP_NAME)
    if metadata.xmp and len(metadata.xmp) > most and divided(metadata.xmp, most) is None:
        notes.append("XMP is larger than the 64 KB that JPEG can hold, and cannot be divided: dropped")
        metadata = replace(metadata, xmp=None)
    if metadata.icc and len(metadata.icc) > MAX_PROFILE_BYTES:
        notes.append("the ICC profile is larger than the 16 MB that JPEG can hold: dropped")
        metadata = replace(metadata, icc=None)
    return metadata


def _extended_segments(extended: bytes) -> Iterator[bytes]:
    name = guid(extended)
    for at in range(0, len(extended), EXTENDED_BYTES):
        head = EXTENSION_NAME + name + struct.pack(">II", len(extended), at)
        yield segment(APP1, head + extended[at : at + EXTENDED_BYTES])
