"""How a picture is cut into tiles and put together again; pure.

A convolutional network without global layers computes each output pixel from the input pixels within the radius of its
receptive field. A tile that is cut with a halo of that radius, whose output is thrown away, therefore computes exactly
what the whole picture would. A side of a tile that lies on the picture's border has no halo: there the network pads
with zeros in the tile as it does in the picture. Where a picture is continued beyond its border (see border.py), that
margin is cut into tiles with it, and nothing of it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

Shape = tuple[int, int]
Slices = tuple[slice, slice]
# ((top, bottom), (left, right)), LR pixels by which a picture is continued beyond its border.
Margins = tuple[tuple[int, int], tuple[int, int]]
NO_MARGINS: Margins = ((0, 0), (0, 0))
# Of the sides of tiles. On a CPU with AMX widths like 502 or 1039 take up to twice the time per pixel of 512 or 1040;
# tensor cores like whole blocks, too.
ALIGNMENT_PX = 16


@dataclass(frozen=True)
class Tile:
    """One tile, in LR pixels: the rows and columns that are sent, and what of them is kept.

    Attributes:
        top, left: of the window that is sent; negative in the margin beyond the picture.
        keep_y, keep_x: [start, end) in the picture, what this tile contributes; the tiles' parts do not overlap.
    """

    top: int
    left: int
    keep_y: tuple[int, int]
    keep_x: tuple[int, int]

    def source(self, shape: Shape) -> Slices:
        """Where to cut the tile of `shape` out of the picture."""
        return slice(self.top, self.top + shape[0]), slice(self.left, self.left + shape[1])

    def kept(self, scale: int) -> Slices:
        """What to keep of the upscaled tile."""
        (y0, y1), (x0, x1) = self.keep_y, self.keep_x
        return (
            slice((y0 - self.top) * scale, (y1 - self.top) * scale),
            slice((x0 - self.left) * scale, (x1 - self.left) * scale),
        )

    def target(self, scale: int) -> Slices:
        """Where that belongs in the upscaled picture."""
        (y0, y1), (x0, x1) = self.keep_y, self.keep_x
        return slice(y0 * scale, y1 * scale), slice(x0 * scale, x1 * scale)


@dataclass(frozen=True)
class Grid:
    """Equal tiles over a picture and its margins: `rows` x `columns` of `shape` with `halo_px` on inner sides.

    Tiles of which nothing would be kept, for they lie in the margins, are left out.
    """

    picture: Shape
    shape: Shape
    rows: int
    columns: int
    halo_px: int
    margins: Margins = NO_MARGINS

    def __len__(self) -> int:
        return len(self._spans(0)) * len(self._spans(1))

    def __iter__(self) -> Iterator[Tile]:
        xs = self._spans(1)
        for top, keep_y in self._spans(0):
            for left, keep_x in xs:
                yield Tile(top, left, keep_y, keep_x)

    @property
    def extended(self) -> Shape:
        """(height, width) of the picture with its margins."""
        return _extended(self.picture, self.margins)

    def _spans(self, axis: int) -> list[tuple[int, tuple[int, int]]]:
        count = (self.rows, self.columns)[axis]
        return _spans(self.picture[axis], self.shape[axis], count, self.halo_px, self.margins[axis])

    @property
    def sent_px(self) -> int:
        """LR pixels sent in all; over the picture's own, the cost of the halo."""
        return len(self) * self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class TileLimits:
    """What one request may hold.

    Attributes:
        max_px: largest height x width.
        shapes: if not empty, the request must fit one of these (height, width), besides.
    """

    max_px: int
    shapes: tuple[Shape, ...] = ()

    def __post_init__(self) -> None:
        if self.max_px < 1 or any(side < 1 for shape in self.shapes for side in shape):
            raise ValueError(f"limits must be positive: {self}")

    def takes(self, height: int, width: int) -> bool:
        """Whether a request of that shape is within the limits."""
        fits = not self.shapes or any(height <= most_h and width <= most_w for most_h, most_w in self.shapes)
        return fits and height * width <= self.max_px


def cut(picture: Shape, limits: TileLimits, halo_px: int, margins: Margins = NO_MARGINS) -> Grid:
    """The grid that sends the fewest pixels, then the fewest tiles; one tile if the picture is within the limits.

    Args:
        picture: (height, width) in LR pixels.
        limits: of one tile.
        halo_px: LR pixels around the part of a tile that is kept, on sides that are not the picture's border.
        margins: LR pixels by which the picture is continued.

    Raises:
        ValueError: no tile within the limits has room for the halo.
    """
    height, width = picture
    if height < 1 or width < 1 or halo_px < 0:
        raise ValueError(f"a picture has pixels and a halo is not negative: {picture}, {halo_px}")
    whole = Grid(picture, _extended(picture, margins), 1, 1, halo_px, margins)
    if limits.takes(*whole.shape):
        return whole
    boxes = _boxes(whole.extended, limits, halo_px)
    candidates = [_aligned(grid, limits) for box in boxes if (grid := _fill(whole, box))]
    if not candidates:
        raise ValueError(
            f"a halo of {halo_px} pixels needs tiles of more than {2 * halo_px} on each side, at most "
            f"{limits.max_px:,} pixels are allowed; take a larger tile or a smaller halo"
        )
    return min(candidates, key=lambda grid: (grid.sent_px, len(grid)))


def _aligned(grid: Grid, limits: TileLimits) -> Grid:
    """As many tiles, with sides that are multiples of ALIGNMENT_PX where picture and limits have room for it."""
    height, width = (
        aligned if (aligned := -(-side // ALIGNMENT_PX) * ALIGNMENT_PX) <= length else side
        for side, length in zip(grid.shape, grid.extended, strict=True)
    )
    # The width comes first: it is what kernels are blocked along.
    for shape in ((height, width), (grid.shape[0], width), (height, grid.shape[1])):
        if limits.takes(*shape):
            return replace(grid, shape=shape)
    return grid


def _boxes(picture: Shape, limits: TileLimits, halo_px: int) -> Sequence[Shape]:
    """Largest tiles to try: with shapes, those; else every number of rows, with the width that the area leaves."""
    height, width = picture
    if limits.shapes:
        return [box for h, w in limits.shapes for box in _within_area((h, w), limits.max_px)]
    # More rows than a square tile needs make tiles flatter than they are wide: never cheaper.
    square = max(1, math.isqrt(limits.max_px))
    most = _count(height, min(square, height), halo_px) or 1
    heights = {_side(height, rows, halo_px) for rows in range(1, most + 1)} | {min(square, height)}
    return [(h, min(width, limits.max_px // h)) for h in heights if limits.max_px // h > 0]


def _within_area(box: Shape, max_px: int) -> list[Shape]:
    height, width = box
    if height * width <= max_px:
        return [box]
    side = max(1, math.isqrt(max_px))
    return [(min(height, side), min(width, max_px // min(height, side)))]


def _fill(whole: Grid, box: Shape) -> Grid | None:
    """The fewest equal tiles not larger than `box`, made as small as their number allows; None if there are none."""
    lengths, halo_px = whole.extended, whole.halo_px
    rows, columns = (_count(length, most, halo_px) for length, most in zip(lengths, box, strict=True))
    if rows is None or columns is None:
        return None
    shape = (_side(lengths[0], rows, halo_px), _side(lengths[1], columns, halo_px))
    return replace(whole, shape=shape, rows=rows, columns=columns)


def _count(length: int, most: int, halo_px: int) -> int | None:
    """How many tiles of at most `most` cover `length`: n (most - 2 halo) + 2 halo >= length."""
    if length <= most:
        return 1
    inner = most - 2 * halo_px
    return -(-(length - 2 * halo_px) // inner) if inner > 0 else None


def _side(length: int, count: int, halo_px: int) -> int:
    return length if count == 1 else -(-(length - 2 * halo_px) // count) + 2 * halo_px


def _extended(picture: Shape, margins: Margins) -> Shape:
    return picture[0] + sum(margins[0]), picture[1] + sum(margins[1])


def _spans(
    length: int, side: int, count: int, halo_px: int, margin: tuple[int, int]
) -> list[tuple[int, tuple[int, int]]]:
    """(start, kept [from, to)) of each tile along one axis. The last starts earlier, so that it ends at the border."""
    before, extended = margin[0], margin[0] + length + margin[1]
    starts = [min(index * (side - 2 * halo_px), extended - side) for index in range(count)]
    cuts = [0, *(start + halo_px for start in starts[1:]), extended]
    inside = [min(max(cut - before, 0), length) for cut in cuts]
    kept = zip(starts, inside, inside[1:], strict=False)
    return [(start - before, (first, last)) for start, first, last in kept if first < last]
