"""Picture files of every kind through the client, with a server in memory that repeats pixels."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from edsr_client import (
    BadImageError,
    FileResult,
    Finishing,
    ImageTooLargeError,
    MockTransport,
    OutputError,
    OutputExistsError,
    Upscaler,
)
from edsr_client.bands.source import Rows
from edsr_client.files import default_target, write_atomically
from edsr_client.pictures.alpha import within_neighbours
from edsr_client.pictures.decode import Picture, decode
from edsr_client.pictures.depth import deepen, to_8_bits
from edsr_client.pictures.encode import encode
from edsr_client.pictures.formats import FORMATS, format_named, format_of
from edsr_client.pictures.planes import check_image, from_planes, to_planes
from edsr_client.pictures.resample import final_size, resize
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from tests.unit.picture_files import (
    EXIF_IFD,
    EXPOSURE,
    GPS_IFD,
    LATITUDE_REF,
    MAKE,
    ORIENTATION,
    PIXEL_X,
    X_RESOLUTION,
    XMP,
    encoded,
    encoded_deep,
    exif,
    opened,
    photo,
    png_chunk,
    profile,
)

PHOTO = photo()
ENLARGED = PHOTO.repeat(3, axis=0).repeat(3, axis=1)


def upscale(content: bytes, **options: Any) -> tuple[bytes, FileResult]:
    limits = {key: options.pop(key) for key in ("max_pixels", "frame") if key in options}
    with Upscaler(transport=MockTransport()) as upscaler:
        return upscaler.upscale_bytes(content, finishing=Finishing(**options), **limits)


@pytest.mark.parametrize(
    "content",
    [
        encoded(PHOTO, "PNG"),
        encoded(PHOTO, "BMP"),
        encoded(PHOTO, "TIFF"),
        encoded(PHOTO, "TIFF", compression="tiff_lzw"),
        encoded(PHOTO, "WEBP", lossless=True),
        encoded(PHOTO, "PPM"),
    ],
    ids=["png", "bmp", "tiff", "tiff-lzw", "webp", "ppm"],
)
@pytest.mark.parametrize("target", ["png", "tiff", "bmp", "webp", "avif"])
def test_a_lossless_file_becomes_a_lossless_file(content: bytes, target: str) -> None:
    answer, result = upscale(content, format=target, quality=100)
    pixels = np.asarray(opened(answer).convert("RGB")).astype(int)
    assert np.abs(pixels - ENLARGED).max() <= (4 if target == "avif" else 0)
    assert (result.width, result.height, result.format) == (108, 72, target)
    assert result.notes == []


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}], ids=["base", "prog", "420"])
def test_a_jpeg_is_close(options: dict[str, Any]) -> None:
    answer, _ = upscale(encoded(PHOTO, "JPEG", quality=98, **options), format="jpeg")
    assert np.abs(np.asarray(opened(answer)).astype(int) - ENLARGED).mean() < 8


def test_an_interlaced_png_is_read() -> None:
    # Pillow writes none: this one, 16x16, is a palette of two colours in Adam7's order, made by hand with OpenCV's
    # reader as the check.
    content = interlaced_png(16)
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    assert opened(content).info.get("interlace") == 1
    answer, _ = upscale(content)
    expected = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    np.testing.assert_array_equal(np.asarray(opened(answer).convert("RGB"))[::3, ::3], expected[..., ::-1])


def interlaced_png(side: int) -> bytes:
    import struct
    import zlib

    pixels = np.arange(side * side, dtype=np.uint8).reshape(side, side)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 1)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_heic_is_read_and_written_where_the_extra_is_installed() -> None:
    pytest.importorskip("pillow_heif")
    answer, result = upscale(encoded(PHOTO, "PNG"), format="heic")
    again, _ = upscale(answer, format="png")
    assert opened(again).size == (324, 216)
    assert result.format == "heic"


@pytest.mark.parametrize("target", ["jpeg", "avif", "heic"])
def test_the_best_quality_keeps_stripes_of_colour(target: str) -> None:
    if target == "heic":
        pytest.importorskip("pillow_heif")
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    answer, _ = upscale(encoded(stripes, "PNG"), format=target, quality=100, scale=1)
    plain, _ = upscale(encoded(stripes, "PNG"), format="png", scale=1)
    seen, wanted = (np.asarray(opened(one).convert("RGB")).astype(int) for one in (answer, plain))
    assert np.abs(seen - wanted).max() <= 8  # with half the colours 150


def test_a_name_that_promises_another_format_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(PHOTO, "PNG"))
    with Upscaler(transport=MockTransport()) as upscaler:
        for name, said in (("b.jpg", True), ("b.webp", False), ("b.data", False)):
            result = upscaler.upscale_file(tmp_path / "a.png", tmp_path / name, finishing=Finishing(format="webp"))
            assert any("though its name says JPEG" in note for note in result.notes) == said


@pytest.mark.parametrize("target", ["png", "jpeg", "tiff", "bmp"])
def test_grey_stays_grey(target: str) -> None:
    answer, _ = upscale(encoded(PHOTO[..., 0], "PNG"), format=target)
    assert opened(answer).mode == "L"
    assert np.abs(np.asarray(opened(answer)).astype(int) - ENLARGED[..., 0]).max() <= 6


def test_one_bit_becomes_grey_and_a_palette_becomes_colour() -> None:
    answer, _ = upscale(encoded(Image.fromarray(PHOTO[..., 0]).convert("1"), "PNG"))
    assert opened(answer).mode == "L"
    answer, _ = upscale(encoded(Image.fromarray(PHOTO).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"))
    assert opened(answer).mode == "RGB"
    transparent = Image.fromarray(PHOTO).convert("P", palette=Image.Palette.ADAPTIVE)
    answer, _ = upscale(encoded(transparent, "PNG", transparency=0))
    assert opened(answer).mode == "RGBA"


def test_a_transparent_colour_in_png_becomes_alpha() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    image.putpixel((1, 1), (200, 0, 0))
    answer, _ = upscale(encoded(image, "PNG", transparency=(10, 20, 30)))
    pixels = np.asarray(opened(answer))
    assert pixels.shape == (12, 12, 4)
    assert pixels[4, 4].tolist() == [200, 0, 0, 255]
    assert pixels[0, 0, 3] == 0


def test_cmyk_becomes_srgb_and_says_so() -> None:
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    answer, result = upscale(encoded(cmyk, "JPEG", quality=98))
    assert opened(answer).mode == "RGB"
    assert np.abs(np.asarray(opened(answer)).astype(int) - ENLARGED).mean() < 8
    assert any("CMYK" in note for note in result.notes)
    assert "icc_profile" not in opened(answer).info


# --- metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_once(orientation: int, container: str) -> None:
    kept: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = kept.get(container, {})
    answer, _ = upscale(encoded(PHOTO, container, exif=exif(orientation), **options))
    upright = opened(encoded(PHOTO, "PNG", exif=exif(orientation)))
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(upright)).repeat(3, axis=0).repeat(3, axis=1)
    pixels = np.asarray(opened(answer))
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 4
    assert opened(answer).getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("target", ["jpeg", "png", "tiff", "webp", "avif", "heic"])
def test_exif_xmp_and_profile_are_kept_and_corrected(source: str, target: str) -> None:
    if target == "heic":
        pytest.importorskip("pillow_heif")
    options: dict[str, Any] = {"exif": exif(), "icc_profile": profile("wide")}
    if source == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif source == "TIFF":
        options["exif"] = with_xmp(options["exif"])
    else:
        options["xmp"] = XMP
    answer, result = upscale(encoded(PHOTO, source, **options), format=target)
    assert result.notes == []
    image = opened(answer)
    data = image.getexif()
    assert data[MAKE] == "Camera"
    details = data.get_ifd(EXIF_IFD)
    assert details[PIXEL_X] == 108
    assert float(details[EXPOSURE]) == pytest.approx(0.01)
    assert data.get_ifd(GPS_IFD)[LATITUDE_REF] == "N"
    assert float(data[X_RESOLUTION]) == pytest.approx(900)
    assert image.info["icc_profile"] == profile("wide")
    xmp: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    assert b'dc:creator="a photographer"' in xmp
    assert b'tiff:Orientation="1"' in xmp
    assert b"tiff:ImageWidth" not in xmp


def with_xmp(data: bytes) -> bytes:
    """EXIF data for Pillow's TIFF writer, which takes XMP as one of its tags."""
    parsed = Image.Exif()
    parsed.load(data)
    parsed[700] = XMP
    return parsed.tobytes()


def test_the_thumbnail_of_the_old_picture_is_gone() -> None:
    thumbnail = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG")
    content = encoded(PHOTO, "JPEG", exif=with_thumbnail(exif(), thumbnail))
    assert opened(content).getexif().get_ifd(ExifTags.IFD.IFD1)
    answer, _ = upscale(content, format="jpeg")
    assert not opened(answer).getexif().get_ifd(ExifTags.IFD.IFD1)
    assert thumbnail[:200] not in answer


def with_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    """EXIF data with a second directory that holds a JPEG file; Pillow writes none."""
    import struct

    tiff = bytearray(data.removeprefix(b"Exif\0\0"))
    order = "<" if tiff[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", tiff, 4)[0]
    count = struct.unpack_from(order + "H", tiff, first)[0]
    second = len(tiff) + len(tiff) % 2
    struct.pack_into(order + "I", tiff, first + 2 + 12 * count, second)
    tiff += b"\0" * (second - len(tiff))
    start = second + 2 + 2 * 12 + 4
    entries = [(0x0201, 4, 1, start), (0x0202, 4, 1, len(thumbnail))]
    tiff += struct.pack(order + "H", 2) + b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    return b"Exif\0\0" + bytes(tiff + b"\0\0\0\0" + thumbnail)


@pytest.mark.parametrize("container", ["JPEG", "PNG", "TIFF", "BMP"])
def test_the_picture_is_as_large_on_paper_as_it_was(container: str) -> None:
    answer, _ = upscale(encoded(PHOTO, container, dpi=(200, 100)), format=container.lower())
    assert opened(answer).info["dpi"] == pytest.approx((600, 300), rel=0.01)
    answer, _ = upscale(encoded(PHOTO, container, dpi=(200, 100)), format=container.lower(), scale=1.5)
    assert opened(answer).info["dpi"] == pytest.approx((300, 150), rel=0.01)


def test_metadata_can_be_stripped() -> None:
    answer, _ = upscale(encoded(PHOTO, "JPEG", exif=exif(6), icc_profile=profile()), format="jpeg", strip_metadata=True)
    image = opened(answer)
    assert image.size == (72, 108)  # still turned
    assert not image.getexif()
    assert "icc_profile" not in image.info


def test_broken_exif_and_profiles_are_dropped_and_said() -> None:
    content = encoded(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish", icc_profile=b"no profile" * 20)
    answer, result = upscale(content)
    assert opened(answer).size == (108, 72)
    assert any("ICC" in note for note in result.notes)
    assert not opened(answer).getexif()


@pytest.mark.parametrize("resolution", [(0, 0), (1, 0), (0, 5)])
def test_a_resolution_that_is_no_number_does_not_matter(resolution: tuple[int, int]) -> None:
    data = exif().replace((300).to_bytes(4, "big") + b"\0\0\0\1", b"".join(n.to_bytes(4, "big") for n in resolution))
    assert data != exif()
    answer, _ = upscale(encoded(PHOTO, "JPEG", exif=data), format="jpeg")
    kept = opened(answer).getexif()
    assert kept[MAKE] == "Camera"
    assert X_RESOLUTION not in kept


def test_what_a_format_cannot_hold_is_said() -> None:
    content = encoded(PHOTO, "JPEG", exif=exif(), icc_profile=profile(), xmp=XMP)
    _, result = upscale(content, format="bmp")
    assert result.notes == ["BMP cannot hold EXIF and XMP and ICC profile: dropped"]
    _, result = upscale(encoded(np.zeros((4, 4, 3), np.uint16).astype(np.uint8), "PNG"), format="bmp")
    assert result.notes == []


def test_pixels_of_a_wide_gamut_are_not_touched() -> None:
    answer, _ = upscale(encoded(PHOTO, "PNG", icc_profile=profile("wide")))
    np.testing.assert_array_equal(np.asarray(opened(answer)), ENLARGED)


# --- alpha ------------------------------------------------------------------------------------------------------------


def test_what_stands_under_transparent_pixels_has_no_part_in_the_result() -> None:
    """The edge of a red disc on transparent green: no pixel that is seen is green."""
    y, x = np.mgrid[0:40, 0:40]
    inside = (x - 20) ** 2 + (y - 20) ** 2 < 150
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[...] = (0, 255, 0, 0)
    picture[inside] = (255, 0, 0, 255)

    def blurring(images: Any) -> Any:
        enlarged = images[0].repeat(3, axis=0).repeat(3, axis=1)
        return cv2.GaussianBlur(enlarged, (9, 9), 2)[None]

    with Upscaler(transport=MockTransport(blurring)) as upscaler:
        large = upscaler.upscale(picture)
    edge = (large[..., 3] > 16) & (large[..., 3] < 240)
    assert edge.sum() > 50
    assert large[large[..., 3] > 0][:, 1].max() == 0
    assert large[edge][:, 0].min() > 235


def test_opaque_and_empty_areas_stay_exactly_so() -> None:
    picture = np.zeros((30, 30, 4), np.uint8)
    picture[:, :15] = (90, 80, 70, 255)

    def noisy(images: Any) -> Any:
        enlarged = images.repeat(3, axis=1).repeat(3, axis=2).astype(int)
        return np.clip(enlarged + np.random.default_rng(0).integers(-1, 2, enlarged.shape), 0, 255).astype(np.uint8)

    with Upscaler(transport=MockTransport(noisy)) as upscaler:
        alpha = upscaler.upscale(picture)[..., 3]
    assert (alpha[:, :36] == 255).all()
    assert (alpha[:, 54:] == 0).all()


def test_an_opaque_alpha_costs_no_second_request() -> None:
    server = MockTransport()
    with Upscaler(transport=server) as upscaler:
        large = upscaler.upscale(np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)]))
    assert len(server.requests) == 1
    assert (large[..., 3] == 255).all()


@pytest.mark.parametrize("target", ["png", "webp", "tiff", "avif"])
def test_alpha_is_kept_where_the_format_has_it(target: str) -> None:
    picture = np.dstack([PHOTO, np.tile(np.arange(36, dtype=np.uint8) * 7, (24, 1))])
    answer, _ = upscale(encoded(picture, "PNG"), format=target, quality=100)
    assert opened(answer).mode == "RGBA"


@pytest.mark.parametrize("target", ["jpeg", "bmp"])
def test_transparency_is_never_dropped_in_silence(target: str) -> None:
    server = MockTransport()
    with Upscaler(transport=server) as upscaler, pytest.raises(OutputError, match="transparency"):
        upscaler.upscale_bytes(encoded(np.zeros((4, 4, 4), np.uint8), "PNG"), finishing=Finishing(format=target))
    assert not server.requests
    opaque = np.full((4, 4, 4), 255, np.uint8)
    assert opened(upscale(encoded(opaque, "PNG"), format=target)[0]).mode == "RGB"


# --- 16 bits ----------------------------------------------------------------------------------------------------------


def network_of_8_bits(images: Any) -> Any:
    """Cubic interpolation rounded to 8 bits: what a network is, seen from afar."""
    return np.stack([cv2.resize(one, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for one in images])


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_16_bit_gradient_keeps_its_levels(extension: str, channels: int) -> None:
    ramp = np.linspace(20_000, 24_000, 400).round().astype(np.uint16)  # 15 levels of 8 bits
    picture = np.tile(ramp[None, :, None], (12, 1, channels))
    if channels == 4:
        picture[..., 3] = 65535
    content = encoded_deep(picture[..., 0] if channels == 1 else picture, extension)
    with Upscaler(transport=MockTransport(network_of_8_bits)) as upscaler:
        answer, _ = upscaler.upscale_bytes(content, finishing=Finishing(format=extension[1:]))
    large = decode(answer, "large").frames[0]
    assert large.dtype == np.uint16
    row = large[18, 6:-6, 0] if large.ndim == 3 else large[18, 6:-6]
    assert len(np.unique(row)) > 1000  # 8 bits have 16
    assert (np.diff(row.astype(int)) >= 0).all()
    expected = np.interp((np.arange(1200) + 0.5) / 3 - 0.5, np.arange(400), ramp)[6:-6]
    assert np.abs(row - expected).max() < 3
    if channels == 4:
        assert (large[..., 3] == 65535).all()


def test_the_detail_of_the_network_is_in_the_16_bit_result() -> None:
    low = np.zeros((20, 20, 3), np.uint16)
    low[:, 10:] = 51_400
    sharp = to_8_bits(low).repeat(3, axis=0).repeat(3, axis=1)
    result = deepen(low, sharp, 3)
    np.testing.assert_allclose(result, sharp.astype(int) * 257, atol=2 * 257)


def test_bands_of_a_16_bit_picture_do_not_show() -> None:
    low = np.random.default_rng(0).integers(0, 65536, (600, 5, 3)).astype(np.uint16)
    upscaled = network_of_8_bits(to_8_bits(low)[None])[0]
    whole = cv2.resize(low.astype(np.float32), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(deepen(low, upscaled, 3), np.clip(whole, 0, 65535), atol=1 + 257 * 1)


def test_16_bits_with_metadata_in_png_and_tiff() -> None:
    deep = PHOTO.astype(np.uint16) * 257
    for source, target in (("png", "tiff"), ("tiff", "png"), ("png", "png"), ("tiff", "tiff")):
        first = Picture([deep], metadata=decode(jpeg_with_everything(), "x").metadata)
        from edsr_client.pictures.encode import encode

        content, notes = encode(first, format_named(source))
        assert notes == []
        answer, result = upscale(content, format=target)
        assert result.notes == []
        again = decode(answer, target)
        assert again.frames[0].dtype == np.uint16
        assert again.metadata.icc == profile("wide")
        assert again.metadata.dpi == pytest.approx((900, 900), rel=0.01)
        assert b"a photographer" in (again.metadata.xmp or b"")
        data = Image.Exif()
        data.load(again.metadata.exif or b"")
        assert data[MAKE] == "Camera"
        assert float(data.get_ifd(EXIF_IFD)[EXPOSURE]) == pytest.approx(0.01)
        assert data.get_ifd(GPS_IFD)[LATITUDE_REF] == "N"
    assert tifffile.imread(io.BytesIO(answer)).shape == (72, 108, 3)


def jpeg_with_everything() -> bytes:
    return encoded(PHOTO, "JPEG", exif=exif(), icc_profile=profile("wide"), xmp=XMP, dpi=(300, 300))


def test_16_bits_become_8_where_the_format_has_no_more_and_that_is_said() -> None:
    content = encoded_deep(PHOTO.astype(np.uint16) * 257, ".png")
    answer, result = upscale(content, format="webp", quality=100)
    np.testing.assert_allclose(np.asarray(opened(answer)), ENLARGED, atol=2)
    assert any("16 bits" in note for note in result.notes)


@pytest.mark.parametrize("top", [256, 1023, 4095, 65_535])
@pytest.mark.parametrize("magic", [b"P6", b"P5", b"P3", b"P2"])
def test_levels_of_ppm_above_255_are_not_cut_to_8_bits(magic: bytes, top: int) -> None:
    channels = 3 if magic in (b"P3", b"P6") else 1
    levels = np.linspace(0, top, 24 * 12 * channels).round().astype(np.uint32).reshape(12, 24, channels)
    text = " ".join(map(str, levels.ravel())).encode()
    content = b"%s\n# a comment\n24 12 # another\n%d\n" % (magic, top)
    content += levels.astype(">u2").tobytes() if magic in (b"P5", b"P6") else text
    found = decode(content, "a.ppm").frames[0].reshape(levels.shape)
    assert found.dtype == np.uint16
    assert np.abs(found - levels * (65_535 / top)).max() <= 0.501
    with pytest.raises(BadImageError, match="a.ppm is damaged or truncated"):
        decode(content[:-20], "a.ppm")


@pytest.mark.parametrize(("depth", "colour_type"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_the_transparent_colour_of_png_is_found_at_every_depth(tmp_path: Path, depth: int, colour_type: int) -> None:
    channels, top = (3 if colour_type else 1), 2**depth - 1
    y, x = np.mgrid[0:12, 0:24]
    image = np.stack([(x * 7 + y * 13 * (k + 1)) % (top + 1) for k in range(channels)], 2)
    bits = (image.reshape(12, -1)[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.reshape(12, -1).astype(np.uint8), axis=1)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 24, 12, depth, colour_type, 0, 0, 0)),
        (b"tRNS", struct.pack(f">{channels}H", *image[3, 5])),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
    whole = decode((tmp_path / "a.png").read_bytes(), "a.png").frames[0]
    np.testing.assert_array_equal(whole[..., -1] > 0, (image != image[3, 5]).any(axis=2))
    np.testing.assert_array_equal(whole[..., :-1] * (top / np.iinfo(whole.dtype).max), image)
    if importlib.util.find_spec("pyvips"):
        np.testing.assert_array_equal(Rows(tmp_path / "a.png").read(0, 12), whole)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bits_are_refused(kind: Any) -> None:
    with pytest.raises(BadImageError, match="(signed|floating-point) 32-bit grey TIFF"):
        upscale(encoded(Image.fromarray(np.zeros((4, 4), kind)), "TIFF"))


# --- animations -------------------------------------------------------------------------------------------------------


def animation(format_: str = "GIF") -> bytes:
    frames = [Image.fromarray(np.full((10, 14, 3), level, np.uint8)) for level in (0, 90, 90, 200)]
    options: dict[str, Any] = {"duration": [100, 200, 300, 400], "loop": 0}
    if format_ == "WEBP":
        options["lossless"] = True
    frames[2].paste((90, 200, 90), (0, 0, 5, 5))
    return encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("source", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("target", ["gif", "webp", "png"])
def test_an_animation_is_upscaled_frame_by_frame(source: str, target: str) -> None:
    answer, result = upscale(animation(source), format=target)
    image = opened(answer)
    assert (image.n_frames, result.frames, image.size) == (4, 4, (42, 30))  # type: ignore[attr-defined]
    durations, levels = [], []
    for index in range(4):
        image.seek(index)
        image.load()
        durations.append(image.info["duration"])
        levels.append(np.asarray(image.convert("RGB"))[20, 20, 0])
    assert durations == [100, 200, 300, 400]
    assert np.abs(np.array(levels).astype(int) - [0, 90, 90, 200]).max() <= 3


def test_equal_frames_are_sent_once() -> None:
    frames = [Image.fromarray(np.full((10, 14, 3), level, np.uint8)) for level in (0, 90)]
    picture = Picture([np.asarray(frames[0])] * 3 + [np.asarray(frames[1])] * 2, (10.0,) * 5)
    server = MockTransport()
    with Upscaler(transport=server) as upscaler:
        assert len(upscaler.upscale_picture(picture).frames) == 5
    assert len(server.requests) == 2


def test_an_animation_is_not_cut_to_one_frame_in_silence() -> None:
    with pytest.raises(OutputError, match="4 frames"):
        upscale(animation(), format="jpeg")
    assert opened(upscale(animation(), format="jpeg", frame=3)[0]).size == (42, 30)
    with pytest.raises(BadImageError, match="no frame 4"):
        upscale(animation(), frame=4)


def test_pages_of_a_tiff_are_not_dropped_in_silence() -> None:
    pages = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (0, 100)]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(BadImageError, match="2 pages"):
        upscale(content)
    assert np.asarray(opened(upscale(content, frame=1)[0])).max() == 100


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "max_side", "size"),
    [(None, None, (108, 72)), (1.5, None, (54, 36)), (2, None, (72, 48)), (4, None, (144, 96)), (3, 54, (54, 36)),
     (None, 1000, (108, 72)), (None, 1, (1, 1))],
)  # fmt: skip
def test_the_final_size_is_what_was_asked_for(scale: float | None, max_side: int | None, size: tuple[int, int]) -> None:
    answer, result = upscale(encoded(PHOTO, "PNG"), scale=scale, max_side=max_side)
    assert opened(answer).size == (result.width, result.height) == size
    assert final_size((36, 24), 3, scale, max_side) == size


def test_resizing_keeps_alpha_clean_and_16_bits_deep() -> None:
    picture = np.zeros((30, 30, 4), np.uint16)
    picture[...] = (0, 65535, 0, 0)
    picture[:, 15:] = (65535, 0, 0, 65535)
    small = resize(picture, (11, 11))
    assert small.dtype == np.uint16
    assert small[small[..., 3] > 600][:, 1].max() == 0
    assert resize(picture, (30, 30)) is picture


@given(st.sampled_from([np.uint8, np.uint16]), st.integers(0, 4), st.integers(1, 9), st.integers(1, 9))
def test_planes_of_any_array_give_back_what_the_network_would_leave_alone(
    dtype: Any, channels: int, height: int, width: int
) -> None:
    shape = (height, width) if channels == 0 else (height, width, channels)
    image = np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    if channels in (2, 4):
        image[..., -1] = np.iinfo(dtype).max
    check_image(image)
    planes = to_planes(image)
    assert all(plane.shape == (height, width, 3) and plane.dtype == np.uint8 for plane in planes)
    result = from_planes(image, planes, 1)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    if dtype == np.uint8:
        np.testing.assert_array_equal(result, image)
    else:
        np.testing.assert_allclose(result, image.astype(int), atol=1)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"%PDF-1.4", b"<svg/>", b"\0" * 999]
)
def test_what_is_no_picture_is_a_bad_image(content: bytes) -> None:
    with pytest.raises(BadImageError, match="known format|damaged"):
        upscale(content)


def test_an_empty_file_says_so() -> None:
    with pytest.raises(BadImageError, match="empty"):
        upscale(b"")


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_a_truncated_file_is_a_bad_image(format_: str) -> None:
    content = encoded(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8), format_)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(BadImageError, match="damaged|truncated"):
            upscale(content[: int(len(content) * part)])


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(ImageTooLargeError):
        upscale(bomb)
    with pytest.raises(ImageTooLargeError, match="--max-pixels"):
        upscale(encoded(PHOTO, "PNG"), max_pixels=36 * 24 - 1)


def test_an_animation_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(ImageTooLargeError, match="frames"):
        upscale(encoded_animation(20), max_pixels=141)


def encoded_animation(count: int) -> bytes:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (10, 14, 3), dtype=np.uint8)) for _ in range(count)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def test_one_pixel_is_a_picture() -> None:
    answer, _ = upscale(encoded(np.array([[[1, 2, 3]]], np.uint8), "PNG"))
    assert np.asarray(opened(answer)).tolist() == [[[1, 2, 3]] * 3] * 3


def test_a_result_that_the_format_cannot_hold_is_refused_before_the_work() -> None:
    server = MockTransport()
    with Upscaler(transport=server) as upscaler, pytest.raises(OutputError, match=r"larger than WEBP"):
        upscaler.upscale_bytes(encoded(np.zeros((1, 6000, 3), np.uint8), "PNG"), finishing=Finishing(format="webp"))
    assert not server.requests


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.", "no/such/folder/a.png"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.png").write_bytes(encoded(PHOTO, "PNG"))
    server = MockTransport()
    with Upscaler(transport=server) as upscaler, pytest.raises(OutputError, match="Cannot write"):
        upscaler.upscale_file(tmp_path / "in.png", tmp_path / name)
    assert not server.requests
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png"]


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(encoded(PHOTO, "PNG"))
    (tmp_path / "link.png").symlink_to(tmp_path / "in.png")
    with Upscaler(transport=MockTransport()) as upscaler, pytest.raises(OutputError, match="the input itself"):
        upscaler.upscale_file(tmp_path / "link.png", tmp_path / "in.png")


def test_a_missing_file_and_a_folder_are_bad_images(tmp_path: Path) -> None:
    with Upscaler(transport=MockTransport()) as upscaler:
        with pytest.raises(BadImageError, match="No such file"):
            upscaler.upscale_file(tmp_path / "none.png")
        with pytest.raises(BadImageError, match="is a folder"):
            upscaler.upscale_file(tmp_path)
        with pytest.raises(BadImageError, match="null"):
            upscaler.upscale_file("a\0b")


def test_a_wrong_extension_of_the_input_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encoded(PHOTO, "JPEG"))
    with Upscaler(transport=MockTransport()) as upscaler:
        result = upscaler.upscale_file(tmp_path / "photo.png")
    assert result.path == str(tmp_path / "photo_x3.png")
    assert opened((tmp_path / "photo_x3.png").read_bytes()).format == "PNG"


def test_the_default_output_stands_beside_the_input() -> None:
    one, many = Picture([PHOTO]), Picture([PHOTO, PHOTO], (1.0, 1.0))

    def named(src: str, picture: Picture, finishing: Finishing) -> Path:
        return default_target(Path(src), Path("d"), picture, finishing, 3, overwrite=False)

    assert named("d/a.b.jpg", one, Finishing()) == Path("d/a.b_x3.png")
    assert named("a.gif", many, Finishing()) == Path("d/a_x3.webp")
    assert named("a.jpg", one, Finishing(format="jpeg", scale=1.5)) == Path("d/a_x1.5.jpg")
    assert named("a.jpg", one, Finishing(max_side=640)) == Path("d/a_640px.png")


def test_a_file_that_nobody_named_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(PHOTO, "PNG"))
    (tmp_path / "a_x3.png").write_bytes(b"old")
    with Upscaler(transport=MockTransport()) as upscaler:
        with pytest.raises(OutputExistsError, match="--overwrite") as refused:
            upscaler.upscale_file(tmp_path / "a.png")
        assert refused.value.exit_code == 2
        assert (tmp_path / "a_x3.png").read_bytes() == b"old"
        assert upscaler.upscale_file(tmp_path / "a.png", overwrite=True).path == str(tmp_path / "a_x3.png")
        (tmp_path / "named.png").write_bytes(b"old")
        upscaler.upscale_file(tmp_path / "a.png", tmp_path / "named.png")
    assert opened((tmp_path / "a_x3.png").read_bytes()).size == opened((tmp_path / "named.png").read_bytes()).size


def test_a_folder_as_output_takes_the_usual_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(PHOTO, "PNG"))
    (tmp_path / "out").mkdir()
    with Upscaler(transport=MockTransport()) as upscaler:
        assert upscaler.upscale_file(tmp_path / "a.png", tmp_path / "out").path == str(tmp_path / "out" / "a_x3.png")
        with pytest.raises(OutputExistsError):
            upscaler.upscale_file(tmp_path / "a.png", f"{tmp_path}/out/")
        with pytest.raises(OutputError, match="there is no folder"):
            upscaler.upscale_file(tmp_path / "a.png", f"{tmp_path}/none/")


def test_links_stay_links_and_permissions_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "target.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to("target.png")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    (tmp_path / "dangling.png").symlink_to("later.png")
    umask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "dangling.png", b"new")
    finally:
        os.umask(umask)
    assert (tmp_path / "later.png").read_bytes() == b"new"
    assert (tmp_path / "later.png").stat().st_mode & 0o777 == 0o640


def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    content = b"x" * 200_000  # more than a pipe holds
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_bytes)
        write_atomically(pipe, content)
        assert read.result(10) == content
    assert pipe.is_fifo()
    source, sink = os.pipe()
    write_atomically(Path(f"/dev/fd/{sink}"), b"new")  # as a shell's >(command) is named
    os.close(sink)
    with os.fdopen(source, "rb") as file:
        assert file.read() == b"new"


def test_the_network_leaves_no_ghost_of_an_edge_in_alpha() -> None:
    low = np.zeros((4, 8), np.uint8)
    low[:, 4:] = 255
    ringing = low.repeat(3, axis=0).repeat(3, axis=1)
    ringing[:, 6:9], ringing[:, 15:18] = 9, 230
    kept = within_neighbours(ringing, low)
    assert not kept[:, :9].any()
    assert (kept[:, 15:] == 255).all()
    soft = np.tile(np.arange(0, 96, 12, dtype=np.uint8), (4, 1))
    middle = soft.repeat(3, axis=0).repeat(3, axis=1)
    np.testing.assert_array_equal(within_neighbours(middle + np.uint8(5), soft)[:, :-3], middle[:, :-3] + 5)


@pytest.mark.parametrize("side", [20, 39, 61, 100, 240])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resizing_leaves_no_ghost_of_an_edge_in_alpha(side: int, dtype: type) -> None:
    top = np.iinfo(dtype).max
    image: Any = np.full((60, 60, 4), top // 2, dtype)
    image[:, :30, 3], image[:, 30:, 3] = 0, top
    row = resize(image, (side, side))[side // 2]
    blur = max(1, round(side / 60)) + 1  # pixels of an edge
    assert not row[: side // 2 - blur].any()
    assert (row[side // 2 + blur :, 3] == top).all()
    assert np.abs(row[row[:, 3] > top // 4, 0].astype(int) - top // 2).max() <= top // 100  # no rim


@pytest.mark.parametrize("frames", [1, 2])
def test_grey_pictures_keep_their_transparency_in_gif(frames: int) -> None:
    """Pillow writes grey with alpha as grey alone."""
    image = np.full((12, 12, 2), 200, np.uint8)
    image[..., 1] = np.where(np.arange(12) < 6, 0, 255)
    each = [image // np.array([1 + at, 1], np.uint8) for at in range(frames)]
    picture = Picture(each, (100.0,) * frames if frames > 1 else ())
    content, notes = encode(picture, FORMATS["gif"])
    assert not notes
    with Image.open(io.BytesIO(content)) as answer:
        for at in range(frames):
            answer.seek(at)
            found = np.asarray(answer.convert("RGBA"))
            assert (found[..., 3] == image[..., 1]).all()
            assert (found[:, 6:, :3] == 200 // (1 + at)).all()


def test_gif_gets_whole_transparency_and_that_is_said() -> None:
    image = np.full((12, 12, 4), 200, np.uint8)
    image[..., 3] = np.linspace(0, 255, 12).astype(np.uint8)
    answer, result = upscale(encoded(image, "PNG"), format="gif")
    alpha = np.asarray(opened(answer).convert("RGBA"))[..., 3]
    assert set(np.unique(alpha)) == {0, 255}
    assert 0.4 < (alpha > 0).mean() < 0.6
    assert any("opaque and empty only" in note for note in result.notes)
    whole = image.copy()
    whole[..., 3] = 255
    assert not any("opaque" in note for note in upscale(encoded(whole, "PNG"), format="gif")[1].notes)


def test_the_texts_of_png_and_the_comment_of_jpeg_are_kept_or_missed() -> None:
    text = PngInfo()
    text.add_text("Title", "Gr\u00fc\u00dfe")
    text.add_text("parameters", "steps: 20", zip=True)
    data = encoded(PHOTO, "PNG", pnginfo=text)
    answer, result = upscale(data, format="png")
    assert {key: opened(answer).info[key] for key in ("Title", "parameters")} == {
        "Title": "Gr\u00fc\u00dfe",
        "parameters": "steps: 20",
    }
    assert not result.notes
    assert answer.count(b"tEXt") == 2
    end = png_chunk(b"iTXt", b"Author\0\0\0de\0Urheber\0" + "\u0141ukasz".encode())
    late: Any = opened(upscale(data[:-12] + end + data[-12:], format="png")[0]).info[
        "Author"
    ]  # as ImageMagick writes them
    assert (late, late.lang, late.tkey) == ("\u0141ukasz", "de", "Urheber")
    assert any("cannot hold text" in note for note in upscale(data, format="jpeg")[1].notes)
    commented = encoded(PHOTO, "JPEG", comment=b"a comment")
    assert opened(upscale(commented, format="jpeg")[0]).info["comment"] == b"a comment"
    assert any("the comment" in note for note in upscale(commented, format="webp")[1].notes)
    long = encoded(PHOTO, "GIF", comment=b"x" * 70_000)
    assert any("the comment" in note for note in upscale(long, format="jpeg")[1].notes)
    assert "Title" not in opened(upscale(data, format="png", strip_metadata=True)[0]).info


@pytest.mark.parametrize(
    "wrong",
    [
        {"halo": -3},
        {"halo": "foo"},
        {"halo": 9.5},
        {"halo": True},
        {"tile": "40"},
        {"tile": 0},
        {"tile": (9, 9.0)},
        {"tile": (1, 2, 3)},
    ],
)
@pytest.mark.parametrize("tiled", [False, True])
def test_a_wrong_tile_or_halo_is_refused_whether_or_not_the_picture_is_tiled(
    wrong: dict[str, Any], tiled: bool
) -> None:
    options = ({"tile": 20} if tiled else {}) | wrong
    with Upscaler(transport=MockTransport()) as upscaler, pytest.raises(ValueError, match=r"(tile|halo) must be"):
        upscaler.upscale(np.zeros((40, 30, 3), np.uint8), **options)
    with Upscaler("localhost:1") as nobody, pytest.raises(ValueError, match=r"(tile|halo) must be"):
        nobody.upscale_bytes(encoded(PHOTO, "PNG"), **options)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OutputError, match="Cannot write"):
        write_atomically(tmp_path / ("n" * 300 + ".png"), b"new")
    with pytest.raises(OutputError, match="Cannot write"):
        write_atomically(tmp_path / "none" / "a.png", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    write_atomically(tmp_path / "a.png", b"new")
    assert (tmp_path / "a.png").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_formats_are_known_by_name_alias_and_extension() -> None:
    assert format_named("JPG") is format_of(Path("a.JPEG")) is FORMATS["jpeg"]
    assert format_named("tif").name == "tiff"
    with pytest.raises(ValueError, match="known: png"):
        format_named("psd")


@pytest.mark.parametrize(
    "options",
    [{"format": "psd"}, {"quality": 101}, {"quality": -1}, {"scale": 0}, {"scale": float("nan")}, {"max_side": 0}],
)
def test_finishing_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="format|quality|scale|max_side"):
        Finishing(**options)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        [[1, 2, 3]],
        None,
    ],
)
def test_only_arrays_of_pixels_are_images(image: object) -> None:
    with pytest.raises(BadImageError, match="uint8"):
        check_image(image)
