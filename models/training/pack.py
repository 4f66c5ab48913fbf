"""Packs what a training run reads into one small folder: photographs reduced, graphics rendered, references cut.

The packages of photographs.toml take gigabytes; the pack takes megabytes and can be carried to a machine with a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from . import data, graphics

# Long side of the largest level, HR pixels.
LONG_SIDE_PX = 1300
GRAPHICS, GRAPHIC_PX = 160, (480, 640)
TRAIN, VALIDATION, DRAWN = "train", "validation", "graphics"


def pack_photograph(photograph: data.Photograph, root: Path, out: Path, quality: int) -> None:
    """Write one training photograph, reduced as far as the pyramid's first level, as AVIF 4:4:4."""
    target = out / TRAIN / f"{photograph.package}_{photograph.name}.avif"
    if target.exists():
        return
    image = photograph.read(root)
    side = min(LONG_SIDE_PX, int(data.MAX_PYRAMID_RATIO * max(image.shape[:2])))
    if side >= data.PYRAMID_LONG_SIDES_PX[-1]:
        reduced = Image.fromarray(data.reduce_to(image, side))
        reduced.save(target, quality=quality, subsampling="4:4:4", speed=8)


def levels(image: data.Image8) -> Iterator[data.Image8]:
    """A packed photograph and its reductions, HR uint8 [H, W, 3] RGB."""
    yield image
    for side in data.PYRAMID_LONG_SIDES_PX:
        if side <= data.MAX_PYRAMID_RATIO * max(image.shape[:2]):
            yield data.reduce_to(image, side)


def read(path: Path) -> data.Image8:
    """uint8 [H, W, 3] RGB."""
    return np.asarray(Image.open(path).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path, help="folder written by models.training.data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=int, default=88, help="of AVIF; default %(default)s")
    args = parser.parse_args()
    for name in (TRAIN, VALIDATION, DRAWN):
        (args.out / name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        work = partial(pack_photograph, root=args.photographs, out=args.out, quality=args.quality)
        list(pool.map(work, data.photographs("train"), chunksize=4))
    for photograph, image in data.references("validation", args.photographs):
        Image.fromarray(image).save(args.out / VALIDATION / f"{photograph.name}.png")
    for seed in range(GRAPHICS):
        Image.fromarray(graphics.render(seed, GRAPHIC_PX)).save(args.out / DRAWN / f"{seed:03}.png", optimize=True)


if __name__ == "__main__":
    main()
