"""Metadata as cameras and programs write them, made for the tests byte by byte."""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Any

from tests.unit.picture_files import encoded, photo, png_chunk

MAKE, MODEL, DESCRIPTION, ORIENTATION, X_RESOLUTION, Y_RESOLUTION = 0x010F, 0x0110, 0x010E, 0x0112, 0x011A, 0x011B
EXIF_IFD, GPS_IFD, MAKER_NOTE, EXPOSURE, PIXEL_X, PIXEL_Y = 0x8769, 0x8825, 0x927C, 0x829A, 0xA002, 0xA003
SUBJECT_AREA, FOCAL_X, USER_COMMENT = 0x9214, 0xA20E, 0x9286
ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 2, 3, 4, 5, 7
NOTE_TEXT = b"Firmware 1.2.3 of a camera\0"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "Item": "http://ns.google.com/photos/1.0/container/item/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "my": "http://example.org/my/",
}
Row = tuple[int, int, int, bytes]


def text(tag: int, value: bytes) -> Row:
    return (tag, ASCII, len(value) + 1, value + b"\0")


def numbers(order: str, tag: int, kind: int, *values: int) -> Row:
    letter = {SHORT: "H", LONG: "L", RATIONAL: "L"}[kind]
    count = len(values) // 2 if kind == RATIONAL else len(values)
    return (tag, kind, count, struct.pack(f"{order}{len(values)}{letter}", *values))


def block(order: str, main: list[Row], details: list[Row], note: bool = False, gps: list[Row] | None = None) -> bytes:
    """An EXIF block: header, main directory, its values, EXIF's directory, its values, the maker's note; then GPS."""
    content = bytearray((b"II\x2a\0" if order == "<" else b"MM\0\x2a") + struct.pack(order + "L", 8))
    pointers = [(EXIF_IFD, LONG, 1, bytes(4))] * bool(details or note) + [(GPS_IFD, LONG, 1, bytes(4))] * bool(gps)
    places = _directory(content, order, sorted([*main, *pointers]))
    if details or note:
        struct.pack_into(order + "L", content, places[EXIF_IFD] + 8, len(content))
        rows = [*details, (MAKER_NOTE, UNDEFINED, 0, b"")] if note else details
        inner = _directory(content, order, sorted(rows))
        if note:
            start = len(content)
            content += maker_note(order, start)
            struct.pack_into(order + "LL", content, inner[MAKER_NOTE] + 4, len(content) - start, start)
    if gps:
        struct.pack_into(order + "L", content, places[GPS_IFD] + 8, len(content))
        _directory(content, order, sorted(gps))
    return b"Exif\0\0" + bytes(content)


def _directory(content: bytearray, order: str, rows: list[Row]) -> dict[int, int]:
    """Where the entry of each tag stands."""
    start = len(content)
    content += struct.pack(order + "H", len(rows)) + bytes(12 * len(rows) + 4)
    places = {}
    for index, (tag, kind, count, data) in enumerate(rows):
        places[tag] = at = start + 2 + 12 * index
        struct.pack_into(order + "HHL", content, at, tag, kind, count)
        if len(data) > 4:
            struct.pack_into(order + "L", content, at + 8, len(content))
            content += data + bytes(len(data) % 2)
        else:
            content[at + 8 : at + 8 + len(data)] = data
    return places


def maker_note(order: str, start: int) -> bytes:
    """As Canon writes it: a directory whose offsets count from the start of the block, with one text."""
    head = struct.pack(order + "HHHLLL", 1, 6, ASCII, len(NOTE_TEXT), start + 18, 0)
    return head + NOTE_TEXT + bytes(len(NOTE_TEXT) % 2)


def note_text(content: bytes) -> bytes | None:
    """What a reader finds who follows the offsets of the note; None if there is no note.

    Args:
        content: an EXIF block, or a TIFF file.
    """
    tiff = content.removeprefix(b"Exif\0\0")
    order = "<" if tiff[:2] == b"II" else ">"
    details = _find(tiff, order, struct.unpack_from(order + "L", tiff, 4)[0], EXIF_IFD)
    found = _find(tiff, order, details[1], MAKER_NOTE) if details else ()
    if not found:
        return None
    length, where = struct.unpack_from(order + "LL", tiff, found[1] + 6)
    return tiff[where : where + length]


def _find(tiff: bytes, order: str, start: int, tag: int) -> tuple[int, ...]:
    for index in range(struct.unpack_from(order + "H", tiff, start)[0]):
        at = start + 2 + 12 * index
        if struct.unpack_from(order + "H", tiff, at)[0] == tag:
            return struct.unpack_from(order + "LL", tiff, at + 4)
    return ()


def camera_block(order: str = "<", orientation: int = 1, note: bool = True) -> bytes:
    """A block with all that is corrected, a place, and perhaps a maker's note."""
    main = [
        text(MAKE, b"Camera"),
        numbers(order, ORIENTATION, SHORT, orientation),
        numbers(order, X_RESOLUTION, RATIONAL, 300, 1),
        numbers(order, Y_RESOLUTION, RATIONAL, 300, 1),
    ]
    details = [
        numbers(order, EXPOSURE, RATIONAL, 1, 100),
        numbers(order, SUBJECT_AREA, SHORT, 9, 6, 4, 2),
        numbers(order, PIXEL_X, SHORT, 36),
        numbers(order, PIXEL_Y, SHORT, 24),
        numbers(order, FOCAL_X, RATIONAL, 1000, 1),
    ]
    return block(order, main, details, note=note, gps=[text(1, b"N"), numbers(order, 2, RATIONAL, 48, 1, 8, 1, 0, 1)])


def packet(attributes: str, elements: str = "", more: str = "") -> bytes:
    """An XMP packet with these properties."""
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f'<rdf:RDF xmlns:rdf="{RDF}">\n<rdf:Description rdf:about="" {spaces} {attributes}>\n{elements}\n'
        f'</rdf:Description>{more}\n</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def extended(attributes: str, value: str) -> tuple[bytes, bytes]:
    """A packet, and the extended one that it names, with a long property."""
    rest = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
        f'xmlns:my="{NAMESPACES["my"]}"><my:Data>{value}</my:Data></rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()
    name = hashlib.md5(rest).hexdigest().upper()  # noqa: S324
    return packet(f'{attributes} xmpNote:HasExtendedXMP="{name}"'), rest


def iptc(*values: tuple[int, bytes]) -> bytes:
    """IPTC's data sets of record 2."""
    return b"".join(b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(data)) + data for number, data in values)


def resource(number: int, data: bytes) -> bytes:
    """One of Photoshop's image resources."""
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


def segment(marker: int, data: bytes) -> bytes:
    """A segment of JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments: bytes, tail: bytes = b"", **options: Any) -> bytes:
    """A JPEG file with further segments."""
    content = encoded(photo(), "JPEG", quality=92, **options)
    return content[:2] + b"".join(segments) + content[2:] + tail


def jpeg_with(
    exif: bytes = b"", xmp: bytes = b"", rest: bytes = b"", resources: bytes = b"", tail: bytes = b"", **options: Any
) -> bytes:
    """A JPEG file with metadata, as segments."""
    segments = [segment(0xE1, exif)] if exif else []
    if xmp:
        segments.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
    name = hashlib.md5(rest).hexdigest().upper().encode()  # noqa: S324
    for at in range(0, len(rest), 60_000):
        head = b"http://ns.adobe.com/xmp/extension/\0" + name + struct.pack(">II", len(rest), at)
        segments.append(segment(0xE1, head + rest[at : at + 60_000]))
    if resources:
        segments.append(segment(0xED, b"Photoshop 3.0\0" + resources))
    return jpeg(*segments, tail=tail, **options)


def png_with(*chunks: tuple[bytes, bytes], late: bool = False) -> bytes:
    """A PNG file with further chunks, before the pixels or behind them."""
    content = encoded(photo(), "PNG")
    at = len(content) - 12 if late else 33
    return content[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + content[at:]


def raw_profile(name: str, data: bytes, packed: bool = True) -> tuple[bytes, bytes]:
    """A text chunk as ImageMagick writes it."""
    digits = data.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    body = f"\n{name}\n{len(data):8d}\n{lines}\n".encode()
    keyword = b"Raw profile type " + name.encode() + b"\0"
    return (b"zTXt", keyword + b"\0" + zlib.compress(body)) if packed else (b"tEXt", keyword + body)
