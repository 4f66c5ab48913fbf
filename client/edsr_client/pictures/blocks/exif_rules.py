"""What of an EXIF block, or of a TIFF file's tags, is true of an upscaled picture: kept, corrected, or dropped."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction

from ..place import GEO_KEYS, PLACE_TAGS, corrected_place
from .descriptions import corrected_description, is_corrigible, without_statistics
from .exif import Block
from .geometry import Size, turned_point
from .values import ASCII, EXIF_IFD, INTEROP_IFD, LONG, MAIN, RATIONAL, SHORT

ORIENTATION, DESCRIPTION, GDAL_METADATA = 0x0112, 0x010E, 42112
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
FOCAL_X, FOCAL_Y = 0xA20E, 0xA20F
PIXEL_X, PIXEL_Y, RELATED_X, RELATED_Y = 0xA002, 0xA003, 0x1001, 0x1002
SUBJECT_AREA, SUBJECT_LOCATION = 0x9214, 0xA214
XMP, IPTC, ICC, PHOTOSHOP = 700, 33723, 34675, 34377
APART = (XMP, IPTC, PHOTOSHOP)
# How the pixels of the old file were stored; also its ICC profile, XMP and the like, which are handed over apart.
STORAGE = {
    *range(254, 269), 273, 274, 277, 278, 279, 280, 281, 284, 286, 287, 290, 291, 297, 301, 317, *range(320, 348),
    *range(512, 533), 559, XMP, IPTC, PHOTOSHOP, ICC, 37724,
} - {ORIENTATION}  # fmt: skip
LAYERS, CREDENTIALS = 37724, 52545
# What counts in, or shows, the pixels of the old file and has no place in a picture any more, by what it is.
RASTER = {
    "camera raw (DNG)": {
        *range(50706, 50742), *range(50778, 50782), *range(50827, 50835), 50879, *range(50931, 50943),
        *range(50964, 50976), 50981, 50982, 51008, 51009, 51022, 51041, *range(51043, 51045), 51058, 51081,
        *range(51089, 51092), 51105, *range(51107, 51113), 51125, *range(51177, 51183), *range(52525, 52554),
    } - {CREDENTIALS},
    "ImageJ overlay": {50838, 50839},
    "microscope": {34361, 34362, 34412, *range(33628, 33632), *range(65420, 65460)},
    "Photoshop layer": {LAYERS},
}  # fmt: skip
TURNS: tuple[float, ...] = tuple(range(2, 9))
MAX_DPI, INCH = 65_535, 2
CREDENTIALS_NOTE = "content credentials (C2PA) were dropped: their signature is for the old file"

Factors = tuple[float, float]


def cleaned(block: Block, size: Size, notes: list[str], applied: int | None = None) -> tuple[int, dict[int, bytes]]:
    """Take out of a block what is not true of the pixels alone, and say what is lost by that.

    The orientation becomes 1, and points in the picture lie where they are after it was applied.

    Args:
        size: (width, height) as stored.
        notes: grows.
        applied: orientation that a decoder has applied and taken out; by default what the block says.

    Returns:
        The orientation that is applied, 1 to 8, and what is handed over apart: bytes by tag (XMP, IPTC, PHOTOSHOP).
    """
    apart = {tag: value.data for tag in APART if (value := block.value(MAIN, tag))}
    for label, tags in RASTER.items():
        if tags & block.directories[MAIN].keys():
            notes.append(f"{label} tags were dropped: they tell of the old file's pixels only")
            block.remove(MAIN, tags)
    if CREDENTIALS in block.directories[MAIN]:
        notes.append(CREDENTIALS_NOTE)
        block.remove(MAIN, [CREDENTIALS])
    orientation = _number(block, MAIN, ORIENTATION)
    turn = applied or (int(orientation) if orientation is not None and orientation in TURNS else 1)
    block.drop_pixels()
    block.remove(MAIN, STORAGE)
    faults = [tag for directory, tag in block.faults if not (directory == MAIN and tag in STORAGE)]
    faults += _unsound(block)
    _drop_what_cannot_be_corrected(block, size, notes, is_turned=turn != 1)
    if faults:
        notes.append(_fault_note(faults))
    if ORIENTATION in block.directories[MAIN]:
        block.put_numbers(MAIN, ORIENTATION, SHORT, [1])
    if turn != 1:
        _turn_points(block, size, turn)
    return turn, apart


def _fault_note(faults: list[int]) -> str:
    names = ", ".join(f"0x{tag:04X}" if tag else "the end" for tag in dict.fromkeys(faults[:4]))
    more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
    return f"the EXIF data is broken in places: {names}{more} dropped, the rest kept"


def corrected_exif(content: bytes, old_size: Size, new_size: Size) -> bytes | None:
    """A block that was cleaned, for a picture of another size.

    Args:
        content: the block.
        old_size, new_size: (width, height), both after the orientation was applied.
    """
    block = Block(content)
    factors = (new_size[0] / old_size[0], new_size[1] / old_size[1])
    for directory, tag, factor in (
        (MAIN, X_RESOLUTION, factors[0]),
        (MAIN, Y_RESOLUTION, factors[1]),
        (EXIF_IFD, FOCAL_X, factors[0]),
        (EXIF_IFD, FOCAL_Y, factors[1]),
    ):
        _multiply(block, directory, tag, factor)
    for directory, tag, length in (
        (EXIF_IFD, PIXEL_X, new_size[0]),
        (EXIF_IFD, PIXEL_Y, new_size[1]),
        (INTEROP_IFD, RELATED_X, new_size[0]),
        (INTEROP_IFD, RELATED_Y, new_size[1]),
    ):
        if tag in block.directories.get(directory, {}):
            _put_whole(block, directory, tag, [int(length)])
    _scale_points(block, factors)
    _correct_place(block, factors)
    _correct_text(block, DESCRIPTION, lambda text: corrected_description(text, old_size, new_size))
    _correct_text(block, GDAL_METADATA, lambda text: without_statistics(text, old_size, new_size))
    return block.tobytes()


def _number(block: Block, directory: int, tag: int) -> float | None:
    numbers = block.numbers(directory, tag)
    return numbers[0] if numbers is not None and len(numbers) == 1 else None


def _unsound(block: Block) -> list[int]:
    """Take out values that have to be corrected and are not what EXIF says they are; their tags."""
    gone = []
    for directory, tag, is_sound in (
        (MAIN, ORIENTATION, lambda n: len(n) == 1 and n[0] in range(9)),
        (MAIN, X_RESOLUTION, _is_positive),
        (MAIN, Y_RESOLUTION, _is_positive),
        (EXIF_IFD, FOCAL_X, _is_positive),
        (EXIF_IFD, FOCAL_Y, _is_positive),
        (EXIF_IFD, PIXEL_X, lambda n: len(n) == 1),
        (EXIF_IFD, PIXEL_Y, lambda n: len(n) == 1),
        (INTEROP_IFD, RELATED_X, lambda n: len(n) == 1),
        (INTEROP_IFD, RELATED_Y, lambda n: len(n) == 1),
        (EXIF_IFD, SUBJECT_AREA, lambda n: len(n) in (2, 3, 4)),
        (EXIF_IFD, SUBJECT_LOCATION, lambda n: len(n) == 2),
    ):
        if tag in block.directories.get(directory, {}):
            numbers = block.numbers(directory, tag)
            if numbers is None or not all(map(math.isfinite, numbers)) or not is_sound(numbers):
                block.remove(directory, [tag])
                if not (numbers and tag in (X_RESOLUTION, Y_RESOLUTION, FOCAL_X, FOCAL_Y)):  # 0 and 0/0 mean: unknown
                    gone.append(tag)
    return gone


def _is_positive(numbers: tuple[float, ...]) -> bool:
    return len(numbers) == 1 and numbers[0] > 0


def _drop_what_cannot_be_corrected(block: Block, size: Size, notes: list[str], is_turned: bool) -> None:
    place = [tag for tag in PLACE_TAGS if tag in block.directories[MAIN]]
    if place and is_turned:
        notes.append("the picture is turned: its geo-tags, which count in pixels, were dropped")
        block.remove(MAIN, place)
    elif place:
        try:
            _correct_place(block, (1.0, 1.0))
        except (ValueError, TypeError, IndexError, struct.error):
            notes.append("the geo-tags that count in pixels are broken and were dropped")
            block.remove(MAIN, place)
    if (text := _text(block, DESCRIPTION)) is not None and not is_corrigible(text, size, is_turned):
        notes.append("the description counts in pixels of the old picture (OME-XML, ...): it was dropped")
        block.remove(MAIN, [DESCRIPTION])
    if (text := _text(block, GDAL_METADATA)) and "STATISTICS_" in text:
        notes.append("GDAL's statistics of the old pixels were dropped")


def _multiply(block: Block, directory: int, tag: int, factor: float) -> None:
    number = _number(block, directory, tag)
    if number is None or factor == 1:
        return
    most = MAX_DPI if directory == MAIN else 2**31 - 1
    value = Fraction(min(number * factor, most)).limit_denominator(10_000)
    if 0 < value.numerator < 2**32:
        block.put_numbers(directory, tag, RATIONAL, [value.numerator, value.denominator])
    else:
        block.remove(directory, [tag])


def _put_whole(block: Block, directory: int, tag: int, numbers: list[int]) -> None:
    """As 16 bits where the value has those and they suffice, else 32."""
    kind = block.directories[directory][tag].kind
    is_short = kind == SHORT and max(numbers) < 2**16
    block.put_numbers(directory, tag, SHORT if is_short else LONG, numbers)


def _turn_points(block: Block, size: Size, orientation: int) -> None:
    for tag in (SUBJECT_AREA, SUBJECT_LOCATION):
        if numbers := block.numbers(EXIF_IFD, tag):
            x, y = turned_point((numbers[0], numbers[1]), (size[0] - 1, size[1] - 1), orientation)
            rest = numbers[2:][::-1] if orientation >= 5 else numbers[2:]
            _put_whole(block, EXIF_IFD, tag, [max(0, round(one)) for one in (x, y, *rest)])


def _scale_points(block: Block, factors: Factors) -> None:
    for tag in (SUBJECT_AREA, SUBJECT_LOCATION):
        if numbers := block.numbers(EXIF_IFD, tag):
            each = (*factors, (factors[0] + factors[1]) / 2) if len(numbers) == 3 else (*factors, *factors)
            scaled = [max(0, round(one * factor)) for one, factor in zip(numbers, each, strict=False)]
            _put_whole(block, EXIF_IFD, tag, scaled)


def _correct_place(block: Block, factors: Factors) -> None:
    """Doubles of the same number: they stay where they stand."""
    tags = {tag: numbers for tag in (*PLACE_TAGS, GEO_KEYS) if (numbers := block.numbers(MAIN, tag)) is not None}
    if GEO_KEYS in tags:
        tags[GEO_KEYS] = tuple(int(number) for number in tags[GEO_KEYS])
    for tag, numbers in corrected_place(tags, factors).items():
        block.put_numbers(MAIN, tag, 12, numbers)
    if any(tag in block.directories[MAIN] and tag not in tags for tag in PLACE_TAGS):
        raise ValueError("no numbers")


def _text(block: Block, tag: int) -> str | None:
    value = block.value(MAIN, tag)
    return None if value is None else value.data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _correct_text(block: Block, tag: int, change: Callable[[str], str]) -> None:
    if (text := _text(block, tag)) is None:
        return
    new = change(text)
    if not new:
        block.remove(MAIN, [tag])
    elif new != text:
        block.put(MAIN, tag, ASCII, new.encode("utf-8", "surrogateescape") + b"\0")
