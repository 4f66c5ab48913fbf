"""What a halo smaller than the exact one costs in quality, and saves in work: measured on photographs.

Pictures are upscaled whole and by small tiles, in float32, so that nothing but the halo differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from edsr_client.tiling import TileLimits, cut
from numpy.typing import NDArray

# What of each tile is kept, at least: small, so that there are many borders between tiles.
KEPT_PX = 64
# A result whose pixels all differ by at most this from the untiled one counts as the same.
TOLERATED_LEVELS = 1
Runner = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class HaloError:
    """How far tiles with a halo are from the whole picture.

    Attributes:
        halo_px: LR pixels.
        max_levels: largest difference, of 255.
        share_over: part of all values that differ by more than TOLERATED_LEVELS.
        psnr_db: against the untiled result; None if they are equal.
    """

    halo_px: int
    max_levels: int
    share_over: float
    psnr_db: float | None

    def cost(self, tile_px: int) -> float:
        """Pixels computed for each pixel kept, with inner tiles of `tile_px` squared."""
        return (tile_px / (tile_px - 2 * self.halo_px)) ** 2


def measure(
    run: Runner,
    scale: int,
    pictures: Sequence[NDArray[np.uint8]],
    halos_px: Iterable[int],
    tell: Callable[[HaloError], None] = lambda _error: None,
) -> list[HaloError]:
    """The error of every halo over all pictures.

    Args:
        run: uint8 [1, H, W, 3] RGB to uint8 [1, scale H, scale W, 3].
        scale: of the network.
        pictures: uint8 [H, W, 3].
        halos_px: what to try.
        tell: called with every figure as soon as there is one.
    """
    wholes = [run(picture[None])[0] for picture in pictures]
    errors = []
    for halo_px in halos_px:
        histogram = np.zeros(256, np.int64)
        for picture, whole in zip(pictures, wholes, strict=True):
            tiled = upscale_in_tiles(run, scale, picture, halo_px)
            difference = np.abs(tiled.astype(np.int16) - whole).ravel()
            histogram += np.bincount(difference, minlength=256)
        errors.append(_error(halo_px, histogram))
        tell(errors[-1])
    return errors


def upscale_in_tiles(run: Runner, scale: int, picture: NDArray[np.uint8], halo_px: int) -> NDArray[np.uint8]:
    """The picture by tiles of KEPT_PX and the halo."""
    side = KEPT_PX + 2 * halo_px
    grid = cut(picture.shape[:2], TileLimits(side * side, ((side, side),)), halo_px)
    result = np.empty((picture.shape[0] * scale, picture.shape[1] * scale, 3), np.uint8)
    for tile in grid:
        window = np.ascontiguousarray(picture[tile.source(grid.shape)][None])
        result[tile.target(scale)] = run(window)[0][tile.kept(scale)]
    return result


def smallest_good(errors: Sequence[HaloError]) -> int:
    """The smallest halo from which on no pixel differs by more than TOLERATED_LEVELS.

    Raises:
        ValueError: not even the largest is good.
    """
    good = None
    for error in sorted(errors, key=lambda error: -error.halo_px):
        if error.max_levels > TOLERATED_LEVELS:
            break
        good = error.halo_px
    if good is None:
        raise ValueError("every halo changes some pixel by more than one level; try larger ones")
    return good


def _error(halo_px: int, histogram: NDArray[np.int64]) -> HaloError:
    levels = np.arange(256)
    total = int(histogram.sum())
    square = float((histogram * levels**2).sum()) / total
    return HaloError(
        halo_px=halo_px,
        max_levels=int(levels[histogram > 0].max()),
        share_over=float(histogram[TOLERATED_LEVELS + 1 :].sum()) / total,
        psnr_db=round(10 * float(np.log10(255**2 / square)), 1) if square else None,
    )


def as_json(errors: Sequence[HaloError]) -> list[dict[str, Any]]:
    """For the file of results."""
    return [
        {"halo_px": e.halo_px, "max_levels": e.max_levels, "share_over": e.share_over, "psnr_db": e.psnr_db}
        for e in errors
    ]
