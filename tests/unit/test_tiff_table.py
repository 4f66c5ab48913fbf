"""Every kind of TIFF in one piece and in bands, against the samples that tifffile reads: right, or refused by name."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from edsr_client import BadImageError, ImageTooLargeError, MockTransport, Upscaler
from edsr_client.bands.source import Header, Rows, check_header, header_of
from edsr_client.pictures.decode import Picture, decode, size_of
from edsr_client.pictures.tiff_pages import file_of
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 20, 36
COLOURS = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "palette": 1, "ycbcr": 3, "separated": 4}
REFUSED = ("uint32", "uint64", "int8", "int16", "int32", "float16", "float32", "float64")
CODECS = ("none", "lzw", "zlib", "packbits", "jpeg", "zstd", "lzma")
WITH_PREDICTOR = ("lzw", "zlib", "zstd", "lzma")
ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
ALPHAS = (None, "assocalpha", "unassalpha", "unspecified")


def levels(channels: int, dtype: str) -> NDArray[Any]:
    """Smooth, [H, W, C], over all of the type."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = np.stack([(np.sin(y / 9 + k) + np.cos(x / 7 - k) + 2) / 4 for k in range(channels)], 2)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return planes > 0.5
    if kind.kind == "f":
        return planes.astype(kind)
    top = np.iinfo(kind).max
    return ((planes - 0.5 * (kind.kind == "i")) * float(top)).astype(kind)


def files(photometric: str, dtype: str, planar: str) -> Iterator[tuple[str, bytes]]:
    """Files of every compression, predictor, byte order, of strips and tiles, with every meaning of a further channel.

    The rarer compressions in half of the byte orders and layouts; numbers that are refused in two compressions.
    """
    predictors = (None, 3) if dtype.startswith("float") else (None, 2)
    for codec, predictor, order, tile, alpha in itertools.product(CODECS, predictors, ORDERS, (None, (16, 16)), ALPHAS):
        channels = COLOURS[photometric] + (alpha is not None)
        if codec not in ("none", "zlib") and (dtype in REFUSED or (order == ">") != (tile is not None)):
            continue
        if predictor and (codec not in WITH_PREDICTOR or dtype == "bool"):
            continue
        if (planar == "separate" and channels == 1) or (photometric == "palette" and alpha):
            continue
        if codec == "jpeg" and (dtype != "uint8" or photometric == "palette" or (planar == "contig" and channels > 3)):
            continue
        image = levels(channels, dtype)
        image = image[..., 0] if channels == 1 else image if planar == "contig" else np.moveaxis(image, 2, 0)
        options: dict[str, Any] = {"tile": tile} if tile else {"rowsperstrip": 7}
        if channels > 1:
            options |= {"planarconfig": planar, "extrasamples": [alpha] if alpha else None}
        if photometric == "palette":
            ramp = np.linspace(0, 1, 2 ** (8 * image.dtype.itemsize))
            options["colormap"] = (np.stack([ramp, ramp**2, 1 - ramp]) * 65_535).astype(np.uint16)
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            np.ascontiguousarray(image),
            photometric=photometric,
            compression=None if codec == "none" else codec,
            compressionargs={"level": 100} if codec == "jpeg" else None,
            predictor=predictor,
            byteorder=order,
            metadata=None,
            **options,
        )
        yield f"{codec}, predictor {predictor}, {order}, {tile or 'strips'}, {alpha}", file.getvalue()


def expected(content: bytes) -> NDArray[Any]:
    """What tifffile reads, as floats from 0 to 1, [H, W, C]; premultiplied colour divided."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        image = np.asarray(page.asarray())
        channels, photometric = page.samplesperpixel, tifffile.PHOTOMETRIC(page.photometric).name
        extras = [tifffile.EXTRASAMPLE(extra).name for extra in page.extrasamples]
        image = np.moveaxis(image, 0, 2) if channels > 1 and page.planarconfig == 2 else image
        image = image[..., None] if image.ndim == 2 else image
        colours = COLOURS[photometric.lower()]
        if photometric == "PALETTE":
            assert page.colormap is not None
            return np.moveaxis(page.colormap[:, image[..., 0]], 0, 2) / 65_535
        share = image.astype(float) / (2**page.bitspersample - 1)
    colour, extra = share[..., :colours], share[..., colours : colours + 1]
    if photometric == "MINISWHITE":
        colour = 1 - colour
    if extras[:1] == ["ASSOCALPHA"]:
        colour = np.minimum(1, colour / np.maximum(extra, 1e-9))
    return np.concatenate([colour, extra], 2) if extras[:1] in (["ASSOCALPHA"], ["UNASSALPHA"]) else colour


def check(found: NDArray[Any], content: bytes, name: str, channels_of_alpha: tuple[int, ...] = (2, 4)) -> None:
    """One level of 8 bits at most between them; of colour as far as alpha lets it be seen."""
    wanted = expected(content)
    found = found[..., None] if found.ndim == 2 else found
    assert found.shape == wanted.shape, name
    difference = np.abs(found / np.iinfo(found.dtype).max - wanted)
    if wanted.shape[2] in channels_of_alpha:
        difference[..., :-1] *= wanted[..., -1:]
    level = 4 if "jpeg" in name else 1.1
    assert difference.max() < level / (255 if found.dtype == np.uint8 else 4096), name


def in_bands(path: Path) -> NDArray[Any]:
    header = header_of(path)
    assert header is not None
    check_header(path, header, None)
    return rows_of(path, header).read(0, HEIGHT)


def rows_of(path: Path, header: Header) -> Rows:
    return Rows(path, header.page, header.orientation, header.tiff)


@pytest.mark.parametrize(
    ("photometric", "dtype", "planar"),
    [
        *itertools.product(["minisblack", "miniswhite", "rgb"], ["bool", "uint8", "uint16"], ["contig", "separate"]),
        *itertools.product(["palette"], ["uint8", "uint16"], ["contig"]),
    ],
)
def test_pixels_are_those_of_a_second_decoder(tmp_path: Path, photometric: str, dtype: str, planar: str) -> None:
    """In one piece nothing is refused but premultiplied white-is-zero, and JPEG with alpha."""
    pytest.importorskip("imagecodecs")
    path, read, banded = tmp_path / "a.tif", 0, 0
    for name, content in files(photometric, dtype, planar):
        path.write_bytes(content)
        found, refusal = attempt(lambda: decode(path.read_bytes(), "a.tif").frames[0])
        if found is None:
            assert "-bit" in refusal, name
            assert not name.endswith("None"), (name, refusal)
            assert "jpeg" in name or (photometric == "miniswhite" and name.endswith(" assocalpha")), (name, refusal)
        else:
            check(found, content, name)
            read += 1
        found, refusal = attempt(lambda: in_bands(path))
        if found is None:
            assert "does not go in bands" in refusal, (name, refusal)
        else:
            check(found, content, name)
            banded += 1
    assert read > 5
    usual = dtype != "bool" and planar == "contig" and (photometric, dtype) != ("palette", "uint16")
    assert banded >= (14 if usual else 0)


def attempt(road: Callable[[], NDArray[Any]]) -> tuple[NDArray[Any] | None, str]:
    """What a road reads, or how it refuses."""
    try:
        return road(), ""
    except BadImageError as error:
        return None, str(error)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", REFUSED)
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_other_numbers_are_refused_by_name_on_both_roads(
    tmp_path: Path, photometric: str, dtype: str, planar: str
) -> None:
    pytest.importorskip("imagecodecs")
    size = 8 * np.dtype(dtype).itemsize
    sign = {"i": "signed ", "f": "floating-point ", "u": ""}[np.dtype(dtype).kind]
    word = (
        f"{sign}{size}-bit {'planar ' if planar == 'separate' else ''}{'grey' if photometric[0] == 'm' else 'RGB'} TIFF"
    )
    for name, content in files(photometric, dtype, planar):
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(BadImageError, match=word):
            decode(content, name)
        with pytest.raises(BadImageError, match=word):
            in_bands(tmp_path / "a.tif")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_four_inks_become_srgb_with_their_alpha(dtype: str, planar: str) -> None:
    pytest.importorskip("imagecodecs")
    inks = levels(4, dtype)
    eight = (inks // (1 if dtype == "uint8" else 257)).astype(np.uint8)
    wanted = np.asarray(Image.fromarray(eight, "CMYK").convert("RGB")).astype(int)
    alpha = levels(5, "uint8")[..., 4]
    for name, content in files("separated", dtype, planar):
        if "assocalpha" in name and "unassalpha" not in name:
            with pytest.raises(BadImageError, match="-bit (planar )?CMYK TIFF with 1 further channel"):
                decode(content, name)
            continue
        picture = decode(content, name)
        found = picture.frames[0].astype(int)
        assert np.abs(found[..., :3] - wanted).max() <= (6 if "jpeg" in name else 2), name
        assert found.shape[2] == (4 if "unassalpha" in name else 3)
        if found.shape[2] == 4:
            assert np.abs(found[..., 3] - alpha).max() <= (2 if "jpeg" in name else 1), name
        assert "CMYK was converted to sRGB" in picture.notes
        assert ("16 bits per channel became 8" in picture.notes) == (dtype == "uint16")
        assert any("does not name" in note for note in picture.notes) == ("unspecified" in name)


def packed(bits: int, channels: int, tile: int = 0) -> tuple[bytes, NDArray[Any]]:
    """A file whose samples are packed without gaps, rows from whole bytes; and its samples."""
    samples = (levels(channels, "uint16") >> (16 - bits)).astype(np.uint16)
    width = -(-WIDTH // tile) * tile if tile else WIDTH
    height = -(-HEIGHT // 16) * 16 if tile else HEIGHT
    padded = np.pad(samples, ((0, height - HEIGHT), (0, width - WIDTH), (0, 0)))
    unpacked = (padded.reshape(height, -1)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = unpacked.reshape(height, -1).astype(np.uint8)
    side = (tile or WIDTH) * channels * bits
    blocks = [
        zlib.compress(np.packbits(rows[top : top + (16 if tile else height), left : left + side], axis=1).tobytes())
        for top in range(0, height, 16 if tile else height)
        for left in range(0, rows.shape[1], side)
    ]
    short = {256: WIDTH, 257: HEIGHT, 259: 8, 262: 2 if channels == 3 else 1, 277: channels, 284: 1}
    short |= {322: tile, 323: 16} if tile else {278: HEIGHT}
    entries = {tag: (3, 1, struct.pack("<H", value)) for tag, value in short.items()}
    entries[258] = (3, channels, struct.pack(f"<{channels}H", *[bits] * channels))
    sizes = struct.pack(f"<{len(blocks)}L", *(len(block) for block in blocks))
    entries[325 if tile else 279] = (4, len(blocks), sizes)
    return file_of("<", entries, blocks, 324 if tile else 273), samples


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 9, 10, 12, 14])
def test_samples_of_any_number_of_bits_keep_their_share(tmp_path: Path, bits: int, channels: int, tile: int) -> None:
    content, samples = packed(bits, channels, tile)
    found = decode(content, "a.tif").frames[0]
    top = 255 if bits < 8 else 65_535
    assert found.dtype == (np.uint8 if bits < 8 else np.uint16)
    share = samples[..., 0] if channels == 1 else samples
    np.testing.assert_array_equal(found, np.rint(share * (top / (2**bits - 1))).astype(int))
    (tmp_path / "a.tif").write_bytes(content)
    banded, refusal = attempt(lambda: in_bands(tmp_path / "a.tif"))
    if banded is None:
        assert f"{bits}-bit" in refusal
        assert bits not in (1, 2, 4) or channels == 3
    else:
        np.testing.assert_array_equal(banded, found)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({262: 32803}, "8-bit raw sensor TIFF"),
        ({262: 9}, "8-bit ICC Lab TIFF"),
        ({262: None}, "no PhotometricInterpretation"),
        ({259: 34712}, "grey TIFF, compressed by JPEG 2000"),
        ({259: 50001}, "grey TIFF, compressed by WebP"),
        ({259: 60_000}, "compressed by method 60000"),
        ({339: 5}, "complex 8-bit grey TIFF"),
        ({258: 24}, "24-bit grey TIFF"),
        ({262: 5}, "CMYK TIFF"),
        ({262: 6}, "YCbCr TIFF"),
    ],
)
def test_what_no_decoder_reads_is_named(tmp_path: Path, tags: dict[int, int | None], words: str) -> None:
    usual = {256: WIDTH, 257: HEIGHT, 258: 8, 259: 1, 262: 1, 277: 1, 278: HEIGHT, 279: WIDTH * HEIGHT, 284: 1}
    entries = {tag: (4, 1, struct.pack("<L", value)) for tag, value in {**usual, **tags}.items() if value is not None}
    content = file_of("<", entries, [bytes(2 * WIDTH * HEIGHT)], 273)
    (tmp_path / "a.tif").write_bytes(content)
    for road in (lambda: decode(content, "a.tif"), lambda: in_bands(tmp_path / "a.tif")):
        with pytest.raises(BadImageError, match=words):
            road()


def subsampled(across: int, down: int, compression: int, **tags: int) -> tuple[bytes, NDArray[np.uint8]]:
    """YCbCr with one colour for `across` x `down` pixels; and the picture."""
    rgb = levels(3, "uint8").astype(np.uint8)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    units = []
    for top, left in itertools.product(range(0, HEIGHT, down), range(0, WIDTH, across)):
        block = ycbcr[top : top + down, left : left + across].reshape(-1, 3)
        units.append(bytes([*block[:, 0], *block[:, 1:].mean(0).round().astype(int)]))
    data = b"".join(units) if compression == 1 else zlib.compress(b"".join(units))
    values = {256: WIDTH, 257: HEIGHT, 259: compression, 262: 6, 277: 3, 278: HEIGHT, 279: len(data), 284: 1}
    entries = {tag: (4, 1, struct.pack("<L", value)) for tag, value in values.items()}
    entries[258] = (3, 3, struct.pack("<3H", 8, 8, 8))
    if tags.get("said", 1):
        entries[530] = (3, 2, struct.pack("<2H", across, down))
    return file_of("<", entries, [data], 273), rgb


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("compression", [1, 8])
def test_ycbcr_is_read_where_it_is_clear_what_is_meant(across: int, down: int, compression: int) -> None:
    content, rgb = subsampled(across, down, compression)
    if compression == 1 and (across, down) != (1, 1):
        with pytest.raises(BadImageError, match=f"YCbCr TIFF of {across}x{down} subsampling"):
            decode(content, "a.tif")
    else:
        assert np.abs(decode(content, "a.tif").frames[0].astype(int) - rgb).mean() < 6
    with pytest.raises(BadImageError, match="YCbCr TIFF that does not say its subsampling"):
        decode(subsampled(across, down, compression, said=0)[0], "a.tif")


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_bits_may_stand_in_reverse_order(channels: int, dtype: str, compression: int) -> None:
    image = levels(channels, dtype)
    data = image.tobytes() if compression == 1 else zlib.compress(image.tobytes())
    bits = np.unpackbits(np.frombuffer(data, np.uint8)[:, None], axis=1)[:, ::-1]
    values = {256: WIDTH, 257: HEIGHT, 259: compression, 262: 2 if channels > 2 else 1, 266: 2, 277: channels}
    entries = {tag: (4, 1, struct.pack("<L", value)) for tag, value in (values | {279: len(data)}).items()}
    entries[258] = (3, channels, struct.pack(f"<{channels}H", *[8 * image.itemsize] * channels))
    content = file_of("<", entries, [np.packbits(bits, axis=1).tobytes()], 273)
    np.testing.assert_array_equal(decode(content, "a.tif").frames[0], image[..., 0] if channels == 1 else image)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_codes_are_read_on_both_roads(tmp_path: Path, compression: str) -> None:
    image = levels(1, "bool")[..., 0]
    Image.fromarray(image).save(tmp_path / "a.tif", compression=compression)
    for found in (decode((tmp_path / "a.tif").read_bytes(), "a.tif").frames[0], in_bands(tmp_path / "a.tif")):
        np.testing.assert_array_equal(found > 127, image)


def test_a_palette_of_8_bits_is_not_black() -> None:
    indices = levels(1, "uint8")[..., 0]
    ramp = np.arange(256, dtype=np.uint16)
    file = io.BytesIO()
    colours = np.stack([ramp, ramp[::-1], ramp])
    tifffile.imwrite(file, indices, photometric="palette", colormap=colours, metadata=None)
    np.testing.assert_array_equal(decode(file.getvalue(), "a.tif").frames[0], np.moveaxis(colours[:, indices], 0, 2))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("extra", ["unassalpha", "unspecified"])
def test_a_palette_may_have_transparency_beside_it(dtype: str, extra: str) -> None:
    image, top = levels(2, dtype), np.iinfo(dtype).max
    ramp = np.linspace(0, 65_535, top + 1).round().astype("<u2")
    values = {256: WIDTH, 257: HEIGHT, 259: 1, 262: 3, 277: 2, 279: image.nbytes, 338: 2 * (extra == "unassalpha")}
    entries = {tag: (4, 1, struct.pack("<L", value)) for tag, value in values.items()}
    entries[258] = (3, 2, struct.pack("<2H", *[8 * image.itemsize] * 2))
    entries[320] = (3, 3 * ramp.size, np.stack([ramp, ramp[::-1], ramp]).tobytes())
    picture = decode(file_of("<", entries, [image.tobytes()], 273), "a.tif")
    found = picture.frames[0] / np.iinfo(picture.frames[0].dtype).max
    assert np.abs(found[..., 0] - image[..., 0] / top).max() <= 1 / 255
    assert found.shape[2] == (4 if extra == "unassalpha" else 3)
    if extra == "unassalpha":
        np.testing.assert_array_equal(found[..., 3], image[..., 1] / top)
    assert any("does not name" in note for note in picture.notes) == (extra == "unspecified")


@pytest.mark.parametrize("extras", [["unspecified", "unassalpha"], ["unspecified"] * 3, ["unassalpha", "unspecified"]])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_alpha_is_found_among_further_channels(extras: list[str], planar: str) -> None:
    image = levels(3 + len(extras), "uint16")
    file = io.BytesIO()
    stored = image if planar == "contig" else np.moveaxis(image, 2, 0)
    tifffile.imwrite(file, np.ascontiguousarray(stored), photometric="rgb", planarconfig=planar, extrasamples=extras)
    picture = decode(file.getvalue(), "a.tif")
    wanted = [0, 1, 2, *([3 + extras.index("unassalpha")] if "unassalpha" in extras else [])]
    np.testing.assert_array_equal(picture.frames[0], image[..., wanted])
    assert picture.notes == (
        f"channels that the file does not name were dropped: {len(extras) - ('unassalpha' in extras)}",
    )


def tagged(order: Literal["<", ">"], orientation: int, **options: Any) -> bytes:
    """A planar file of 16 bits with much beside its pixels."""
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.ascontiguousarray(np.moveaxis(levels(3, "uint16"), 2, 0)),
        photometric="rgb",
        planarconfig="separate",
        byteorder=order,
        resolution=(300, 300),
        resolutionunit="inch",
        metadata=None,
        description="a description",
        extratags=[(274, 3, 1, orientation, True), (315, 2, None, "an artist", True)],
        **options,
    )
    return file.getvalue()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_tags_and_orientation_of_such_kinds_are_kept(order: Literal["<", ">"], big: bool) -> None:
    picture = decode(tagged(order, 6, bigtiff=big), "a.tif")
    np.testing.assert_array_equal(picture.frames[0], np.rot90(levels(3, "uint16"), -1))
    exif = Image.Exif()
    exif.load(picture.metadata.exif or b"")
    assert (exif[270], exif[315]) == ("a description", "an artist")
    assert picture.metadata.dpi == (300, 300)
    assert size_of(tagged(order, 6, bigtiff=big), "a.tif") == WIDTH * HEIGHT


def test_a_page_of_such_a_kind_is_found_by_its_number(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(levels(1, "uint8")[..., 0], metadata=None)
        file.write(levels(1, "int16")[..., 0], metadata=None)
        file.write(np.moveaxis(levels(4, "uint16"), 2, 0), photometric="rgb", planarconfig="separate", metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(decode(content, "a.tif", frame=0).frames[0], levels(1, "uint8")[..., 0])
    np.testing.assert_array_equal(decode(content, "a.tif", frame=2).frames[0], levels(4, "uint16"))
    for frame, words in ((None, "3 pages"), (1, "signed 16-bit grey"), (3, "no frame 3")):
        with pytest.raises(BadImageError, match=words):
            decode(content, "a.tif", frame=frame)


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_page_may_be_the_smaller_copy(tmp_path: Path, order: Literal["<", ">"]) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=order) as file:
        file.write(levels(3, "uint8")[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        file.write(levels(3, "uint8"), photometric="rgb", metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    picture = decode(content, "a.tif")
    np.testing.assert_array_equal(picture.frames[0], levels(3, "uint8"))
    np.testing.assert_array_equal(in_bands(tmp_path / "a.tif"), levels(3, "uint8"))
    assert picture.notes == ("the file holds 2 pictures; the main one was taken",)


def test_damage_is_found_in_planes_and_tiles() -> None:
    content = tagged("<", 1)
    for cut in (len(content) // 2, len(content) - 100):
        with pytest.raises(BadImageError, match="damaged or truncated"):
            decode(content[:cut], "a.tif")
    with pytest.raises(ImageTooLargeError):
        decode(content, "a.tif", max_pixels=100)


def test_many_channels_and_vast_tiles_take_no_vast_memory() -> None:
    short = {256: 10, 257: 10, 259: 8, 262: 1, 277: 60_000, 284: 1, 278: 10}
    entries = {tag: (4, 1, struct.pack("<L", value)) for tag, value in short.items()}
    entries |= {258: (3, 1, struct.pack("<H", 16)), 279: (4, 1, struct.pack("<L", 100))}
    content = file_of("<", entries, [bytes(100)], 273)
    with pytest.raises(BadImageError, match="too many samples|more than 800,000 "):
        decode(content, "a.tif", max_pixels=100_000)
    vast = {322: 1_000_000, 323: 1_000_000, 277: 1}
    entries |= {tag: (4, 1, struct.pack("<L", value)) for tag, value in vast.items()}
    entries[325] = (4, 1, struct.pack("<L", 100))
    with pytest.raises(BadImageError, match="tiles are far larger|more than 800,000 "):
        decode(file_of("<", entries, [bytes(100)], 324), "a.tif", max_pixels=100_000)


def test_tags_that_lie_over_each_other_take_no_vast_memory() -> None:
    entries = {tag: (1, 1_000_000, bytes(8)) for tag in range(40_000, 42_000)}
    content = bytearray(file_of("<", entries, [bytes(1_000_000)], 273))
    for index in range(2000):  # all of them point to the same million
        struct.pack_into("<LL", content, 8 + 2 + 12 * (index + 1) + 4, 1_000_000, 30_000)
    with pytest.raises(BadImageError, match="lie over each other|unpack to 1,999,672,051 bytes"):
        decode(bytes(content), "a.tif")


@pytest.mark.parametrize("kind", ["planar tiles", "zstd", "cmyk"])
def test_what_does_not_go_in_bands_goes_in_one_piece_by_itself(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the picture were a large one."""
    pytest.importorskip("imagecodecs")
    monkeypatch.setattr("edsr_client.bands.plan.BANDED_PIXELS", 10)
    image, planes = levels(3, "uint16"), np.ascontiguousarray(np.moveaxis(levels(3, "uint16"), 2, 0))
    if kind == "planar tiles":
        tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", tile=(16, 16))
    elif kind == "zstd":
        tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", compression="zstd")
    else:
        tifffile.imwrite(tmp_path / "a.tif", levels(4, "uint8"), photometric="separated")
    with Upscaler(transport=MockTransport()) as upscaler:
        result = upscaler.upscale_file(tmp_path / "a.tif", tmp_path / "out.png")
    assert (result.width, result.height) == (3 * WIDTH, 3 * HEIGHT)
    found: Picture = decode((tmp_path / "out.png").read_bytes(), "out.png")
    whole = decode((tmp_path / "a.tif").read_bytes(), "a.tif").frames[0]
    np.testing.assert_allclose(found.frames[0][1::3, 1::3].astype(int), whole.astype(int), atol=257)
