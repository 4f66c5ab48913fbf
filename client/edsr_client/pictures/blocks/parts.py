"""The metadata that a file holds, as its container keeps them: JPEG, PNG, WebP, GIF, HEIC and AVIF; no pixels."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from .values import HEADER

EXIF_NAME, XMP_NAME = HEADER, b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION_NAME, PHOTOSHOP_NAME = b"http://ns.adobe.com/xmp/extension/\0", b"Photoshop 3.0\0"
GAIN_MAP_NAME = b"urn:iso:std:iso:ts:21496:-1\0"
GUID_BYTES = 32
APP1, APP2, APP11, APP13, COMMENT = 0xE1, 0xE2, 0xEB, 0xED, 0xFE
START_OF_SCAN, END = 0xDA, 0xD9
ALONE = {0x01, *range(0xD0, 0xD9)}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RAW_PROFILE = b"Raw profile type "
RAW_PROFILES = {"exif", "app1", "xmp", "icc", "icm", "8bim", "iptc"}
PNG_XMP = b"XML:com.adobe.xmp"
GIF_XMP, GIF_XMP_END = b"\x21\xff\x0bXMP DataXMP", b"\x01\xff\xfe\xfd"
GIF_PROFILE = b"\x21\xff\x0bICCRGBG1012"
# Application segments of JPEG that are read, or say how the pixels were stored.
KNOWN_SEGMENTS = (
    EXIF_NAME, XMP_NAME, EXTENSION_NAME, PHOTOSHOP_NAME, GAIN_MAP_NAME, b"JFIF\0", b"JFXX\0", b"ICC_PROFILE\0",
    b"MPF\0", b"Adobe", b"Ducky", b"JP",
)  # fmt: skip
CREDENTIALS_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
SAMSUNG_TRAILER, SAMSUNG_DIRECTORY, SAMSUNG_VIDEO = b"SEFT", b"SEFH", 0x0A30
TIFF_STARTS = (b"II\x2a\0", b"MM\0\x2a")
# Metadata that unpack to more are rather a trap.
MAX_UNPACKED = 64 * 2**20


@dataclass
class Parts:
    """What was found.

    Attributes:
        exif: with "Exif" and two zeros first.
        xmp: the first packet.
        extended: further packets of XMP by their MD5 sum, in parts by offset.
        photoshop: image resources.
        icc: a profile that stands where Pillow doesn't look for it.
        comments: of JPEG.
        credentials: whether there is a C2PA manifest.
        gain_map: whether there is an HDR gain map.
        video: whether the video of a motion photo is behind the picture.
        others: names of what further programs and cameras keep in segments of JPEG.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    extended: dict[bytes, dict[int, bytes]] = field(default_factory=dict)
    photoshop: bytes = b""
    icc: bytes | None = None
    comments: list[bytes] = field(default_factory=list)
    credentials: bool = False
    gain_map: bool = False
    video: bool = False
    others: list[str] = field(default_factory=list)


def parts_of(kind: str | None, file: BinaryIO) -> Parts:
    """The parts of a file, as far as they can be read; it is left where it was.

    Args:
        kind: the format as Pillow calls it.
        file: the file, open for reading and seeking.
    """
    readers = {"JPEG": _jpeg, "MPO": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif, "HEIF": _boxes, "AVIF": _boxes}
    parts, position = Parts(), file.tell()
    with contextlib.suppress(struct.error, zlib.error, ValueError, IndexError):
        file.seek(0)
        if kind in readers:
            readers[kind](file, parts)
    file.seek(position)
    return parts


def _jpeg(file: BinaryIO, parts: Parts) -> None:
    for marker, data in _segments(file):
        if marker == APP1 and data.startswith(EXIF_NAME):
            body = data[len(EXIF_NAME) :]
            if parts.exif is None:
                parts.exif = data
            elif not body.startswith(TIFF_STARTS):  # what goes on, as some cameras write it; not a second block
                parts.exif += body
        elif marker == APP1 and data.startswith(XMP_NAME) and parts.xmp is None:
            parts.xmp = data[len(XMP_NAME) :]
        elif marker == APP1 and data.startswith(EXTENSION_NAME):
            _extended(data[len(EXTENSION_NAME) :], parts)
        elif marker == APP2 and data.startswith(GAIN_MAP_NAME):
            parts.gain_map = True
        elif marker == APP11 and data.startswith(b"JP") and b"c2pa" in data[:128]:
            parts.credentials = True
        elif marker == APP13 and data.startswith(PHOTOSHOP_NAME):
            parts.photoshop += data[len(PHOTOSHOP_NAME) :]
        elif marker == COMMENT and data:
            parts.comments.append(data)
        elif 0xE0 <= marker <= 0xEF and not data.startswith(KNOWN_SEGMENTS):
            name = re.match(rb"[\x20-\x7e]*", data[:20])
            label = name[0].decode().strip() if name else ""
            parts.others.append(f"APP{marker - 0xE0} {label}".strip())
    file.seek(0, 2)
    end = file.tell()
    file.seek(max(0, end - 65_536))
    tail = file.read()
    parts.video = tail.endswith(SAMSUNG_TRAILER) and SAMSUNG_VIDEO in _samsung_kinds(tail)


def _samsung_kinds(tail: bytes) -> set[int]:
    """Of what is kept behind the picture: a directory of entries of 12 bytes, the kind in the second 2."""
    start = tail.rfind(SAMSUNG_DIRECTORY)
    if start < 0:
        return set()
    (count,) = struct.unpack_from("<I", tail, start + 8)
    entries = tail[start + 12 : start + 12 + 12 * count]
    return {kind for _, kind, _, _ in struct.iter_unpack("<HHII", entries[: len(entries) // 12 * 12])}


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Markers and their data up to the first scan."""
    if file.read(2) != b"\xff\xd8":
        return
    while file.read(1) == b"\xff":
        while (marker := file.read(1)) == b"\xff":
            pass
        if not marker or marker[0] in (START_OF_SCAN, END):
            return
        if marker[0] in ALONE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        data = file.read(max(0, length - 2))
        if len(data) < length - 2:
            return
        yield marker[0], data


def _extended(data: bytes, parts: Parts) -> None:
    name, body = data[:GUID_BYTES], data[GUID_BYTES + 8 :]
    _, offset = struct.unpack_from(">II", data, GUID_BYTES)
    parts.extended.setdefault(name, {})[offset] = body


def _png(file: BinaryIO, parts: Parts) -> None:
    if file.read(8) != PNG_SIGNATURE:
        return
    profiles: dict[str, bytes] = {}
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"IEND":
            break
        if name in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            data = file.read(length)
            file.seek(4, 1)
        else:
            parts.credentials |= name == b"caBX"
            file.seek(length + 4, 1)
            continue
        if name == b"eXIf":
            parts.exif = HEADER + data.removeprefix(HEADER)
        else:
            with contextlib.suppress(zlib.error, ValueError):
                _png_text(name, data, profiles, parts)
    _take_raw_profiles(profiles, parts)


def _png_text(name: bytes, data: bytes, profiles: dict[str, bytes], parts: Parts) -> None:
    keyword, _, rest = data.partition(b"\0")
    if not keyword.startswith(RAW_PROFILE) and keyword != PNG_XMP:
        return
    if name == b"zTXt":
        text = _unpacked(rest[1:])
    elif name == b"iTXt":
        *_, text = rest[2:].split(b"\0", 2)  # behind its language and the keyword in that
        text = _unpacked(text) if rest[:1] == b"\1" else text
    else:
        text = rest
    if keyword == PNG_XMP:
        parts.xmp = text
    else:
        profiles.setdefault(keyword[len(RAW_PROFILE) :].decode("latin-1").strip().lower(), _raw_profile(text))


def _raw_profile(text: bytes) -> bytes:
    """What ImageMagick and exiftool write: a line break, a name, the number of bytes, then hexadecimal digits."""
    found = re.match(rb"\s*\S+\s+(\d+)\s+", text)
    if found is None:
        raise ValueError("no profile")
    return bytes.fromhex(text[found.end() :].decode("ascii"))[: int(found[1])]


def _take_raw_profiles(profiles: dict[str, bytes], parts: Parts) -> None:
    for name in ("exif", "app1"):
        data = profiles.get(name, b"")
        if data.startswith(XMP_NAME):
            parts.xmp = parts.xmp or data[len(XMP_NAME) :]
        elif data and parts.exif is None:
            parts.exif = HEADER + data.removeprefix(HEADER)
    parts.xmp = parts.xmp or profiles.get("xmp")
    parts.icc = profiles.get("icc") or profiles.get("icm")
    parts.others += [f"Raw profile type {name}" for name in profiles.keys() - RAW_PROFILES]
    for name in ("8bim", "iptc"):
        data = profiles.get(name, b"").removeprefix(PHOTOSHOP_NAME)
        if data.startswith(b"\x1c"):  # the data sets without Photoshop's resource around them
            data = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)
        if data and not parts.photoshop:
            parts.photoshop = data


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, MAX_UNPACKED)
    if unpacker.unconsumed_tail:
        raise ValueError("too large")
    return text


def _webp(file: BinaryIO, parts: Parts) -> None:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        parts.credentials |= name == b"C2PA"
        file.seek(length + length % 2, 1)


def _gif(file: BinaryIO, parts: Parts) -> None:
    content = file.read()
    start = content.find(GIF_XMP)
    end = content.find(GIF_XMP_END, start)
    if 0 <= start < end:
        parts.xmp = content[start + len(GIF_XMP) : end]
    at = content.find(GIF_PROFILE)
    if at >= 0:
        at, profile = at + len(GIF_PROFILE), bytearray()
        while length := content[at]:
            profile += content[at + 1 : at + 1 + length]
            at += 1 + length
        parts.icc = bytes(profile)


def _boxes(file: BinaryIO, parts: Parts) -> None:
    """ISO base media: only whether a box of C2PA, or of a motion photo's video, is among the outermost."""
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        used = 8
        if length == 1:
            (length,), used = struct.unpack(">Q", file.read(8)), 16
        parts.video |= name == b"mpvd"
        if name == b"uuid":
            parts.credentials |= file.read(16) == CREDENTIALS_UUID
            used += 16
        if length < used:
            return
        file.seek(length - used, 1)
