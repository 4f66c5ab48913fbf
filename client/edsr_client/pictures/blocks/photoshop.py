"""Photoshop's image resources, in which IPTC stands: what is true of other pixels is kept.

Adobe Photoshop File Formats Specification, "Image Resources"; IPTC-IIM 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

RESOLUTION, IPTC, ICC, XMP, EXIF, EXIF_3, JPEG_QUALITY = 0x03ED, 0x0404, 0x040F, 0x0424, 0x0422, 0x0423, 0x0406
PATHS = range(0x07D0, 0x0BB7)
CLIPPING_PATH = 0x0BB7
# Thumbnails, guides and slices in pixels, layers, and copies of what stands elsewhere.
DROPPED = {0x0400, 0x0402, 0x0408, 0x0409, 0x040C, 0x0410, 0x041A, 0x0430, JPEG_QUALITY, ICC, XMP, EXIF, EXIF_3}
SIGNATURES = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")
DATA_SET = 0x1C
MAX_FIXED = 2**31 - 1
BROKEN_NOTE = "the IPTC or Photoshop data is broken in places: what follows was dropped"
PATHS_NOTE = "the picture is turned: Photoshop's paths were dropped"


@dataclass(frozen=True)
class Resource:
    """An image resource: number, name as it stands there with its length, data."""

    signature: bytes
    number: int
    name: bytes
    data: bytes

    def tobytes(self) -> bytes:
        head = self.signature + struct.pack(">H", self.number) + self.name + struct.pack(">I", len(self.data))
        return head + self.data + bytes(len(self.data) % 2)


def resources(content: bytes) -> Iterator[Resource]:
    """The resources of a block.

    Raises:
        ValueError: the rest is none.
    """
    at = 0
    while at + 12 <= len(content):
        signature = content[at : at + 4]
        if signature not in SIGNATURES:
            raise ValueError("no resource")
        (number,) = struct.unpack_from(">H", content, at + 4)
        name_end = at + 7 + content[at + 6]
        name_end += (name_end - at) % 2
        data = name_end + 4
        if data > len(content):
            raise ValueError("it ends too early")
        (size,) = struct.unpack_from(">I", content, data - 4)
        if data + size > len(content):
            raise ValueError("it ends too early")
        yield Resource(signature, number, content[at + 6 : name_end], content[data : data + size])
        at = data + size + size % 2
    if content[at:].strip(b"\0"):
        raise ValueError("it ends too early")


def cleaned_photoshop(content: bytes | None, iptc: bytes | None, turned: bool, notes: list[str]) -> bytes | None:
    """The resources that hold for other pixels; None if there are none.

    Args:
        content: the block.
        iptc: data sets that stand apart from it, in a TIFF file.
        turned: whether an orientation was applied.
        notes: grows.
    """
    kept: list[Resource] = []
    try:
        for one in resources(content or b""):
            if one.number not in DROPPED:
                kept.append(one)
    except ValueError:
        notes.append(BROKEN_NOTE)
    if turned and any(one.number in PATHS or one.number == CLIPPING_PATH for one in kept):
        notes.append(PATHS_NOTE)
        kept = [one for one in kept if one.number not in PATHS and one.number != CLIPPING_PATH]
    data = b"".join(_cleaned_iptc(one.data) for one in kept if one.number == IPTC) or _cleaned_iptc(_in_order(iptc))
    kept = [Resource(b"8BIM", IPTC, b"\0\0", data), *(one for one in kept if one.number != IPTC)]
    return b"".join(one.tobytes() for one in kept if one.data) or None


def corrected_photoshop(content: bytes, factors: tuple[float, float]) -> bytes:
    """Resources that were cleaned, for a picture of another size: its resolution grows with it."""
    return b"".join(
        (replace(one, data=_resolution(one.data, factors)) if one.number == RESOLUTION else one).tobytes()
        for one in resources(content)
    )


def iptc_of(content: bytes) -> bytes | None:
    """The IPTC data sets of a block."""
    return next((one.data for one in resources(content) if one.number == IPTC), None)


def _resolution(data: bytes, factors: tuple[float, float]) -> bytes:
    """Two fixed-point numbers of 16 and 16 bits, each before two units."""
    if len(data) < 16:
        return data
    changed = bytearray(data)
    for at, factor in ((0, factors[0]), (8, factors[1])):
        (value,) = struct.unpack_from(">I", changed, at)
        struct.pack_into(">I", changed, at, min(round(value * factor), MAX_FIXED))
    return bytes(changed)


def _in_order(data: bytes | None) -> bytes:
    """Data sets that some writer called numbers of 32 bits, in the byte order of their bytes."""
    data = data or b""
    if data[:1] != b"\x1c" and data[3:4] == b"\x1c":
        return b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return data


def _cleaned_iptc(data: bytes) -> bytes:
    """Without previews (2:200 to 2:202), and what counts the old pixels (record 3); the rest as it is."""
    kept, at = bytearray(), 0
    while at + 5 <= len(data) and data[at] == DATA_SET:
        record, number, length = struct.unpack_from(">BBH", data, at + 1)
        start = at + 5
        if length & 0x8000:  # the length's own length
            width = length & 0x7FFF
            length, start = int.from_bytes(data[start : start + width], "big"), start + width
        end = min(start + length, len(data))
        if not (record == 3 or (record == 2 and number in (200, 201, 202))):
            kept += data[at:end]
        at = end
    return bytes(kept)
