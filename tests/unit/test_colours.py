"""Colours that a file describes outside of an ICC profile: what a colour-managed viewer shows stays the same."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_client import BadImageError, FileResult, Finishing, MockTransport, Upscaler
from edsr_client.pictures.boxes import bit_depth, colour_numbers
from edsr_client.pictures.colour import OF_BT709, PRIMARIES, SRGB, Colour
from edsr_client.pictures.decode import decode
from edsr_client.pictures.icc_profile import profile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.unit.picture_files import encoded, encoded_deep, opened, photo, png_chunk

PHOTO = photo()
PNG_HEAD = 33
P3 = PRIMARIES[12]


def png_with(*chunks: tuple[bytes, bytes], content: bytes | None = None) -> bytes:
    content = encoded(PHOTO, "PNG") if content is None else content
    return content[:PNG_HEAD] + b"".join(png_chunk(*chunk) for chunk in chunks) + content[PNG_HEAD:]


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def points(primaries: tuple[float, ...]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in primaries))


def upscale(content: bytes, **options: Any) -> tuple[bytes, FileResult]:
    with Upscaler(transport=MockTransport()) as upscaler:
        return upscaler.upscale_bytes(content, finishing=Finishing(**options), name="a.png")


def chunks(content: bytes) -> dict[bytes, bytes]:
    found, position = {}, 8
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        found[name] = content[position + 8 : position + 8 + length]
        position += length + 12
    return found


def to_light(numbers: NDArray[Any], curve: tuple[float, ...]) -> NDArray[np.float64]:
    """From levels of 8 bits to light, as ICC.1 defines parametric curves of types 0 and 3."""
    share = np.asarray(numbers) / 255
    g, a, b, c, d = curve if len(curve) > 1 else (curve[0], 1, 0, 0, 0)
    return np.asarray(np.where(share >= d, (a * share + b) ** g, c * share), np.float64)


def matrix(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """From linear RGB to XYZ, white at Y = 1 (SMPTE RP 177)."""
    white, *colours = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in np.reshape(primaries, (4, 2))]
    columns = np.stack(colours, 1)
    return np.asarray(columns * np.linalg.solve(columns, white), np.float64)


def as_srgb(numbers: NDArray[Any], primaries: tuple[float, ...], curve: tuple[float, ...]) -> NDArray[np.float64]:
    """What an sRGB screen with the same white has to show, by our own arithmetic; levels from 0 to 255."""
    light = to_light(numbers, curve) @ (np.linalg.inv(matrix(PRIMARIES[1])) @ matrix(primaries)).T
    light = np.clip(light, 0, 1)
    return np.asarray(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055), np.float64)


def shown(content: bytes) -> NDArray[Any]:
    """What a viewer that knows ICC profiles shows, in the middle of every old pixel."""
    image = opened(content)
    icc = image.info["icc_profile"]
    rgb = image.convert("RGB")
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    seen = ImageCms.profileToProfile(rgb, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(seen)[1::3, 1::3].astype(float)


@pytest.mark.parametrize("target", ["webp", "tiff", "jpeg", "avif", "heic"])
@pytest.mark.parametrize(
    ("given", "primaries", "curve"),
    [
        ([gamma(1.0)], PRIMARIES[1], (1.0,)),
        ([gamma(1 / 1.8)], PRIMARIES[1], (1.8,)),
        ([gamma(1 / 2.2), points(P3)], P3, (2.2,)),
        ([gamma(0.45455), points(PRIMARIES[9])], PRIMARIES[9], (2.2,)),
        ([(b"cICP", bytes([12, 13, 0, 1]))], P3, SRGB),
        ([(b"cICP", bytes([9, 1, 0, 1]))], PRIMARIES[9], OF_BT709),
        ([(b"cICP", bytes([1, 8, 0, 1])), gamma(0.45455)], PRIMARIES[1], (1.0,)),
    ],
    ids=["linear", "1.8", "p3", "2020", "cicp-p3", "cicp-2020", "cicp-linear"],
)
def test_colours_of_png_become_a_profile_elsewhere(
    given: list[tuple[bytes, bytes]], primaries: tuple[float, ...], curve: tuple[float, ...], target: str
) -> None:
    if target == "heic":
        pytest.importorskip("pillow_heif")
    content, result = upscale(png_with(*given), format=target, quality=100)
    # The numbers are the same; LittleCMS and our arithmetic agree on what they mean.
    numbers = np.asarray(opened(content).convert("RGB"))[1::3, 1::3]
    assert np.abs(numbers.astype(int) - PHOTO).mean() < (1 if target in ("webp", "tiff") else 6)
    difference = np.abs(shown(content) - as_srgb(numbers, primaries, curve))
    assert difference.max() <= 3
    assert result.notes == []


@pytest.mark.parametrize(
    "given",
    [
        [gamma(1.0)],
        [gamma(0.45455), points(P3)],
        [points(P3)],
        [(b"sRGB", b"\1")],
        [(b"sRGB", b"\0"), gamma(0.45455), points(PRIMARIES[1])],
        [(b"cICP", bytes([12, 13, 0, 1])), gamma(0.45455)],
        [(b"cICP", bytes([9, 14, 0, 0]))],
    ],
)
@pytest.mark.parametrize("kind", ["rgb", "grey", "alpha", "deep", "palette", "animation"])
def test_chunks_of_png_stay_in_png(given: list[tuple[bytes, bytes]], kind: str) -> None:
    image = Image.fromarray(PHOTO)
    contents = {
        "rgb": encoded(PHOTO, "PNG"),
        "grey": encoded(PHOTO[..., 0], "PNG"),
        "alpha": encoded(np.dstack([PHOTO, PHOTO[..., 0]]), "PNG"),
        "deep": encoded_deep(PHOTO.astype(np.uint16) * 257, ".png"),
        "palette": encoded(image.quantize(16), "PNG"),
        "animation": encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)]),
    }
    answer, result = upscale(png_with(*given, content=contents[kind]), format="png")
    found = chunks(answer)
    assert {key: found.get(key) for key, _ in given} == dict(given)
    assert not {b"cICP", b"sRGB", b"gAMA", b"cHRM", b"iCCP"} & (set(found) - {key for key, _ in given})
    assert [note for note in result.notes if "16 bits" not in note] == []


def test_a_profile_goes_before_gamma_and_is_not_replaced() -> None:
    wide = profile(P3, SRGB, "wide")
    content = png_with(gamma(1.0), content=encoded(PHOTO, "PNG", icc_profile=wide))
    answer, _ = upscale(content, format="webp", quality=100)
    assert opened(answer).info["icc_profile"] == wide
    kept, _ = upscale(content, format="png")
    assert opened(kept).info["icc_profile"] == wide
    assert chunks(kept)[b"gAMA"] == gamma(1.0)[1]


@pytest.mark.parametrize("given", [[(b"sRGB", b"\0")], [gamma(0.45455)], [(b"cICP", bytes([1, 13, 0, 1]))]])
def test_what_is_srgb_needs_no_profile(given: list[tuple[bytes, bytes]]) -> None:
    for target in ("jpeg", "webp", "bmp", "gif"):
        answer, result = upscale(png_with(*given), format=target)
        assert "icc_profile" not in opened(answer).info
        assert result.notes == []


@pytest.mark.parametrize("target", ["bmp", "gif"])
@pytest.mark.parametrize("kind", ["rgb", "grey", "alpha"])
def test_where_there_is_no_place_for_a_profile_colours_are_converted(target: str, kind: str) -> None:
    alpha = np.where(PHOTO[..., :1] > 40, 255, 0).astype(np.uint8)
    pixels = {"rgb": PHOTO, "grey": PHOTO[..., 0], "alpha": np.dstack([PHOTO, alpha])}[kind]
    if (kind, target) == ("alpha", "bmp"):
        return
    answer, result = upscale(png_with(gamma(1.0), content=encoded(pixels, "PNG")), format=target)
    found = np.asarray(opened(answer).convert("RGBA"))[1::3, 1::3].astype(float)
    colour = PHOTO if kind != "grey" else np.repeat(PHOTO[..., :1], 3, 2)
    wanted = as_srgb(colour, PRIMARIES[1], (1.0,))
    seen = np.broadcast_to(alpha[..., 0] > 0 if kind == "alpha" else np.True_, wanted.shape[:2])
    assert np.abs(found[..., :3] - wanted)[seen].mean() < (9 if target == "gif" else 1)
    assert f"{target.upper()} cannot hold gamma 1 of PNG: the colours were converted to sRGB" in result.notes


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([(b"cICP", bytes([9, 10, 0, 1]))], "primaries 9, transfer 10"),
        ([(b"cICP", bytes([1, 13, 0, 0]))], "narrow range"),
        ([points(P3)], "primaries without a gamma"),
    ],
)
def test_what_no_profile_can_say_is_said(given: list[tuple[bytes, bytes]], words: str) -> None:
    _, result = upscale(png_with(*given), format="webp")
    assert any(words in note and "dropped" in note for note in result.notes)


@pytest.mark.parametrize("curve", [(1.0,), (1.8,), SRGB, OF_BT709])
@pytest.mark.parametrize("number", PRIMARIES)
def test_profiles_mean_what_they_were_made_of(number: int, curve: tuple[float, ...]) -> None:
    content = profile(PRIMARIES[number], curve, "a profile")
    made = ImageCms.ImageCmsProfile(io.BytesIO(content))
    assert ImageCms.getProfileDescription(made).strip() == "a profile"
    seen = ImageCms.profileToProfile(Image.fromarray(PHOTO), made, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if PRIMARIES[number][:2] == PRIMARIES[1][:2]:  # else white is adapted
        assert np.abs(np.asarray(seen) - as_srgb(PHOTO, PRIMARIES[number], curve)).max() <= 3
    white = ImageCms.profileToProfile(
        Image.new("RGB", (1, 1), "white"), made, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert np.asarray(white).min() >= 254


def test_a_grey_profile_is_one_for_grey() -> None:
    answer, result = upscale(png_with(gamma(1.0), content=encoded(PHOTO[..., 0], "PNG")), format="jpeg", quality=100)
    image = opened(answer)
    assert image.mode == "L"
    made = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    seen = np.asarray(ImageCms.profileToProfile(image, made, ImageCms.createProfile("sRGB"), outputMode="RGB"))
    wanted = as_srgb(np.repeat(np.asarray(image)[..., None], 3, 2), PRIMARIES[1], (1.0,))
    assert np.abs(seen - wanted).max() <= 4  # near black a level of light is many of sRGB
    assert result.notes == []


def test_primaries_that_are_none_make_no_profile() -> None:
    for primaries in ((0.0,) * 8, (0.3, 0.3) * 4, (0.3127, 0.329, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3)):
        assert Colour(primaries, (1.0,), "x").icc(grey=False) is None
        answer, _ = upscale(png_with(gamma(1.0), points(primaries)), format="webp")
        assert "icc_profile" not in opened(answer).info


# --- HDR --------------------------------------------------------------------------------------------------------------


def heic(transfer: int, primaries: int = 9, depth: str = "RGB;16", **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pixels = PHOTO.astype(np.uint16) * 257 if depth.endswith("16") else PHOTO
    image = pillow_heif.from_bytes(mode=depth, size=PHOTO.shape[1::-1], data=pixels.tobytes())
    file = io.BytesIO()
    numbers = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 1}
    image.save(file, quality=95, full_range_flag=1, **numbers, **options)
    return file.getvalue()


def avif(transfer: int, primaries: int = 9) -> bytes:
    content = encoded(PHOTO, "AVIF", quality=95)
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :]


def with_numbers(icc: bytes, primaries: int, transfer: int) -> bytes:
    """A profile whose description has made room for the tag "cicp"."""
    content = bytearray(icc)
    at = 132 + 12 * next(index for index in range(icc[131]) if icc[132 + 12 * index : 136 + 12 * index] == b"cprt")
    offset = int.from_bytes(content[at + 4 : at + 8], "big")
    content[at : at + 4] = b"cicp"
    content[offset : offset + 12] = b"cicp" + bytes(4) + bytes([primaries, transfer, 0, 1])
    return bytes(content)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("kind", ["png", "deep png", "apng", "heic", "avif", "jpeg", "webp", "tiff"])
def test_hdr_is_refused_as_in_videos(tmp_path: Path, kind: str, transfer: int, name: str) -> None:
    numbers = (b"cICP", bytes([9, transfer, 0, 1]))
    image = Image.fromarray(PHOTO)
    if "png" in kind:
        content = {"png": None, "deep png": encoded_deep(PHOTO.astype(np.uint16) * 257, ".png")}.get(
            kind, encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)])
        )
        content = png_with(numbers, content=content)
    elif kind in ("heic", "avif"):
        content = heic(transfer) if kind == "heic" else avif(transfer)
    else:
        icc = with_numbers(profile(PRIMARIES[9], (2.4,), "x" * 40), 9, transfer)
        content = encoded(PHOTO, kind.upper(), icc_profile=icc)
    words = rf"a\.bin is HDR \({name}\), and the network works on 8 bits of SDR. Convert it to SDR first."
    with pytest.raises(BadImageError, match=words):
        decode(content, "a.bin")
    (tmp_path / "a.bin").write_bytes(content)
    with Upscaler(transport=MockTransport()) as upscaler:
        for bands in ("auto", "always") if kind in ("png", "jpeg", "tiff") else ("auto",):
            with pytest.raises(BadImageError, match=words):
                upscaler.upscale_file(tmp_path / "a.bin", tmp_path / "out.png", bands=bands)


# --- HEIC and AVIF ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_numbers_of_heif_become_a_profile(kind: str) -> None:
    content = heic(13, 12, "RGB") if kind == "heic" else avif(13, 12)
    assert colour_numbers(content) == (12, 13)
    for target in ("png", "webp", "avif", "tiff"):
        answer, result = upscale(content, format=target, quality=100)
        numbers = np.asarray(opened(answer).convert("RGB"))[1::3, 1::3]
        assert np.abs(shown(answer) - as_srgb(numbers, P3, SRGB)).max() <= 3
        assert result.notes == []


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_heif_that_says_srgb_or_nothing_gets_no_profile(kind: str) -> None:
    for numbers in ((13, 1), (2, 2)):
        content = heic(*numbers, "RGB") if kind == "heic" else avif(*numbers)
        answer, _ = upscale(content, format="png")
        assert "icc_profile" not in opened(answer).info


@pytest.mark.parametrize("channels", ["L;16", "RGB;16", "RGBA;16"])
def test_ten_bits_of_heic_stay_ten_bits(channels: str) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.tile(np.linspace(0, 65_535, 256).round().astype(np.uint16), (64, 1))
    pixels = ramp if channels[0] == "L" else np.repeat(ramp[..., None], len(channels) - 3, 2)
    image = pillow_heif.from_bytes(mode=channels, size=(256, 64), data=pixels.tobytes())
    file = io.BytesIO()
    image.save(file, quality=-1, chroma=444)
    assert bit_depth(file.getvalue()) == 10
    found = decode(file.getvalue(), "a.heic").frames[0]
    assert found.dtype == np.uint16
    assert found.shape == pixels.shape
    assert found.max() == 65_535
    assert np.abs(found.astype(int) - pixels).max() < 65_535 / 300
    answer, result = upscale(file.getvalue(), format="png")
    assert decode(answer, "out").frames[0].dtype == np.uint16
    assert result.notes == []
    _, result = upscale(file.getvalue(), format="heic")
    assert result.notes == ["16 bits per channel became 8 in HEIC; PNG and TIFF keep them"]


def test_ten_bits_of_avif_are_read_as_eight_and_that_is_said(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.avif"
    try:
        with av.open(str(path), "w", format="avif") as file:
            stream = file.add_stream("libsvtav1", rate=1, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p10le"
            pixels = np.asarray(Image.fromarray(PHOTO).resize((96, 72)))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p10le")
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                file.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"no AVIF is written here: {error}")
    assert bit_depth(path.read_bytes()) == 10
    assert "10 bits per channel were read as 8" in decode(path.read_bytes(), "a.avif").notes


# --- TIFF and BMP -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_primaries_and_transfer_of_tiff_become_a_profile(dtype: Any) -> None:
    tifffile = pytest.importorskip("tifffile")
    white, colours = P3[:2], P3[2:]
    pairs = [tuple(round(value * 10_000) for value in part) for part in (white, colours)]
    fractions = [tuple(part for value in pair for part in (value, 10_000)) for pair in pairs]
    tags = [(318, 5, 2, fractions[0], True), (319, 5, 6, fractions[1], True)]
    table = tuple(np.rint(np.linspace(0, 1, 256) ** 1.5 * 65_535).astype(int).tolist())
    for curve, more in (((2.2,), []), ((1.5,), [(301, 3, 256, table, True)])):
        file = io.BytesIO()
        pixels = PHOTO.astype(dtype) * (257 if dtype == np.uint16 else 1)
        tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, extratags=[*tags, *more])
        answer, _ = upscale(file.getvalue(), format="webp", quality=100)
        numbers = np.asarray(opened(answer).convert("RGB"))[1::3, 1::3]
        assert np.abs(shown(answer) - as_srgb(numbers, P3, curve)).max() <= 3


def test_profiles_and_calibrated_colours_of_bmp_are_kept() -> None:
    plain = encoded(PHOTO, "BMP")
    rows = plain[int.from_bytes(plain[10:14], "little") :]
    head = plain[18:54]  # without the length of the header, which grows
    xyz = matrix(P3).T.ravel()
    wide = profile(P3, SRGB, "wide")
    calibrated = struct.pack("<IIII", 0, 0, 0, 0) + struct.pack("<I", 0)
    calibrated += struct.pack("<9i", *(round(value * 2**30) for value in xyz))
    calibrated += struct.pack("<3I", *[round(1.8 * 65_536)] * 3)
    embedded = (
        struct.pack("<IIII", 0, 0, 0, 0) + b"DEBM" + bytes(48) + struct.pack("<4I", 4, 124 + len(rows), len(wide), 0)
    )
    xyz_of_1 = [part for x, y in np.reshape(P3[2:], (3, 2)) for part in (x, y, 1 - x - y)]
    chromatic = calibrated[:20] + struct.pack("<9i", *(round(part * 2**30) for part in xyz_of_1)) + calibrated[-12:]
    reciprocal = calibrated[:-12] + struct.pack("<3I", *[round(65_536 / 1.8)] * 3)
    for size, more, curve, tail in (
        (108, calibrated, (1.8,), b""),
        (108, reciprocal, (1.8,), b""),
        (108, chromatic, (1.8,), b""),
        (124, embedded, SRGB, wide),
    ):
        header = struct.pack("<I", size) + head + more
        assert len(header) == size
        length = struct.pack("<IHHI", 14 + size + len(rows) + len(tail), 0, 0, 14 + size)
        content = b"BM" + length + header + rows + tail
        np.testing.assert_array_equal(np.asarray(opened(content).convert("RGB")), PHOTO)
        answer, _ = upscale(content, format="webp", quality=100)
        assert np.abs(shown(answer) - as_srgb(PHOTO, P3, curve)).max() <= 3


# --- in bands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["png", "tif", "jpg"])
def test_in_bands_colours_become_a_profile(tmp_path: Path, target: str) -> None:
    pytest.importorskip("pyvips")
    (tmp_path / "a.png").write_bytes(png_with(gamma(1.0)))
    with Upscaler(transport=MockTransport()) as upscaler:
        result = upscaler.upscale_file(
            tmp_path / "a.png",
            tmp_path / f"out.{target}",
            bands="always",
            finishing=Finishing(quality=100 if target == "jpg" else None),
        )
    content = (tmp_path / f"out.{target}").read_bytes()
    numbers = np.asarray(opened(content).convert("RGB"))[1::3, 1::3]
    assert np.abs(shown(content) - as_srgb(numbers, PRIMARIES[1], (1.0,))).max() <= 3
    assert result.notes == []
