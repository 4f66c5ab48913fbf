"""Draws the contact sheet of the model for compressed photographs: one row for each JPEG quality."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from edsr_conversion.quality import psnr_y
from PIL import Image, ImageDraw

from . import data
from .evaluate import CLEAN_MODEL, PHOTO_MODEL, openvino_upscale, references

# Which photograph, its crop (left, top) in HR pixels, and the quality of its JPEG, for each row.
ROWS: tuple[tuple[str, tuple[int, int], int], ...] = (
    ("european-honey-bee", (150, 60), 90),
    ("koala", (150, 60), 75),
    ("cincinnati-bridge", (120, 60), 50),
    ("scarlet_macaw", (150, 60), 30),
)
CROP_PX, GAP_PX, LABEL_PX = 210, 6, 18


def draw(repository: Path) -> Image.Image:
    """Bicubic, the model for clean pictures, the one for compressed ones, and the original, side by side."""
    clean, photo = (
        openvino_upscale(repository / name / "1" / "model.onnx", "f32") for name in (CLEAN_MODEL, PHOTO_MODEL)
    )
    originals = dict(references())
    sheet = Image.new("RGB", (4 * (CROP_PX + GAP_PX) - GAP_PX, len(ROWS) * (CROP_PX + LABEL_PX + GAP_PX)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (name, (left, top), quality) in enumerate(ROWS):
        hr, lr = data.pair(originals[name])
        lr = data.through_jpeg(lr, quality)
        bicubic = data.resize(lr, hr.shape[1], hr.shape[0])
        y = row * (CROP_PX + LABEL_PX + GAP_PX)
        for column, (label, picture) in enumerate(
            [
                (f"JPEG {quality}, bicubic", bicubic),
                (CLEAN_MODEL, clean(lr)),
                (PHOTO_MODEL, photo(lr)),
                ("original", hr),
            ]
        ):
            x = column * (CROP_PX + GAP_PX)
            worth = "" if picture is hr else f" {psnr_y(picture, hr):.2f} dB"
            pen.text((x + 2, y + 3), label + worth, fill="black")
            crop = np.ascontiguousarray(picture[top : top + CROP_PX, left : left + CROP_PX])
            sheet.paste(Image.fromarray(crop), (x, y + LABEL_PX))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    args = parser.parse_args()
    draw(args.repository).save(args.picture, optimize=True)


if __name__ == "__main__":
    main()
