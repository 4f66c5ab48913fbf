"""TIFF files whose tags change the meaning of their pixels: the same in one piece and in bands."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from edsr_client import BadImageError, EdsrError, MockTransport, Upscaler
from edsr_client.pictures.decode import decode
from edsr_client.pictures.metadata import Metadata
from edsr_client.pictures.tiff import encode_tiff
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

PHOTOMETRIC, EXTRA_SAMPLES, ORIENTATION, SUBFILE = 262, 338, 274, 254
Bands = Literal["always", "never"]
BANDS = ["always", "never"]
WHITE = {np.uint8: 255, np.uint16: 65_535}


def pixels(channels: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Smooth, with an alpha that has all values."""
    y, x = np.mgrid[0:40, 0:56]
    planes = [(np.sin(y / 9 + k) + np.cos(x / 7 - k) + 2) / 4 * WHITE[dtype] for k in range(channels)]
    if channels in (2, 4):
        planes[-1] = np.broadcast_to(np.linspace(0, WHITE[dtype], 56), (40, 56))
    image = np.stack(planes, 2).astype(dtype)
    return image[..., 0] if channels == 1 else image


def write(path: Path, image: NDArray[Any], **tags: int) -> Path:
    """A file whose tags say something else than the encoder knew."""
    content = bytearray(encode_tiff(image, Metadata()))
    (start,) = struct.unpack_from("<L", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for name, value in tags.items():
        (at,) = (
            start + 2 + 12 * index
            for index in range(count)
            if struct.unpack_from("<H", content, start + 2 + 12 * index)[0] == globals()[name]
        )
        struct.pack_into("<HHLHH", content, at, globals()[name], 3, 1, value, 0)
    path.write_bytes(content)
    return path


def upscale(source: Path, bands: Bands, **options: Any) -> tuple[NDArray[Any], list[str]]:
    if bands == "always":
        pytest.importorskip("pyvips")
    target = source.with_name(f"out_{bands}.tif")
    with Upscaler(transport=MockTransport()) as upscaler:
        notes = list(upscaler.upscale_file(source, target, bands=bands, **options).notes)
    return decode(target.read_bytes(), target.name).frames[0][1::3, 1::3], notes  # the middle one of nine


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_0_is_white(tmp_path: Path, bands: Bands, dtype: Any) -> None:
    image = pixels(1, dtype)
    found, _ = upscale(write(tmp_path / "a.tif", image, PHOTOMETRIC=0), bands)
    np.testing.assert_allclose(found.astype(int), WHITE[dtype] - image.astype(int), atol=WHITE[dtype] // 255)


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_that_is_multiplied_by_alpha_already(tmp_path: Path, bands: Bands, dtype: Any) -> None:
    straight = pixels(4, dtype)
    colour, alpha = straight[..., :3].astype(float), straight[..., 3:].astype(float)
    multiplied = np.concatenate([colour * alpha / WHITE[dtype], alpha], 2).round().astype(dtype)
    found, notes = upscale(write(tmp_path / "a.tif", multiplied, EXTRA_SAMPLES=1), bands)
    np.testing.assert_array_equal(found[..., 3], straight[..., 3])
    seen = straight[..., 3] > WHITE[dtype] // 4  # below, little is left of the colour
    difference = np.abs(found.astype(int) - straight)[seen]
    assert difference.max() <= 4 * (WHITE[dtype] // 255)
    assert notes == []


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_channel_without_a_meaning_is_dropped_and_said(tmp_path: Path, bands: Bands, dtype: Any) -> None:
    """Near infrared beside RGB is none of transparency."""
    image = pixels(4, dtype)
    found, notes = upscale(write(tmp_path / "a.tif", image, EXTRA_SAMPLES=0), bands)
    assert found.shape == (40, 56, 3)
    np.testing.assert_allclose(found.astype(int), image[..., :3].astype(int), atol=WHITE[dtype] // 255)
    assert notes == ["channels that the file does not name were dropped: 1"]


@pytest.mark.parametrize("mode", ["YCbCr", "Lab", "CMYK"])
def test_other_colours_do_not_go_in_bands(tmp_path: Path, mode: str) -> None:
    Image.fromarray(pixels(3)).convert("YCbCr" if mode == "YCbCr" else "RGB").convert(mode.replace("Lab", "LAB")).save(
        tmp_path / "a.tif"
    )
    with pytest.raises(BadImageError, match=f"a.tif is an 8-bit {mode} TIFF.*, which does not go in bands"):
        upscale(tmp_path / "a.tif", "always")
    found, _ = upscale(tmp_path / "a.tif", "never")
    assert np.abs(found.astype(int) - pixels(3)).mean() < 12


def test_jpeg_inside_of_tiff_goes_in_bands(tmp_path: Path) -> None:
    Image.fromarray(pixels(3)).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    found, _ = upscale(tmp_path / "a.tif", "always")
    assert np.abs(found.astype(int) - pixels(3)).mean() < 3


def test_an_animated_png_is_not_cut_to_one_frame(tmp_path: Path) -> None:
    image = Image.fromarray(pixels(3))
    image.save(tmp_path / "a.png", save_all=True, append_images=[image.rotate(180)])
    with pytest.raises(EdsrError, match="APNG to TIFF does not go in bands"):
        upscale(tmp_path / "a.png", "always")


@pytest.mark.parametrize("bands", BANDS)
def test_a_page_has_its_own_tags(tmp_path: Path, bands: Bands) -> None:
    first, second = ImageFileDirectory_v2(), ImageFileDirectory_v2()
    first[0x010E], first[ORIENTATION] = "first", 3
    second[0x010E], second[ORIENTATION] = "second", 1
    page = Image.fromarray(pixels(1))
    page.encoderinfo = {"tiffinfo": second}
    Image.fromarray(pixels(3)).save(tmp_path / "a.tif", save_all=True, append_images=[page], tiffinfo=first)
    found, _ = upscale(tmp_path / "a.tif", bands, frame=1)
    np.testing.assert_array_equal(found, pixels(1))
    with Image.open(tmp_path / f"out_{bands}.tif") as image:
        assert image.getexif()[0x010E] == "second"
    for frame, words in ((None, "2 pages"), (2, "no frame 2")):
        with pytest.raises(BadImageError, match=words):
            upscale(tmp_path / "a.tif", bands, frame=frame)


@pytest.mark.parametrize("bands", BANDS)
def test_smaller_copies_are_no_pages(tmp_path: Path, bands: Bands) -> None:
    small = Image.fromarray(pixels(3)[::2, ::2])
    small.encoderinfo = {"tiffinfo": {SUBFILE: 1}}
    Image.fromarray(pixels(3)).save(tmp_path / "a.tif", save_all=True, append_images=[small])
    found, _ = upscale(tmp_path / "a.tif", bands)
    np.testing.assert_array_equal(found, pixels(3))
