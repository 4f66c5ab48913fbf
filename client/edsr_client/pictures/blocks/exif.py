"""An EXIF block: directories of values, read with patience and changed in place; nothing that is kept moves.

Makers' notes hold offsets that count from the start of the block, so a block that is written anew breaks them. Here
values are overwritten where they stand, longer ones go to the end, and directories shrink in place (TIFF 6.0, section
2; EXIF 3.0, 4.6).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from .values import (
    ENTRY_BYTES,
    EXIF_IFD,
    GPS_IFD,
    HEADER,
    INLINE_BYTES,
    INTEROP_IFD,
    MAIN,
    NUMBERS,
    POINTER_KINDS,
    POINTERS,
    RATIONAL,
    SIZES,
    Value,
    Values,
    numbers_of,
)


@dataclass(frozen=True)
class Entry:
    """A value in a block.

    Attributes:
        tag, kind, count: as the directory says.
        at: where the entry stands.
        start, size: of the value's bytes.
    """

    tag: int
    kind: int
    count: int
    at: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


class Block:
    """An EXIF block.

    Attributes:
        content: the block, "II" or "MM" first.
        order: "<" or ">".
        directories: entries by tag, by directory (MAIN, EXIF_IFD, GPS_IFD, INTEROP_IFD).
        faults: (directory, tag) of what could not be read and is gone.

    Raises:
        ValueError: it has no header, or no directory where that says.
    """

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content.removeprefix(HEADER))
        self.order = _byte_order(bytes(self.content[:8]))
        self.content[:4] = b"II\x2a\0" if self.order == "<" else b"MM\0\x2a"
        self.directories: dict[int, dict[int, Entry]] = {}
        self.faults: list[tuple[int, int]] = []
        self._starts: dict[int, int] = {}
        self._seen: set[int] = set()
        self._dropped: list[tuple[int, int]] = []
        if not self._read(MAIN, self._number("L", 4)):
            raise ValueError("no directory where the header says")
        self._drop_chain()

    def value(self, directory: int, tag: int) -> Value | None:
        """A value, None if there is none."""
        entry = self.directories.get(directory, {}).get(tag)
        if entry is None:
            return None
        return Value(entry.kind, entry.count, bytes(self.content[entry.start : entry.end]))

    def numbers(self, directory: int, tag: int) -> tuple[float, ...] | None:
        """The numbers of a value; None if there is none, or it is no number. A rational without value is NaN."""
        value = self.value(directory, tag)
        return None if value is None else numbers_of(value, self.order)

    def put(self, directory: int, tag: int, kind: int, data: bytes) -> None:
        """Change a value that is there: where it stands if it fits, else at the end."""
        entry = self.directories[directory][tag]
        room = max(entry.size, INLINE_BYTES) if entry.start != entry.at + 8 else INLINE_BYTES
        if len(data) <= INLINE_BYTES:
            start = entry.at + 8
        elif len(data) <= room:
            start = entry.start
        else:
            self.content += bytes(len(self.content) % 2)
            start = len(self.content)
            self.content += data
        self.content[start : start + len(data)] = data
        count = len(data) // SIZES[kind]
        struct.pack_into(self.order + "HHL", self.content, entry.at, tag, kind, count)
        if len(data) > INLINE_BYTES:
            struct.pack_into(self.order + "L", self.content, entry.at + 8, start)
        self.directories[directory][tag] = Entry(tag, kind, count, entry.at, start, len(data))

    def put_numbers(self, directory: int, tag: int, kind: int, numbers: Iterable[float]) -> None:
        """Change a value to whole numbers, rationals (pairs of them) or floats of a type."""
        letter = "L" if kind == RATIONAL else NUMBERS[kind]
        self.put(directory, tag, kind, b"".join(struct.pack(self.order + letter, number) for number in numbers))

    def remove(self, directory: int, tags: Collection[int]) -> None:
        """Take values out; those that are not there are none."""
        entries = self.directories.get(directory, {})
        gone = [entries[tag] for tag in tags if tag in entries]
        if not gone:
            return
        for entry in gone:
            if entry.size > INLINE_BYTES:
                self._dropped.append((entry.start, entry.end))
            if entry.tag in POINTERS[directory]:
                self.remove(entry.tag, list(self.directories.get(entry.tag, {})))
                self.directories.pop(entry.tag, None)
        self._rewrite(directory, [entry for entry in entries.values() if entry not in gone])

    def tobytes(self) -> bytes | None:
        """The block with "Exif" and two zeros first; None if nothing is in it. What was dropped is overwritten."""
        for directory in (INTEROP_IFD, GPS_IFD, EXIF_IFD):
            if directory in self.directories and not self.directories[directory]:
                self.remove(EXIF_IFD if directory == INTEROP_IFD else MAIN, [directory])
        if not self.directories[MAIN]:
            return None
        self._wipe()
        return HEADER + bytes(self.content)

    def values(self) -> Values:
        """All values by directory and tag; directories' own pointers are left out."""
        return {
            directory: {
                tag: value
                for tag in entries
                if tag not in POINTERS[directory] and (value := self.value(directory, tag)) is not None
            }
            for directory, entries in self.directories.items()
        }

    def _number(self, letter: str, at: int) -> int:
        try:
            return int(struct.unpack_from(self.order + letter, self.content, at)[0])
        except struct.error:
            raise ValueError("it ends too early") from None

    def _read(self, directory: int, start: int) -> bool:
        """Whether there is a directory; what of it cannot be read is taken out of it."""
        size = len(self.content)
        if start in self._seen or not 8 <= start <= size - 6:
            return False
        self._seen.add(start)
        self._starts[directory] = start
        said = self._number("H", start)
        fitting = min(said, (size - start - 2) // ENTRY_BYTES)
        entries = [self._entry(start + 2 + index * ENTRY_BYTES) for index in range(fitting)]
        if fitting < said:  # its last entries are behind the end of the block
            self.faults.append((directory, 0))
        kept: dict[int, Entry] = {}
        for entry in entries:
            is_sound = entry.size >= 0 and entry.end <= size and entry.tag not in kept
            if is_sound and entry.tag in POINTERS[directory]:
                is_sound = entry.kind in POINTER_KINDS and entry.count == 1
                is_sound = is_sound and self._read(entry.tag, self._number("L", entry.at + 8))
            if is_sound:
                kept[entry.tag] = entry
            else:
                self.faults.append((directory, entry.tag))
        self.directories[directory] = kept
        if len(kept) < said:
            self._rewrite(directory, list(kept.values()), said)
        return bool(kept) or not said

    def _entry(self, at: int) -> Entry:
        """An entry; its size is negative if it has no type."""
        tag, kind, count = struct.unpack_from(self.order + "HHL", self.content, at)
        size = SIZES.get(kind, -1) * max(count, 1)
        start = at + 8 if size <= INLINE_BYTES else self._number("L", at + 8)
        return Entry(tag, kind, count, at, start, size if count else min(size, 0))

    def _drop_chain(self) -> None:
        """Directories behind the main one belong to thumbnails."""
        at = self._starts[MAIN] + 2 + ENTRY_BYTES * len(self.directories[MAIN])
        if at + 4 > len(self.content):
            return
        following = self._number("L", at)
        struct.pack_into(self.order + "L", self.content, at, 0)
        while 8 <= following <= len(self.content) - 6 and following not in self._seen:
            self._seen.add(following)
            count = min(self._number("H", following), (len(self.content) - following - 2) // ENTRY_BYTES)
            found = [self._entry(following + 2 + index * ENTRY_BYTES) for index in range(count)]
            entries = {entry.tag: entry for entry in found}
            end = following + 2 + count * ENTRY_BYTES
            self._dropped.append((following, end + 4))
            self._dropped += [(one.start, one.end) for one in entries.values() if one.size > INLINE_BYTES]
            self._dropped += list(self._pixels(entries))
            following = self._number("L", end) if end + 4 <= len(self.content) else 0

    def _pixels(self, entries: dict[int, Entry]) -> Iterator[tuple[int, int]]:
        """Where a directory's JPEG file and its strips lie."""
        for where, sizes in ((0x0201, 0x0202), (0x0111, 0x0117)):
            if where in entries and sizes in entries:
                pair = [
                    numbers_of(Value(one.kind, one.count, bytes(self.content[one.start : one.end])), self.order) or ()
                    for one in (entries[where], entries[sizes])
                ]
                yield from ((int(start), int(start + size)) for start, size in zip(*pair, strict=False))

    def drop_pixels(self) -> None:
        """Forget a thumbnail that the main directory itself names."""
        self._dropped += list(self._pixels(self.directories[MAIN]))

    def _rewrite(self, directory: int, entries: list[Entry], said: int | None = None) -> None:
        """Make a directory hold just these; it ends earlier then, and nothing else moves."""
        start = self._starts[directory]
        old = start + 2 + ENTRY_BYTES * (self._number("H", start) if said is None else said)
        following = bytes(self.content[old : old + 4]).ljust(4, b"\0") if old <= len(self.content) else bytes(4)
        rows = [bytes(self.content[entry.at : entry.at + ENTRY_BYTES]) for entry in entries]
        packed = struct.pack(self.order + "H", len(rows)) + b"".join(rows) + following
        self.content[start : start + len(packed)] = packed
        self._dropped.append((start + len(packed), min(old + 4, len(self.content))))
        moved = {}
        for index, entry in enumerate(entries):
            at = start + 2 + index * ENTRY_BYTES
            inner = entry.start == entry.at + 8
            moved[entry.tag] = Entry(
                entry.tag, entry.kind, entry.count, at, at + 8 if inner else entry.start, entry.size
            )
        self.directories[directory] = moved

    def _wipe(self) -> None:
        """Zeros over what was dropped, unless something that is kept lies there; cut off at the end."""
        used = sorted(self._used())
        for start, end in self._dropped:
            start, end = max(start, 8), min(end, len(self.content))
            if start < end and not any(start < kept_end and kept_start < end for kept_start, kept_end in used):
                self.content[start:end] = bytes(end - start)
        last = max((end for _, end in used), default=8)
        dropped_end = max((end for _, end in self._dropped), default=0)
        if dropped_end >= len(self.content) - 1 and not any(self.content[last:]):
            del self.content[last:]

    def _used(self) -> Iterator[tuple[int, int]]:
        for directory, entries in self.directories.items():
            yield self._starts[directory], self._starts[directory] + 6 + ENTRY_BYTES * len(entries)
            yield from ((entry.start, entry.end) for entry in entries.values() if entry.size > INLINE_BYTES)


def _byte_order(head: bytes) -> str:
    """By the mark, else by the number 42 that follows it."""
    if len(head) < 8:
        raise ValueError("it ends too early")
    if head[:2] in (b"II", b"MM") and head[2:4] in (b"\x2a\0", b"\0\x2a"):
        return "<" if head[:2] == b"II" else ">"
    if head[2:4] in (b"\x2a\0", b"\0\x2a"):
        return "<" if head[2:4] == b"\x2a\0" else ">"
    if head[:4] in (b"II\0\0", b"MM\0\0"):
        return "<" if head[:2] == b"II" else ">"
    raise ValueError("it has no header")
