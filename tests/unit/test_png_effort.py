"""PNG's efforts: other bytes, the same pixels and metadata."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from edsr_client import Finishing, MockTransport, Upscaler
from edsr_client.batch import BatchOptions
from edsr_client.pictures import png_rows
from edsr_client.pictures.decode import Picture, decode
from edsr_client.pictures.deep_png_read import chunks_of
from edsr_client.pictures.encode import encode
from edsr_client.pictures.formats import FORMATS
from edsr_client.pictures.metadata import Metadata
from edsr_client.pictures.png_effort import AVERAGE, DEFAULT_EFFORT, EFFORTS, NONE, PAETH, SUB, UP, effort_named
from numpy.typing import NDArray
from PIL import Image

from tests.unit.picture_files import encoded, exif, photo, profile

ALL = Metadata(
    exif=exif(),
    xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
    icc=profile(),
    dpi=(300.0, 300.0),
    text=(("Title", "a"), ("Comment", "b")),
)
WITHOUT_COLOURS = Metadata(exif=ALL.exif, xmp=ALL.xmp, dpi=ALL.dpi, text=ALL.text)


def pixels(height: int, width: int, channels: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Waves, noise and a flat part: each strip has its own best way."""
    random, top = np.random.default_rng(0), np.iinfo(dtype).max
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([(np.sin(y / 9 + k) + np.cos(x / 7 - k) + 2) / 4 * top for k in range(channels)], 2).astype(dtype)
    image[: height // 3] ^= random.integers(0, top // 8, image[: height // 3].shape, dtype)
    image[height * 2 // 3 :] = image[0, 0]
    return image[..., 0] if channels == 1 else image


def content(image: NDArray[Any], effort: str | None, metadata: Metadata = ALL) -> bytes:
    return encode(Picture([image], metadata=metadata), FORMATS["png"], png_effort=effort)[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_effort_keeps_pixels_and_metadata(channels: int, dtype: Any) -> None:
    metadata = ALL if channels > 2 else WITHOUT_COLOURS
    for height, width in ((1, 1), (1, 5), (7, 1), (450, 300)):
        image = pixels(height, width, channels, dtype)
        found = {effort: decode(content(image, effort, metadata), effort) for effort in EFFORTS}
        for picture in found.values():
            frame = picture.frames[0]
            assert frame.dtype == dtype
            assert frame.shape == image.shape
            np.testing.assert_array_equal(frame, image)
            assert picture.metadata == next(iter(found.values())).metadata
            assert picture.metadata.icc == metadata.icc
            assert picture.metadata.dpi is not None
            assert picture.metadata.dpi == pytest.approx(metadata.dpi, abs=0.01)
            assert picture.metadata.exif
            assert (picture.metadata.xmp, picture.metadata.text) == (metadata.xmp, metadata.text)


@pytest.mark.parametrize("effort", EFFORTS)
def test_other_decoders_read_the_same(effort: str) -> None:
    for channels in (1, 3, 4):
        for dtype in (np.uint8, np.uint16):
            image = pixels(400, 300, channels, dtype)
            made = content(image, effort)
            read: Any = cv2.imdecode(np.frombuffer(made, np.uint8), cv2.IMREAD_UNCHANGED)
            order = {1: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
            np.testing.assert_array_equal(read if channels == 1 else read[..., order], image)
            if dtype == np.uint8:
                np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(made))), image)


def test_more_effort_never_makes_a_photograph_larger() -> None:
    image = np.asarray(Image.open(Path(__file__).parents[2] / "demo" / "photograph.png").convert("RGB"))
    fast, normal, small = (len(content(image, effort)) for effort in ("fast", "normal", "small"))
    assert small <= normal <= fast
    assert fast < len(encoded(image, "PNG", compress_level=4))


def test_flat_pictures_become_small_at_any_effort() -> None:
    image = np.full((600, 800, 3), (10, 200, 90), np.uint8)
    for effort in EFFORTS:
        assert len(content(image, effort, Metadata())) < image.nbytes // 100


def test_the_filters_are_those_of_the_specification() -> None:
    strip = np.random.default_rng(1).choice(np.array([0, 1, 2, 127, 128, 129, 254, 255], np.uint8), (64, 4000))
    above = np.random.default_rng(2).integers(0, 256, 4000, np.uint8)
    around = np.zeros((65, 4003), np.int32)
    around[0, 3:], around[1:, 3:] = above, strip
    left, up, corner = around[1:, :-3], around[:-1, 3:], around[:-1, :-3]
    guess = left + up - corner
    to_left, to_up, to_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    nearest = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    expected = {NONE: 0 * up, SUB: left, UP: up, AVERAGE: (left + up) // 2, PAETH: nearest}
    neighbours = png_rows._Neighbours(strip, above, 3)
    for kind, prediction in expected.items():
        lines = neighbours.filtered(kind).reshape(64, 4001)
        assert (lines[:, 0] == kind).all()
        np.testing.assert_array_equal(lines[:, 1:], (strip - prediction).astype(np.uint8))


def test_strips_make_one_stream_with_one_checksum() -> None:
    rows = png_rows.as_bytes(pixels(700, 300, 3))
    parts = list(png_rows.packed((rows[top : top + 100] for top in range(0, 700, 100)), 3, effort_named("fast")))
    assert len(parts) == 8
    assert len(zlib.decompress(b"".join(parts))) == rows.size + 700
    kinds = [name for name, _ in chunks_of(content(pixels(700, 600, 3), "fast"))]
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    assert max(kinds.index(name) for name in (b"iCCP", b"pHYs", b"eXIf")) < kinds.index(b"IDAT")


def test_animations_honour_it() -> None:
    frames = [pixels(60, 90, 3), 255 - pixels(60, 90, 3)]
    sizes = {}
    for effort in EFFORTS:
        made, _ = encode(Picture(frames, (100, 100)), FORMATS["png"], png_effort=effort)
        sizes[effort] = len(made)
        for found, frame in zip(decode(made, effort).frames, frames, strict=True):
            np.testing.assert_array_equal(found, frame)
    assert sizes["small"] < sizes["fast"]


def test_an_effort_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="png_effort must be fast, normal, small, not 'best'"):
        Finishing(png_effort="best")


@pytest.mark.parametrize("format_", ["jpeg", "webp", "tiff"])
def test_other_formats_say_that_it_was_not_used(format_: str) -> None:
    with Upscaler(transport=MockTransport()) as upscaler:
        options = Finishing(format=format_, png_effort="small")
        _, result = upscaler.upscale_bytes(encoded(photo(), "PNG"), finishing=options)
    assert result.notes == [f"{format_.upper()} is not PNG: its effort, small, was not used"]


def test_without_one_the_default_is_taken_and_nothing_said() -> None:
    with Upscaler(transport=MockTransport()) as upscaler:
        made, result = upscaler.upscale_bytes(encoded(photo(), "JPEG"))
        named, _ = upscaler.upscale_bytes(encoded(photo(), "JPEG"), finishing=Finishing(png_effort=DEFAULT_EFFORT))
    assert (made, result.notes) == (named, [])


@pytest.mark.parametrize("target", ["a.png", "b.jpg"])
def test_bands_honour_it(tmp_path: Path, target: str) -> None:
    pytest.importorskip("pyvips")
    source = tmp_path / "source.png"
    source.write_bytes(content(pixels(300, 200, 3), None))
    sizes, images = set(), []
    server = MockTransport(parameters={"halo_px": "2", "tile": "96x96"})
    for effort in EFFORTS:
        with Upscaler(transport=server) as upscaler:
            options = Finishing(png_effort=effort)
            result = upscaler.upscale_file(source, tmp_path / target, finishing=options, bands="always")
        made = (tmp_path / target).read_bytes()
        sizes.add(len(made))
        images.append(decode(made, effort))
        assert any("effort" in note for note in result.notes) == (target == "b.jpg")
    assert len(sizes) == (len(EFFORTS) if target == "a.png" else 1)
    for image in images[1:]:
        np.testing.assert_array_equal(image.frames[0], images[0].frames[0])
        assert image.metadata == images[0].metadata


def test_results_of_older_runs_are_of_the_default_effort() -> None:
    with Upscaler(transport=MockTransport()) as upscaler:
        model = upscaler.model_info()
    digests = [BatchOptions(Finishing(png_effort=one)).digest(model) for one in (None, DEFAULT_EFFORT, "small")]
    assert digests[0] == digests[1] != digests[2]
