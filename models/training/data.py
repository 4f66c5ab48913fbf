"""The photographs: fetch their Debian packages, verify each file, and build the pyramid of HR/LR pairs."""

from __future__ import annotations

import argparse
import hashlib
import io
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
SCALE = 3
# Long sides (HR pixels) every photograph is reduced to. Camera JPEGs are soft and compressed at full size;
# reducing them gives the crisp detail that the network has to learn, at several magnifications of the world.
PYRAMID_LONG_SIDES_PX = (2000, 1300, 850, 560)
# A level is used only where it reduces the file by at least this factor.
MAX_PYRAMID_RATIO = 0.8

Image8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Photograph:
    """One row of photographs.toml."""

    name: str
    split: str
    package: str
    version: str
    path: str
    sha256: str
    licence: str
    copyright: str
    member: str = ""

    def read(self, root: Path) -> Image8:
        """Return the photograph, uint8 [H, W, 3] RGB.

        Args:
            root: folder holding one unpacked tree per package.

        Raises:
            ValueError: the bytes are not the ones the list names.
        """
        raw = (root / self.package / self.path).read_bytes()
        if self.member:
            raw = dict(qt_resources(raw))[self.member]
        if hashlib.sha256(raw).hexdigest() != self.sha256:
            raise ValueError(f"{self.package}: {self.path} {self.member} is not the file of photographs.toml")
        return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))


def photographs(split: str | None = None) -> list[Photograph]:
    """The list of photographs.toml, optionally one split of it (train, validation, held-out)."""
    rows = tomllib.loads((HERE / "photographs.toml").read_text(encoding="utf-8"))["photograph"]
    return [p for p in (Photograph(**row) for row in rows) if split in (None, p.split)]


def qt_resources(blob: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (path, bytes) of every uncompressed file in a Qt binary resource (.rcc, format versions 1 to 3)."""
    if blob[:4] != b"qres":
        raise ValueError("not a Qt resource file")
    version, tree, data, names = struct.unpack(">IIII", blob[4:20])
    node_bytes = 14 if version < 2 else 22

    def walk(index: int, prefix: str) -> Iterator[tuple[str, bytes]]:
        at = tree + index * node_bytes
        name_at, flags = struct.unpack(">IH", blob[at : at + 6])
        path = prefix
        if index:
            length = struct.unpack(">H", blob[names + name_at : names + name_at + 2])[0]
            start = names + name_at + 6
            path += "/" + blob[start : start + 2 * length].decode("utf-16-be")
        if flags & 2:  # directory
            count, first = struct.unpack(">II", blob[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
        elif not flags:  # neither zlib nor zstd
            start = data + struct.unpack(">I", blob[at + 10 : at + 14])[0]
            size = struct.unpack(">I", blob[start : start + 4])[0]
            yield path, blob[start + 4 : start + 4 + size]

    return walk(0, "")


def unpack_packages(root: Path) -> None:
    """Download (apt-get) and unpack (dpkg -x) every package of the list into `root/<package>`, once."""
    root.mkdir(parents=True, exist_ok=True)
    for package, version in sorted({(p.package, p.version) for p in photographs()}):
        if (root / package).exists():
            continue
        subprocess.run(["apt-get", "download", f"{package}={version}"], cwd=root, check=True)
        deb = next(root.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", str(deb), str(root / package)], check=True)


def resize(image: Image8, width_px: int, height_px: int) -> Image8:
    """Antialiased bicubic (a = -0.5, kernel widened by the reduction): Pillow's BICUBIC, MATLAB's imresize."""
    return np.array(Image.fromarray(image).resize((width_px, height_px), Image.Resampling.BICUBIC))


def pair(hr: Image8) -> tuple[Image8, Image8]:
    """Crop `hr` to a multiple of the scale and return (hr, lr), both uint8 [.., .., 3] RGB."""
    height, width = (side // SCALE for side in hr.shape[:2])
    hr = np.ascontiguousarray(hr[: height * SCALE, : width * SCALE])
    return hr, resize(hr, width, height)


def through_jpeg(image: Image8, quality: int | None) -> Image8:
    """`image`, uint8 [H, W, 3] RGB, as a JPEG file of Pillow shows it (4:2:0); None leaves it as it is."""
    if quality is None:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def reduce_to(image: Image8, long_side_px: int) -> Image8:
    """`image` reduced so that its longer side is `long_side_px`."""
    factor = long_side_px / max(image.shape[:2])
    return resize(image, round(image.shape[1] * factor), round(image.shape[0] * factor))


def pyramid(image: Image8) -> list[tuple[Image8, Image8]]:
    """HR/LR pairs of one photograph at every pyramid level that reduces it enough."""
    usable = [s for s in PYRAMID_LONG_SIDES_PX if s <= MAX_PYRAMID_RATIO * max(image.shape[:2])]
    return [pair(reduce_to(image, side)) for side in usable]


class PatchSampler:
    """Draws random aligned patches, more often where bicubic interpolation fails (edges, texture) than in sky.

    Args:
        pairs: HR/LR pairs, uint8 RGB.
        seed: of the generator.
    """

    CELL_PX = 8  # LR pixels per cell of the map that says where the detail is

    def __init__(self, pairs: list[tuple[Image8, Image8]], seed: int) -> None:
        self._pairs = pairs
        self._random = np.random.default_rng(seed)
        weights = [self._detail(hr, lr) for hr, lr in pairs]
        self._grids = [w.shape[1] for w in weights]
        self._starts = np.cumsum([0] + [w.size for w in weights])
        flat = np.concatenate([w.ravel() for w in weights])
        self._cumulative = np.cumsum(flat / flat.sum())

    def _detail(self, hr: Image8, lr: Image8) -> NDArray[np.float64]:
        up = resize(lr, hr.shape[1], hr.shape[0]).astype(np.float32)
        error = np.abs(up - hr).mean(axis=2)
        cell = self.CELL_PX * SCALE
        rows, columns = error.shape[0] // cell, error.shape[1] // cell
        blocks = error[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).mean(axis=(1, 3))
        # Square root: detail is favoured without letting the few hardest textures fill every batch.
        return np.asarray(np.sqrt(np.clip(blocks, 0.3, 16.0)), np.float64)

    def batch(self, size: int, patch_px: int) -> tuple[Image8, Image8]:
        """Return (lr uint8 [size, patch, patch, 3], hr uint8 [size, 3 patch, 3 patch, 3]), flipped and rotated."""
        cells = np.searchsorted(self._cumulative, self._random.random(size))
        lrs, hrs = zip(*(self._patch(int(cell), patch_px) for cell in cells), strict=True)
        return np.stack(lrs), np.stack(hrs)

    def _patch(self, cell: int, patch_px: int) -> tuple[Image8, Image8]:
        index = int(np.searchsorted(self._starts, cell, side="right")) - 1
        hr, lr = self._pairs[index]
        row, column = divmod(cell - int(self._starts[index]), self._grids[index])
        top, left = (
            int(np.clip(at * self.CELL_PX + self._random.integers(self.CELL_PX) - patch_px // 2, 0, side - patch_px))
            for at, side in zip((row, column), lr.shape, strict=False)
        )
        lr = lr[top : top + patch_px, left : left + patch_px]
        hr = hr[top * SCALE : (top + patch_px) * SCALE, left * SCALE : (left + patch_px) * SCALE]
        turns, flip = int(self._random.integers(4)), bool(self._random.integers(2))
        return _dihedral(lr, turns, flip), _dihedral(hr, turns, flip)


def _dihedral(patch: Image8, turns: int, flip: bool) -> Image8:
    turned = np.rot90(patch, turns)
    return turned[:, ::-1] if flip else turned


# Held-out and validation references are reduced so that neither camera blur nor JPEG artefacts flatter a method.
REFERENCE_LONG_SIDE_PX = 510


def references(split: str, root: Path) -> Iterator[tuple[Photograph, Image8]]:
    """Yield (photograph, HR uint8 [H, W, 3] RGB with sides that are multiples of the scale) for a split."""
    for photograph in photographs(split):
        yield photograph, pair(reduce_to(photograph.read(root), REFERENCE_LONG_SIDE_PX))[0]


# What the 8-bit conversion measures its ranges on: a cutting of each training photograph's reduction to this length.
CALIBRATION_LONG_SIDE_PX, CALIBRATION_LR_PX = 850, 96
CALIBRATION_PICTURES = 24


def calibration_pictures(root: Path) -> Iterator[tuple[Photograph, Image8]]:
    """Yield (photograph, LR uint8 [96, 96, 3] RGB) for some photographs of the training split: the liveliest part."""
    rows = photographs("train")
    for photograph in rows[:: len(rows) // CALIBRATION_PICTURES][:CALIBRATION_PICTURES]:
        hr, lr = pair(reduce_to(photograph.read(root), CALIBRATION_LONG_SIDE_PX))
        side = CALIBRATION_LR_PX
        error = np.abs(resize(lr, hr.shape[1], hr.shape[0]).astype(np.float32) - hr).mean(axis=2)
        corners = [(y, x) for y in range(0, lr.shape[0] - side + 1, 8) for x in range(0, lr.shape[1] - side + 1, 8)]
        top, left = max(
            corners, key=lambda at: error[at[0] * SCALE :, at[1] * SCALE :][: side * SCALE, : side * SCALE].sum()
        )
        yield photograph, lr[top : top + side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(description="Download, verify and unpack the training photographs.")
    parser.add_argument("root", type=Path, help="folder for the packages")
    parser.add_argument("--held-out", type=Path, help="also write the held-out references there, as PNG")
    parser.add_argument("--calibration", type=Path, help="also write the pictures for 8-bit calibration there, as PNG")
    args = parser.parse_args()
    unpack_packages(args.root)
    for photograph in photographs():
        photograph.read(args.root)
    if args.held_out:
        args.held_out.mkdir(parents=True, exist_ok=True)
        for photograph, image in references("held-out", args.root):
            Image.fromarray(image).save(args.held_out / f"{photograph.name}.png", optimize=True)
    if args.calibration:
        args.calibration.mkdir(parents=True, exist_ok=True)
        for photograph, image in calibration_pictures(args.root):
            Image.fromarray(image).save(args.calibration / f"{photograph.name}.png", optimize=True)


if __name__ == "__main__":
    main()
