"""How hard PNG's compression tries. It is lossless: bytes and time differ, pixels and metadata do not."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

# Of PNG (specification, 9.2): the bytes of a row as differences from their neighbours.
NONE, SUB, UP, AVERAGE, PAETH = range(5)


@dataclass(frozen=True)
class Way:
    """How rows may become smaller: a filter, and zlib's level and strategy."""

    filter: int
    level: int
    strategy: int = zlib.Z_FILTERED


# Photographs: what the filter leaves hardly repeats. To look for repetitions takes long and makes the file larger.
HUFFMAN = Way(PAETH, 1, zlib.Z_HUFFMAN_ONLY)


@dataclass(frozen=True)
class Effort:
    """What is tried.

    Attributes:
        name: for `png_effort=...`, `--png-effort`.
        ways: tried on every strip of rows; the one that makes it smallest is taken.
        sampled: whether a part of the strip is tried, not all of it.
        animation_level: zlib's, for animations, which Pillow writes.
    """

    name: str
    ways: tuple[Way, ...]
    sampled: bool
    animation_level: int


EFFORTS = {
    effort.name: effort
    for effort in (
        Effort("fast", (HUFFMAN, Way(PAETH, 1)), sampled=True, animation_level=1),
        Effort(
            "normal", (HUFFMAN, Way(PAETH, 4), Way(NONE, 4, zlib.Z_DEFAULT_STRATEGY)), sampled=True, animation_level=4
        ),
        Effort(
            "small",
            (HUFFMAN, Way(PAETH, 6), Way(UP, 6), Way(AVERAGE, 6), Way(NONE, 6, zlib.Z_DEFAULT_STRATEGY)),
            sampled=False,
            animation_level=9,
        ),
    )
}
DEFAULT_EFFORT = "normal"


def effort_named(name: str | None) -> Effort:
    """The effort of a name, or the default for None.

    Raises:
        ValueError: there is none.
    """
    effort = EFFORTS.get(DEFAULT_EFFORT if name is None else name)
    if effort is None:
        raise ValueError(f"png_effort must be {', '.join(EFFORTS)}, not {name!r}")
    return effort
