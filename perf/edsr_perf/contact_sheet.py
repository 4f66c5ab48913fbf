"""docs/pictures.png: what becomes of every kind of picture, before and after, in one picture to look at."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edsr_client import Finishing, Upscaler
from edsr_client.pictures.decode import decode
from edsr_client.pictures.depth import to_8_bits
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw, ImageFont

CELL_PX, GAP_PX, LABEL_PX, CROP_PX = 288, 12, 40, 96
PAPER, INK, GREY = (255, 255, 255), (25, 25, 25), (110, 110, 110)


@dataclass(frozen=True)
class Case:
    """One row: a file, what it is, and how to show it before and after."""

    title: str
    content: bytes
    remark: str
    show: Callable[[NDArray[Any], bytes], Image.Image]


def make(upscaler: Upscaler, photograph: Path, target: Path) -> None:
    """Upscale one file of every kind and draw all of them."""
    rows = []
    for case in cases(np.asarray(Image.open(photograph).convert("RGB"))):
        content, _ = upscaler.upscale_bytes(case.content, finishing=Finishing(format="png"))
        before, after = (decode(data, case.title) for data in (case.content, content))
        title = f"{case.title}: {describe(before.frames[0])} to {describe(after.frames[0])}"
        left, right = (
            case.show(one.frames[0], one.metadata.icc or b"").resize((CELL_PX, CELL_PX), Image.Resampling.NEAREST)
            for one in (before, after)
        )
        rows.append((title, case.remark, left, right))
    _draw(rows).save(target, optimize=True)


def describe(pixels: NDArray[Any]) -> str:
    """ "RGBA 16 bit" """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return f"{ {1: 'grey', 2: 'grey+alpha', 3: 'RGB', 4: 'RGBA'}[channels] } {8 * pixels.dtype.itemsize} bit"


def busiest(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The square of a photograph, reduced by 3, that has the most detail."""
    image = Image.fromarray(photo)
    small = np.asarray(image.resize((image.width // 3, image.height // 3), Image.Resampling.BICUBIC))
    detail = np.abs(np.diff(small.astype(int).sum(axis=2), axis=1)).astype(float)
    places = [(y, x) for y in range(0, small.shape[0] - side, 8) for x in range(0, small.shape[1] - side, 8)]
    top, left = max(places, key=lambda place: detail[place[0] : place[0] + side, place[1] : place[1] + side].sum())
    return np.ascontiguousarray(small[top : top + side, left : left + side])


def cases(photo: NDArray[np.uint8]) -> list[Case]:
    """Crops of a photograph, as files of every kind."""
    crop = busiest(photo, CROP_PX)
    y, x = np.mgrid[0:CROP_PX, 0:CROP_PX]
    disc = np.clip((CROP_PX / 2 - 6 - np.hypot(x - CROP_PX / 2, y - CROP_PX / 2)) * 128 + 128, 0, 255).astype(np.uint8)
    hidden = np.where(disc[..., None] > 0, crop, np.array([0, 255, 0], np.uint8))
    ramp = (30_000 + 2_000 * x / CROP_PX + 600 * np.sin(y / 14)).astype(np.uint16)
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        Case(
            "alpha",
            _file(np.dstack([hidden, disc]), "PNG"),
            "no fringe of the green that is hidden",
            _on_checks,
        ),
        Case("grey", _file(crop[..., 1], "PNG"), "stays grey", _plain),
        Case("16-bit gradient", _file_16(ramp), "contrast x 16: no bands", _stretched),
        Case(
            "rotated by EXIF",
            _file(np.rot90(crop), "JPEG", exif=turned.tobytes(), quality=95),
            "turned once",
            _plain,
        ),
        Case("CMYK", _file(Image.fromarray(crop).convert("CMYK"), "JPEG", quality=95), "converted to sRGB", _plain),
        Case(
            "wide gamut",
            _file(crop, "PNG", icc_profile=_wide_profile()),
            "shown through its profile",
            _by_profile,
        ),
        Case("palette", _file(Image.fromarray(crop).quantize(24), "PNG"), "becomes RGB", _plain),
        Case("colour", _file(crop, "PNG"), "for comparison", _plain),
    ]


def _file(pixels: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    image.save(file, kind, **options)
    return file.getvalue()


def _file_16(grey: NDArray[np.uint16]) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", np.dstack([grey] * 3))[1].tobytes())


def _wide_profile() -> bytes:
    """sRGB's profile with a redder red, so that what ignores it shows duller colours than it should."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    start = content.find(b"rXYZ", 132)
    offset = int.from_bytes(content[start + 4 : start + 8], "big")
    for index, value in enumerate((0.6, 0.28, 0.02)):
        content[offset + 8 + 4 * index : offset + 12 + 4 * index] = int(value * 65536).to_bytes(4, "big")
    return bytes(content)


def _plain(pixels: NDArray[Any], _icc: bytes) -> Image.Image:
    return Image.fromarray(to_8_bits(pixels)).convert("RGB")


def _on_checks(pixels: NDArray[Any], _icc: bytes) -> Image.Image:
    side = pixels.shape[0]
    y, x = np.mgrid[0:side, 0:side] * 12 // side
    paper = Image.fromarray(np.where((x + y) % 2, 235, 200).astype(np.uint8)).convert("RGB")
    image = Image.fromarray(to_8_bits(pixels))
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _stretched(pixels: NDArray[Any], _icc: bytes) -> Image.Image:
    levels = pixels.astype(np.float64)
    return Image.fromarray(np.clip((levels - 29_000) / 4_000 * 255, 0, 255).astype(np.uint8)).convert("RGB")


def _by_profile(pixels: NDArray[Any], icc: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    shown = ImageCms.profileToProfile(Image.fromarray(to_8_bits(pixels)), source, ImageCms.createProfile("sRGB"))
    return shown if shown is not None else _plain(pixels, icc)


def _draw(rows: list[tuple[str, str, Image.Image, Image.Image]]) -> Image.Image:
    columns = 2
    width = columns * (2 * CELL_PX + 3 * GAP_PX)
    row_px = CELL_PX + LABEL_PX + 2 * GAP_PX
    sheet = Image.new("RGB", (width, -(-len(rows) // columns) * row_px), PAPER)
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(12)
    for index, (title, remark, before, after) in enumerate(rows):
        left = (index % columns) * (width // columns) + GAP_PX
        top = (index // columns) * row_px + GAP_PX
        draw.text((left, top), title, INK, font)
        draw.text((left, top + 19), remark, GREY, small)
        sheet.paste(before, (left, top + LABEL_PX))
        sheet.paste(after, (left + CELL_PX + GAP_PX, top + LABEL_PX))
    return sheet
