"""Metadata into a JPEG file that is written already: what files that are written whole have, too."""

from __future__ import annotations

import contextlib
import shutil
import struct
import uuid
from pathlib import Path

from ..pictures.blocks.parts import APP1
from ..pictures.fitting import jpeg_segments, segment
from ..pictures.metadata import Metadata
from ..staged import PREFIX, SUFFIX

APP0, JFIF, START_BYTES = 0xE0, b"\xff\xe0", 2
COPY_BYTES = 2**22


def add_metadata(path: Path, metadata: Metadata) -> None:
    """Put all but the profile where a JPEG file has it.

    Args:
        path: a file without metadata.
        metadata: what fits the format.

    Raises:
        OSError: the file cannot be written anew.
        ValueError: the metadata cannot be encoded.
    """
    exif = segment(APP1, metadata.exif) if metadata.exif else b""
    at = _behind_jfif(path)
    resolution = _jfif(metadata.dpi) if metadata.dpi and at == START_BYTES else b""  # libvips writes none
    _insert(path, at, resolution + exif + jpeg_segments(metadata))


def _behind_jfif(path: Path) -> int:
    with path.open("rb") as file:
        head = file.read(6)
    return 4 + int(struct.unpack(">H", head[4:])[0]) if head[2:4] == JFIF else START_BYTES


def _jfif(dpi: tuple[float, float]) -> bytes:
    """The segment with which a file begins: version 1.1, in inches, no thumbnail (JFIF 1.02)."""
    return segment(APP0, b"JFIF\0" + struct.pack(">BBBHHBB", 1, 1, 1, *(max(1, round(one)) for one in dpi), 0, 0))


def _insert(path: Path, at: int, content: bytes) -> None:
    if not content:
        return
    longer = path.parent / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
    try:
        with path.open("rb") as source, longer.open("wb") as target:
            target.write(source.read(at) + content)
            shutil.copyfileobj(source, target, COPY_BYTES)
        longer.replace(path)
    finally:
        with contextlib.suppress(OSError):
            longer.unlink()
