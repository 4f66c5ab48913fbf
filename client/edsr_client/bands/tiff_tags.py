"""Tags for a TIFF file that is written already: libvips writes its own only, no EXIF and no place on the earth."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..pictures.blocks.values import BIG_SIZES, EXIF_IFD, GPS_IFD, HEADER, INTEROP_IFD

DIRECTORIES = (EXIF_IFD, GPS_IFD, INTEROP_IFD)


@dataclass(frozen=True)
class _Form:
    """How directories look.

    Attributes:
        number, entry, offset: formats of the number of entries; of tag, type and number of values; of an offset.
        pointer: where the offset of the first directory stands.
        long: type of a value that is an offset.
    """

    number: str
    entry: str
    offset: str
    pointer: int
    long: int

    @property
    def field(self) -> int:
        """Bytes of an offset, and so of values that stand in the entry itself."""
        return struct.calcsize(self.offset)


CLASSIC, BIG = _Form("<H", "<HHL", "<L", 4, 4), _Form("<Q", "<HHQ", "<Q", 8, 16)


def add_tags(
    path: Path,
    exif: bytes | None,
    drop: Collection[int] = (),
    more: Mapping[int, tuple[int, bytes]] | None = None,
) -> None:
    """Give a file the tags of an EXIF block, in place of its own where both have one.

    Args:
        path: a little-endian TIFF or BigTIFF file; its first directory is replaced by one at the end.
        exif: as it stands in other files, "Exif" and two zeros first, then little-endian.
        drop: tags that the file shall not have, unless the block has them.
        more: (type, data) of further tags, types of one byte.

    Raises:
        ValueError: one of them is not of that kind.
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        form = CLASSIC if (start := file.read(4)) == b"II\x2a\0" else BIG
        if form is BIG and start != b"II\x2b\0":
            raise ValueError("not a little-endian TIFF file")
        entries, following = _directory(file, _number(file, form.pointer, form.offset), form)
        kept = {tag: entry for tag, entry in entries.items() if tag not in drop}
        new = _transplanted(exif, file, form) if exif else {}
        for tag, (kind, data) in (more or {}).items():
            new[tag] = _entry(tag, kind, len(data), data, file, form)
        where = _append(file, _packed(kept | new, following, form))
        file.seek(form.pointer)
        file.write(struct.pack(form.offset, where))


def _directory(file: BinaryIO, offset: int, form: _Form) -> tuple[dict[int, bytes], bytes]:
    """Entries by tag, as they stand there, and the pointer behind them."""
    count = _number(file, offset, form.number)
    size = struct.calcsize(form.entry) + form.field
    entries = [file.read(size) for _ in range(count)]
    return {struct.unpack("<H", entry[:2])[0]: entry for entry in entries}, file.read(form.field)


def _packed(entries: dict[int, bytes], following: bytes, form: _Form) -> bytes:
    return struct.pack(form.number, len(entries)) + b"".join(entry for _, entry in sorted(entries.items())) + following


def _transplanted(exif: bytes, file: BinaryIO, form: _Form) -> dict[int, bytes]:
    """The entries of a block's first directory; what they point to is appended to the file."""
    block = exif.removeprefix(HEADER)
    if block[:4] != b"II\x2a\0":
        raise ValueError("not a little-endian EXIF block")
    return _moved(block, struct.unpack_from(CLASSIC.offset, block, CLASSIC.pointer)[0], file, form)


def _moved(block: bytes, offset: int, file: BinaryIO, form: _Form) -> dict[int, bytes]:
    found = {}
    (count,) = struct.unpack_from(CLASSIC.number, block, offset)
    for index in range(count):
        at = offset + 2 + index * 12
        tag, kind, values = struct.unpack_from(CLASSIC.entry, block, at)
        if tag in DIRECTORIES:
            inner = _moved(block, struct.unpack_from(CLASSIC.offset, block, at + 8)[0], file, form)
            where = _append(file, _packed(inner, bytes(form.field), form))
            kind, values, data = form.long, 1, struct.pack(form.offset, where)
        else:
            size = BIG_SIZES[kind] * values
            start = at + 8 if size <= CLASSIC.field else struct.unpack_from(CLASSIC.offset, block, at + 8)[0]
            data = block[start : start + size]
        found[tag] = _entry(tag, kind, values, data, file, form)
    return found


def _entry(tag: int, kind: int, count: int, data: bytes, file: BinaryIO, form: _Form) -> bytes:
    if len(data) > form.field:
        data = struct.pack(form.offset, _append(file, data))
    return struct.pack(form.entry, tag, kind, count) + data.ljust(form.field, b"\0")


def _number(file: BinaryIO, offset: int, format_: str) -> int:
    file.seek(offset)
    return int(struct.unpack(format_, file.read(struct.calcsize(format_)))[0])


def _append(file: BinaryIO, data: bytes) -> int:
    """Where it begins: at an even offset, as TIFF wants it."""
    end = file.seek(0, 2)
    file.write(bytes(end % 2) + data)
    return end + end % 2
