"""What the boxes of a HEIF or AVIF file say of its main picture: colours and depth (ISO/IEC 14496-12, 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# Box of a coded picture or track, and what stands before the boxes in it.
FULL, SAMPLE_ENTRY = 4, 78
NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl")

Box = tuple[bytes, bytes]


def colour_numbers(data: bytes) -> tuple[int, int] | None:
    """ColourPrimaries and TransferCharacteristics of ISO/IEC 23091-2; None where the file does not say them."""
    for kind, content in _properties(data):
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 10:
            return struct.unpack(">HH", content[4:8])
    return None


def bit_depth(data: bytes) -> int:
    """Bits of a channel; 8 where the file does not say it."""
    for kind, content in _properties(data):
        if kind == b"av1C" and len(content) >= 3:
            return 8 if not content[2] & 0x40 else 12 if content[2] & 0x20 else 10
        if kind == b"hvcC" and len(content) >= 18:
            return 8 + (content[17] & 7)
    return 8


def _properties(data: bytes) -> list[Box]:
    """Those of the main picture, of the tiles it is made of, and of its track."""
    found: list[Box] = []
    for kind, content in _boxes(data):
        if kind == b"meta":
            found += _of_items(content[FULL:])
        elif kind == b"moov":
            found += _of_tracks(content)
    return found


def _of_items(content: bytes) -> list[Box]:
    parts = dict(_boxes(content))
    inner = dict(_boxes(parts.get(b"iprp", b"")))
    every = list(_boxes(inner.get(b"ipco", b"")))
    main = _main_item(parts.get(b"pitm", b""))
    owners = _associations(inner.get(b"ipma", b""))
    items = [main, *_sources(parts.get(b"iref", b""), main)]
    return [every[index - 1] for item in items for index in owners.get(item, []) if 0 < index <= len(every)]


def _main_item(content: bytes) -> int:
    form = ">H" if content[:1] == b"\0" else ">I"
    size = struct.calcsize(form)
    return int(struct.unpack(form, content[FULL : FULL + size])[0]) if len(content) >= FULL + size else 0


def _associations(content: bytes) -> dict[int, list[int]]:
    """Numbers of properties, from 1, by item."""
    if len(content) < 8:
        return {}
    is_long, has_wide_numbers = content[0] > 0, content[3] & 1
    (count,) = struct.unpack_from(">I", content, FULL)
    found: dict[int, list[int]] = {}
    at = FULL + 4
    try:
        for _ in range(count):
            (item,) = struct.unpack_from(">I" if is_long else ">H", content, at)
            at += 4 if is_long else 2
            numbers = content[at]
            at += 1
            width, mask = (2, 0x7FFF) if has_wide_numbers else (1, 0x7F)
            part = content[at : at + width * numbers]
            values = struct.unpack(f">{numbers}{'H' if has_wide_numbers else 'B'}", part)
            found.setdefault(item, []).extend(value & mask for value in values)
            at += width * numbers
    except (struct.error, IndexError):  # cut off
        pass
    return found


def _sources(content: bytes, item: int) -> list[int]:
    """The tiles that a picture is put together of."""
    if len(content) < FULL:
        return []
    form = "H" if content[0] == 0 else "I"
    size = struct.calcsize(">" + form)
    for kind, reference in _boxes(content[FULL:]):
        if kind == b"dimg" and len(reference) >= size + 2 and struct.unpack_from(">" + form, reference)[0] == item:
            (count,) = struct.unpack_from(">H", reference, size)
            numbers = reference[size + 2 : size + 2 + size * count]
            return list(struct.unpack(f">{len(numbers) // size}{form}", numbers[: len(numbers) // size * size]))
    return []


def _of_tracks(content: bytes) -> list[Box]:
    """The boxes in every sample entry: how the pictures of a sequence are coded."""
    found: list[Box] = []
    for kind, inner in _boxes(content):
        if kind in NESTED:
            found += _of_tracks(inner)
        elif kind == b"stsd":
            for name, entry in _boxes(inner[FULL + 4 :]):
                if name in (b"av01", b"hvc1", b"hev1"):
                    found += _boxes(entry[SAMPLE_ENTRY:])
    return found


def _boxes(data: bytes) -> Iterator[Box]:
    """Kind and content of the boxes that follow each other; nothing of what is cut off."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1 and position + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        end = len(data) if size == 0 else position + size
        if size and size < head:
            return
        if kind != b"mdat":  # large, and of no interest here
            yield kind, data[position + head : end]
        position = end
