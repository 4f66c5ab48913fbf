"""What files say of their colours outside of ICC profiles: PNG's chunks, the numbers in HEIF and AVIF, TIFF's tags, the
headers of BMP."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from ..errors import BadImageError
from . import boxes
from .colour import BT709, HDR, Colour, of_gamma, of_numbers
from .metadata import Metadata

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
WHITE_POINT, PRIMARIES, TRANSFER_FUNCTION = 318, 319, 301
# Of a BMP file: where its header begins, its length there, kind of colour, end points, gammas, profile (offset, size).
BMP_HEADER, BMP_KIND, BMP_POINTS, BMP_GAMMAS, BMP_PROFILE = 14, 70, 74, 110, 126
BMP_CALIBRATED, BMP_EMBEDDED = 0, 0x4D424544
TIFF_GAMMA = 2.2
CHROMATICITY_TOLERANCE = 0.005
LARGEST_CHUNK_BYTES = 64

Tags = Mapping[int, Any]


def described(
    file: BinaryIO, kind: str, metadata: Metadata, name: str, notes: list[str], tags: Tags | None = None
) -> Metadata:
    """The metadata with what the file says of its colours; notes get what cannot be kept.

    Args:
        file: the picture file.
        kind: as Pillow calls it.
        metadata: as read so far.
        name: of the file, for messages.
        notes: are added to.
        tags: of the page, in a TIFF file.

    Raises:
        BadImageError: the picture is HDR.
    """
    if metadata.icc and (numbers := _numbers_of_profile(metadata.icc)):
        _refuse_hdr(numbers[1], name)
    if kind == "PNG":
        colour = _of_png(file, name)
    elif kind in ("HEIF", "AVIF"):
        colour = _of_boxes(file, name, notes)
    elif kind == "TIFF" and tags is not None:
        colour = _of_tiff(tags)
    elif kind == "BMP":
        file.seek(0)
        colour, icc = _of_bmp(file.read())
        metadata = replace(metadata, icc=metadata.icc or icc)
    else:
        colour = None
    return replace(metadata, colour=colour)


def _refuse_hdr(transfer: int, name: str) -> None:
    if transfer in HDR:
        raise BadImageError(
            f"{name} is HDR ({HDR[transfer]}), and the network works on 8 bits of SDR. Convert it to SDR first."
        )


def _of_numbers(primaries: int, transfer: int, name: str, notes: list[str]) -> Colour | None:
    _refuse_hdr(transfer, name)
    colour = of_numbers(primaries, transfer)
    if colour is None:
        notes.append(
            f"the colours are described by numbers without a profile (primaries {primaries}, transfer {transfer} of "
            "H.273): dropped"
        )
    return colour


def _of_png(file: BinaryIO, name: str) -> Colour | None:
    """In the order of PNG's third edition, 4.3: cICP, (iCCP,) sRGB, gAMA with cHRM."""
    found = _png_chunks(file)
    if not found:
        return None
    colour = Colour()
    if len(numbers := found.get(b"cICP", b"")) == 4:
        primaries, transfer, _, is_full = numbers
        _refuse_hdr(transfer, name)
        words = f"primaries {primaries}, transfer {transfer} of H.273{'' if is_full else ', narrow range'}"
        known = of_numbers(primaries, transfer) if is_full else None
        colour = known or Colour(words=words, is_clear=False)
    elif b"sRGB" not in found:
        gamma = int.from_bytes(found.get(b"gAMA", b""), "big")
        points = struct.unpack(">8I", found[b"cHRM"]) if len(found.get(b"cHRM", b"")) == 32 else ()
        if gamma:
            colour = of_gamma(100_000 / gamma, [point / 100_000 for point in points], "PNG")
        else:
            colour = Colour(words="primaries without a gamma", is_clear=False)
    return replace(colour, chunks=tuple((key, found[key]) for key in PNG_CHUNKS if key in found))


def _png_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """Those that describe colours; they stand before the pixels."""
    file.seek(0)
    found: dict[bytes, bytes] = {}
    if file.read(8) != PNG_SIGNATURE:
        return found
    while len(head := file.read(8)) == 8:
        length, key = struct.unpack(">I4s", head)
        if key in (b"IDAT", b"IEND"):
            break
        if key in PNG_CHUNKS and length <= LARGEST_CHUNK_BYTES:
            found[key] = file.read(length)
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)
    return found


def _of_boxes(file: BinaryIO, name: str, notes: list[str]) -> Colour | None:
    file.seek(0)
    numbers = boxes.colour_numbers(file.read())
    return None if numbers is None else _of_numbers(numbers[0], numbers[1], name, notes)


def _of_tiff(tags: Tags) -> Colour | None:
    """TIFF 6.0, section 20: without TransferFunction it is a gamma of 2.2."""
    points = _fractions(tags.get(PRIMARIES, ()))
    table = tags.get(TRANSFER_FUNCTION, ())
    if len(points) != 6 and not isinstance(table, tuple):
        return None
    white = _fractions(tags.get(WHITE_POINT, ()))
    primaries = (*(white if len(white) == 2 else BT709[:2]), *points) if len(points) == 6 else BT709
    if not isinstance(table, tuple) or len(table) < 6:
        return of_gamma(TIFF_GAMMA, primaries, "TIFF") if len(points) == 6 else None
    whole = len(table) // 3 if (len(table) & (len(table) - 1)) else len(table)
    curve = tuple(value / 65_535 for value in table[:whole])
    return Colour(primaries, curve, "the transfer function of TIFF")


def _fractions(values: Any) -> tuple[float, ...]:
    if not isinstance(values, tuple) or len(values) % 2 or 0 in values[1::2]:
        return ()
    return tuple(top / bottom for top, bottom in zip(values[::2], values[1::2], strict=True))


def _of_bmp(data: bytes) -> tuple[Colour | None, bytes | None]:
    """The calibrated colours of a header of version 4, the profile of version 5."""
    size = int.from_bytes(data[BMP_HEADER : BMP_HEADER + 4], "little")
    if size < 108 or len(data) < BMP_HEADER + size:
        return None, None
    (kind,) = struct.unpack_from("<I", data, BMP_KIND)
    if kind == BMP_EMBEDDED and size >= 124:
        offset, length = struct.unpack_from("<II", data, BMP_PROFILE)
        content = data[BMP_HEADER + offset : BMP_HEADER + offset + length]
        return None, content if content[36:40] == b"acsp" else None
    if kind != BMP_CALIBRATED:
        return None, None
    points = [value / 2**30 for value in struct.unpack_from("<9i", data, BMP_POINTS)]
    gammas = [value / 65_536 for value in struct.unpack_from("<3I", data, BMP_GAMMAS)]
    colours = [points[0:3], points[3:6], points[6:9]]
    white = [sum(parts) for parts in zip(*colours, strict=True)]
    if not min(gammas) > 0 or any(sum(xyz) <= 0 or xyz[1] <= 0 for xyz in (white, *colours)):
        return None, None
    primaries = [part for xyz in (white, *colours) for part in (xyz[0] / sum(xyz), xyz[1] / sum(xyz))]
    if all(abs(sum(xyz) - 1) < CHROMATICITY_TOLERANCE for xyz in colours):  # x, y, z alone: white is not their sum
        primaries[:2] = BT709[:2]
    gamma = gammas[1] if gammas[1] >= 1 else 1 / gammas[1]  # programs write either
    return of_gamma(gamma, primaries, "BMP"), None


def _numbers_of_profile(icc: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of H.273 in a profile that has them (its tag "cicp")."""
    (count,) = struct.unpack_from(">I", icc, 128)
    for index in range(min(count, (len(icc) - 132) // 12)):
        key, offset, size = struct.unpack_from(">4sII", icc, 132 + 12 * index)
        if key == b"cicp" and size >= 12 and offset + 12 <= len(icc):
            return icc[offset + 8], icc[offset + 9]
    return None
