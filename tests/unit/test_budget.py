"""What is refused before it is decoded, in which words; and what lacks so little that it is accepted."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tifffile
from edsr_client import BadImageError, BadVideoError, ImageTooLargeError
from edsr_client.bands.source import Rows, header_of
from edsr_client.files import read_file
from edsr_client.pictures.budget import Budget, max_file_bytes
from edsr_client.pictures.decode import decode, size_of
from edsr_client.pictures.jpeg_end import NOTE
from edsr_client.pictures.structure.gif import canvas_of
from edsr_client.pictures.structure.isobmff import boxes_of
from edsr_client.video import VideoOptions
from edsr_client.video.reader import Reader
from PIL import Image

from tests.nasty_files import gif, ifd, overlapping, tiff
from tests.unit.picture_files import encoded, photo, png_chunk, profile

SHORT, LONG = 3, 4


@pytest.mark.parametrize("max_pixels", [100, 100_000_000])
def test_a_frame_far_away_is_refused_by_the_canvas_it_makes(max_pixels: int) -> None:
    far = gif((10, 10), [(0, 0, 10, 10), (20_000, 20_000, 10, 10)])
    assert len(far) < 100
    for look in (decode, size_of):
        with pytest.raises(ImageTooLargeError, match="canvas of 20010x20010 = 400,400,100 pixels, more than"):
            look(far, "far.gif", max_pixels)
    assert canvas_of(far) == ((20_010, 20_010), 2)


def test_frames_count_together_and_one_of_them_alone() -> None:
    many = gif((100, 100), [(0, 0, 10, 10)] * 30)
    with pytest.raises(ImageTooLargeError, match="30 frames of 100x100, .* raise max_pixels"):
        decode(many, "many.gif", 100_000)
    assert len(decode(many, "many.gif", 1_000_000).frames) == 30
    assert decode(many, "many.gif", 10_000, frame=3).size == (100, 100)
    assert size_of(many, "many.gif") == 10_000
    assert size_of(many, "many.gif", frame=None) == 300_000


def test_a_page_of_another_size_is_checked_by_its_own() -> None:
    file = io.BytesIO()
    Image.new("L", (10, 10)).save(file, "TIFF", save_all=True, append_images=[Image.new("L", (300, 300))])
    assert decode(file.getvalue(), "a.tif", 10_000, frame=0).size == (10, 10)
    with pytest.raises(ImageTooLargeError, match="300x300"):
        decode(file.getvalue(), "a.tif", 10_000, frame=1)
    assert size_of(file.getvalue(), "a.tif", frame=1) == 90_000


def test_tags_that_share_their_bytes_are_refused_and_ordinary_ones_are_not(tmp_path: Path) -> None:
    below = tiff([(34665, LONG, 1, 200)], data=bytes(66) + overlapping(9999, 99_999)[8:])
    for content in (overlapping(60_000, 100_000), below):
        with pytest.raises(ImageTooLargeError, match="its tags unpack to"):
            decode(content, "tags.tif")
        (tmp_path / "tags.tif").write_bytes(content)
        assert header_of(tmp_path / "tags.tif") is None
    layers = tiff([(37724, 7, 30_000_000, 134)], data=bytes(30_004_000))  # as Photoshop keeps them
    assert decode(layers, "layers.tif").size == (10, 10)
    strips = 40_000
    many = tiff([(257, LONG, 1, strips), (278, LONG, 1, 1), (273, LONG, strips, 134), (279, LONG, strips, 160_134)])
    with pytest.raises(BadImageError):  # its strips are not there
        decode(many, "strips.tif")


@pytest.mark.parametrize("name", ["many-strips", "tiles"])
def test_large_real_tiffs_are_within_the_limits(name: str, tmp_path: Path) -> None:
    pixels = np.zeros((4000, 64), np.uint8)
    options: dict[str, Any] = {"rowsperstrip": 1} if name == "many-strips" else {"tile": (16, 16)}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    assert decode((tmp_path / "a.tif").read_bytes(), "a.tif").size == (64, 4000)


def test_a_profile_of_a_printer_is_taken_and_a_bomb_is_not() -> None:
    large = bytearray(profile() + np.random.default_rng(0).bytes(3_000_000))
    large[:4] = struct.pack(">I", len(large))
    assert decode(encoded(photo(), "PNG", icc_profile=bytes(large)), "a.png").metadata.icc == bytes(large)
    with pytest.raises(ImageTooLargeError, match="unpack to more than 16 MB"):
        decode(encoded(photo(), "PNG", icc_profile=bytes(17_000_000)), "a.png")


def test_avif_over_the_limits_says_its_size() -> None:
    avif = bytearray(encoded(photo(64, 64), "AVIF"))
    at = avif.index(b"ispe") + 8
    avif[at : at + 8] = struct.pack(">II", 17_000, 17_000)
    with pytest.raises(ImageTooLargeError, match="17000x17000 = 289,000,000 pixels, more than 100,000,000"):
        decode(bytes(avif), "large.avif")
    with pytest.raises(ImageTooLargeError, match="AVIF picture of 17000x17000. The decoder here takes 268,435,456"):
        decode(bytes(avif), "large.avif", 400_000_000)
    assert boxes_of(bytes(avif)).largest == (17_000, 17_000)
    assert boxes_of(encoded(photo(40, 60), "AVIF")).largest == (60, 40)


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        (np.zeros((8, 8, 3), np.float16), {"photometric": "rgb"}, "floating-point 16-bit RGB TIFF"),
        (np.zeros((8, 8, 3), np.float64), {"photometric": "rgb"}, "floating-point 64-bit RGB TIFF"),
    ],
)
def test_tiffs_that_cannot_be_read_are_named_as_what_they_are(
    pixels: Any, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(BadImageError, match=words):
        decode((tmp_path / "a.tif").read_bytes(), "a.tif")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"8BPS" + bytes(40), "a Photoshop document"),
        (b"%PDF-1.7", "PDF"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "a video: `edsr video FILE`"),
        (b"\x1a\x45\xdf\xa3" + bytes(40), "a video"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "a camera's raw file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\0\2\0\0\0\0\0\0\0\0\0\x5a\0\x43\0\x18\0" + bytes(40), "is TGA"),
        (b"\0\0\2\0\1\0\x20\x20\0\0" + bytes(40), "a cursor"),
        (b"\x0a\5\1\x08" + bytes(140), "is PCX"),
        (b"who knows", "not a picture of a known format"),
    ],
)
def test_other_files_are_named_as_what_they_are(content: bytes, words: str) -> None:
    with pytest.raises(BadImageError, match=words):
        decode(content, "a.jpg")


JPEGS: list[dict[str, Any]] = [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_without_its_end_marker_is_whole_and_a_shorter_one_is_not(options: dict[str, Any], grey: bool) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (61, 83, 3), np.uint8)
    content = encoded(pixels[..., 0] if grey else pixels, "JPEG", **options)
    found = decode(content[:-2], "a.jpg")
    assert np.array_equal(found.frames[0], decode(content, "a.jpg").frames[0])
    assert NOTE in found.notes
    assert NOTE not in decode(content, "a.jpg").notes
    assert NOTE not in decode(content + b"trailer", "a.jpg").notes
    for missing in (4, 5, 9, 16, 20, 40, *range(100, 1000, 9), len(content) // 2):
        with pytest.raises(BadImageError, match="truncated"):
            decode(content[:-missing], "a.jpg")
    for restart in list(re.finditer(rb"\xff[\xd0-\xd7]", content))[-3:]:
        with pytest.raises(BadImageError, match="truncated"):
            decode(content[: restart.start()], "a.jpg")


def test_a_progressive_jpeg_that_ends_between_scans_is_truncated() -> None:
    content = encoded(photo(), "JPEG", progressive=True)
    with pytest.raises(BadImageError, match="truncated"):
        decode(content[: content.rindex(b"\xff\xc4")], "a.jpg")


def test_folders_devices_and_files_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="is a folder. For folders there is `edsr batch"):
        read_file(tmp_path)
    if Path("/dev/zero").exists():
        with pytest.raises(ImageTooLargeError, match="/dev/zero has more than 256,000,008 bytes"):
            read_file("/dev/zero", 1)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageTooLargeError, match="more than 1,056,000,000 bytes"):
        read_file(tmp_path / "sparse")
    assert max_file_bytes(100_000_000) == 1_056_000_000


def test_scans_are_limited_by_the_pixels_they_go_over() -> None:
    small, large = Budget("a.jpg", 1_000_000), Budget("a.jpg", 16_000_000)
    small.check_scans(400, (100, 100))
    small.check_scans(32, (1000, 1000))
    with pytest.raises(ImageTooLargeError, match="33 scans, more than 32"):
        small.check_scans(33, (1000, 1000))
    large.check_scans(33, (1000, 1000))
    with pytest.raises(ImageTooLargeError, match="501 scans"):
        large.check_scans(501, (10, 10))


def test_a_strip_that_cannot_be_unpacked_is_no_black_band(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.tile(photo(), (20, 4, 1)), compression="zlib", rowsperstrip=60)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page: Any = file.pages.first
        offset = page.dataoffsets[3]
    content[offset : offset + 40] = bytes(40)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadImageError, match="damaged"):
        Rows(tmp_path / "a.tif").read(0, 480)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_transparent_level_of_grey_png_with_few_bits_is_that_of_its_pixels(bits: int) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8 // bits, 1, bits, 0, 0, 0, 0))
    levels = sum(level << (8 - bits * (at + 1)) for at, level in enumerate(range(8 // bits)))
    content = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"tRNS", struct.pack(">H", 0 if bits == 8 else 1))
    content += png_chunk(b"IDAT", zlib.compress(bytes([0, levels]))) + png_chunk(b"IEND", b"")
    grey = decode(content, "a.png").frames[0]
    clear = 0 if bits == 8 else 1
    assert [int(alpha) for alpha in grey[0, :, 1]] == [0 if at == clear else 255 for at in range(8 // bits)]


def test_a_directory_that_leads_back_ends() -> None:
    with pytest.raises(BadImageError):
        decode(ifd([(256, SHORT, 1, 10)], following=8), "loop.tif")


def video(path: Path, sides: list[tuple[int, int]]) -> Path:
    """A transport stream whose frames change their size: one of each."""
    with path.open("wb") as file:
        for width, height in sides:
            part = io.BytesIO()
            with av.open(part, "w", format="mpegts") as container:
                stream: Any = container.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for _ in range(3):
                    container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
                container.mux(stream.encode())
            file.write(part.getvalue())
    return path


def test_the_frames_of_videos_are_limited(tmp_path: Path) -> None:
    path = video(tmp_path / "a.ts", [(64, 48)])
    assert sum(1 for _ in Reader(path, 64 * 48).frames()) == 3
    with pytest.raises(BadVideoError, match="64x48 = 3,072 pixels, more than 3,071"):
        Reader(path, 64 * 48 - 1)
    assert VideoOptions().max_pixels == 50_000_000


def test_frames_that_grow_later_are_found_when_the_file_is_opened(tmp_path: Path) -> None:
    with pytest.raises(BadVideoError, match="640x480"):
        Reader(video(tmp_path / "a.ts", [(64, 48), (640, 480)]), 10_000)
