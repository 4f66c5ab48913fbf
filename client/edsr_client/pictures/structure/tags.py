"""The directories of TIFF files and of EXIF: what their tags would take, and what kind of picture they describe.

TIFF 6.0, section 2; BigTIFF. Nothing but the directories is read. Tags may overlap: sixty thousand of them can each
name the same ten megabytes.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ..budget import MAX_PAGES, Budget

# Bytes of each type, and how many times as many its values take as Python objects (0: they stay bytes).
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
OBJECT_BYTES = {3: 36, 4: 40, 5: 320, 6: 36, 8: 36, 9: 40, 10: 320, 11: 32, 12: 32, 13: 40, 16: 44, 17: 44, 18: 44}
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
BELOW = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
# Of a directory, and of all together.
MAX_ENTRIES, MAX_ENTRIES_OF_ALL = 65_535, 500_000
# One number or a short list of it is all that is read of a tag.
MOST_VALUES = 8
# What tags may share before it counts: resolutions do.
SHARED_BYTES = 65_536


@dataclass(frozen=True)
class Tag:
    """An entry of a directory.

    Attributes:
        kind: type of its values.
        count: of values.
        held: bytes of it that are in the file.
        values: the first few, as far as they are whole numbers.
    """

    kind: int
    count: int
    held: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class _Form:
    """How the numbers of a file are written."""

    order: str
    is_big: bool

    @property
    def sizes(self) -> tuple[str, int, str, int, int]:
        """Of the count of entries, of an entry, and of a value in it: formats and bytes."""
        return (f"{self.order}Q", 8, f"{self.order}HHQ", 20, 8) if self.is_big else (
            f"{self.order}H", 2, f"{self.order}HHI", 12, 4
        )  # fmt: skip

    def offset(self, data: bytes | mmap.mmap, position: int) -> int:
        return int(struct.unpack_from(f"{self.order}{'Q' if self.is_big else 'I'}", data, position)[0])


def is_tiff(data: bytes | mmap.mmap) -> bool:
    """Whether it begins as a TIFF file, or BigTIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def directories(data: bytes | mmap.mmap) -> Iterator[dict[int, Tag]]:
    """Every page's tags; ends where the chain breaks off or comes back."""
    if not is_tiff(data) or len(data) < 16:
        return
    form = _form(data)
    seen: set[int] = set()
    offset = form.offset(data, 8 if form.is_big else 4)
    while offset and offset not in seen and len(seen) <= MAX_PAGES:
        seen.add(offset)
        found = _directory(data, offset, form)
        if found is None:
            return
        yield found[0]
        offset = found[1]


def check_tags(data: bytes | mmap.mmap, budget: Budget, what: str) -> None:
    """Raise ImageTooLargeError if the directories would take far more than they are in the file.

    Args:
        data: beginning with a TIFF header; nothing is said of what does not.
        budget: the limits.
        what: the tags belong to, for the message.
    """
    pages = total = entries = 0
    for tags in directories(data):
        pages, entries = pages + 1, entries + len(tags)
        budget.check_pages(pages if entries <= MAX_ENTRIES_OF_ALL else MAX_PAGES + 1)
        taken, held = _cost(tags)
        for name in BELOW:
            for offset in tags[name].values[:1] if name in tags else ():
                below = _directory(data, offset, _form(data))
                more = _cost(below[0]) if below else (0, 0)
                taken, held = taken + more[0], held + more[1]
        # Tags that do not overlap cannot hold more than there is; layers of Photoshop may fill a file.
        budget.check_tags(taken, max(0, held - len(data) - SHARED_BYTES), what)
        total += held
        budget.check_tags(0, max(0, total - len(data) - pages * SHARED_BYTES) // 8, what)


def _cost(tags: dict[int, Tag]) -> tuple[int, int]:
    """Bytes of objects, bytes that are named."""
    taken = sum(OBJECT_BYTES.get(tag.kind, 0) * (tag.held // SIZES.get(tag.kind, 1)) for tag in tags.values())
    return taken, sum(tag.held for tag in tags.values())


def _form(data: bytes | mmap.mmap) -> _Form:
    return _Form("<" if data[:2] == b"II" else ">", 43 in data[2:4])


def _directory(data: bytes | mmap.mmap, offset: int, form: _Form) -> tuple[dict[int, Tag], int] | None:
    """The tags at an offset, and where the next directory is; None if there is no directory."""
    count_format, count_bytes, entry_format, entry_bytes, inline = form.sizes
    if offset + count_bytes > len(data):
        return None
    (count,) = struct.unpack_from(count_format, data, offset)
    if count > MAX_ENTRIES:  # possible in BigTIFF alone
        raise ValueError(f"a directory of {count:,} tags")
    position = offset + count_bytes
    tags: dict[int, Tag] = {}
    for _ in range(min(count, (len(data) - position) // entry_bytes)):
        name, kind, values = struct.unpack_from(entry_format, data, position)
        size = SIZES.get(kind, 0) * values
        at = position + entry_bytes - inline
        begin = at if size <= inline else form.offset(data, at)
        held = max(0, min(size, len(data) - begin))
        tag = Tag(kind, values, held, _numbers(data, begin, kind, held, form))
        tags[name if name not in tags else -len(tags)] = tag  # decoders read what is named twice twice
        position += entry_bytes
    following = position + (8 if form.is_big else 4) <= len(data)
    return tags, form.offset(data, position) if following else 0


def _numbers(data: bytes | mmap.mmap, begin: int, kind: int, held: int, form: _Form) -> tuple[int, ...]:
    letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
    if letter is None:
        return ()
    count = min(MOST_VALUES, held // SIZES[kind])
    return struct.unpack_from(f"{form.order}{count}{letter}", data, begin) if count else ()
