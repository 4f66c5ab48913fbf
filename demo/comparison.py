"""One labelled picture of the whole photograph and of the place where the methods differ most, enlarged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

ZOOM = 3
LABEL_PX = 30
GAP_PX = 10
BACKGROUND, INK, FRAME = (255, 255, 255), (20, 20, 20), (255, 60, 60)


@dataclass(frozen=True)
class Panel:
    """One column of the comparison: uint8 [H, W, 3] RGB, all of one size, and what is written under it."""

    label: str
    picture: Pixels


def busiest_square(panels: list[Panel], side_px: int) -> tuple[int, int]:
    """(top, left) of the square in which the first two panels differ most, in mean absolute difference."""
    difference = np.abs(panels[0].picture.astype(np.float64) - panels[1].picture).mean(axis=2)
    sums = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = (
        sums[side_px:, side_px:] - sums[:-side_px, side_px:] - sums[side_px:, :-side_px] + sums[:-side_px, :-side_px]
    )
    top, left = np.unravel_index(int(np.argmax(boxes)), boxes.shape)
    return int(top), int(left)


def comparison(whole: Panel, panels: list[Panel], crop_px: int = 110) -> Image.Image:
    """Draw `whole` with the crop's place marked, and beside it every panel's crop, enlarged without smoothing.

    The crop lies where the last but one panel differs most from the one before it.
    """
    height, width = whole.picture.shape[:2]
    crop_px = min(crop_px, height, width)
    top, left = busiest_square(panels[1:3], crop_px)
    cell = crop_px * ZOOM
    columns = (len(panels) + 1) // 2
    grid_height = 2 * (cell + LABEL_PX) + GAP_PX
    scale = (grid_height - LABEL_PX) / height
    overview = Image.fromarray(whole.picture).resize((max(1, round(width * scale)), grid_height - LABEL_PX))
    mark = [round(v * scale) for v in (left, top, left + crop_px, top + crop_px)]
    ImageDraw.Draw(overview).rectangle(mark, outline=FRAME, width=3)
    sheet = Image.new("RGB", (overview.width + columns * (cell + GAP_PX), grid_height), BACKGROUND)
    _paste(sheet, overview, whole.label, 0, 0)
    for index, panel in enumerate(panels):
        crop = Image.fromarray(np.ascontiguousarray(panel.picture[top : top + crop_px, left : left + crop_px]))
        x = overview.width + GAP_PX + (index % columns) * (cell + GAP_PX)
        y = (index // columns) * (cell + LABEL_PX + GAP_PX)
        _paste(sheet, crop.resize((cell, cell), Image.Resampling.NEAREST), panel.label, x, y)
    return sheet


def _paste(sheet: Image.Image, picture: Image.Image, label: str, x: int, y: int) -> None:
    sheet.paste(picture, (x, y))
    font = ImageFont.load_default(size=18)
    ImageDraw.Draw(sheet).text((x + 4, y + picture.height + 4), label, fill=INK, font=font)
