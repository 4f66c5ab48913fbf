"""Large pictures in bands: the same pixels as in one piece, bounded, and going on after an interruption."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from edsr_client import (
    AccessDeniedError,
    BadImageError,
    EdsrError,
    FileResult,
    Finishing,
    ImageTooLargeError,
    MissingExtraError,
    MockTransport,
    OutputError,
    Upscaler,
)
from edsr_client.bands import plan, run
from edsr_client.bands.plan import bands_for, wanted
from edsr_client.bands.source import Rows, header_of
from edsr_client.bands.store import Store
from edsr_client.border import MARGIN_PX
from edsr_client.errors import OutputBusyError
from edsr_client.pictures.decode import Picture, decode
from edsr_client.pictures.encode import encode
from edsr_client.pictures.formats import format_named
from edsr_client.pictures.metadata import Metadata
from edsr_client.pictures.resample import resize
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("pyvips")
HEIGHT, WIDTH, HALO_PX = 300, 200, 2


def blurred(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stands for a network with a receptive field: an upscaled pixel depends on HALO_PX around it."""
    side = 2 * HALO_PX + 1
    return (
        np.stack([cv2.blur(one, (side, side), borderType=cv2.BORDER_CONSTANT) for one in images])
        .repeat(3, 1)
        .repeat(3, 2)
    )  # type: ignore[no-any-return,unused-ignore]


def network(handler: Any = blurred) -> MockTransport:
    return MockTransport(handler, parameters={"halo_px": str(HALO_PX), "tile": "96x96"})


def pixels(channels: int = 3, dtype: Any = np.uint8, height: int = HEIGHT) -> NDArray[Any]:
    y, x = np.mgrid[0:height, 0:WIDTH]
    waves = [(np.sin(y / 9 + k) + np.cos(x / 7 - k) + 2) / 4 * np.iinfo(dtype).max for k in range(channels)]
    image = np.stack(waves, 2).astype(dtype)
    return image[..., 0] if channels == 1 else image


def write(path: Path, image: NDArray[Any], **metadata: Any) -> Path:
    format_ = format_named(path.suffix[1:])
    path.write_bytes(encode(Picture([image], (), 0, Metadata(**metadata), ()), format_)[0])
    return path


@pytest.fixture(autouse=True)
def low_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BAND_BYTES", WIDTH * 9 * 3 * 60)
    monkeypatch.setattr(run, "USUAL_TILE_PX", 1)


def upscale(source: Path, target: Path, transport: MockTransport | None = None, **options: Any) -> FileResult:
    with Upscaler(transport=transport or network(), retries=0) as upscaler:
        return upscaler.upscale_file(source, target, **{"bands": "always", "halo": "exact", **options})


def frame(path: Path) -> NDArray[Any]:
    return decode(path.read_bytes(), path.name).frames[0]


CASES = [
    (kind, channels, dtype)
    for kind in ("png", "tiff", "jpeg")
    for channels in (1, 2, 3, 4)
    for dtype in (np.uint8, np.uint16)
    if (kind != "jpeg" or (channels in (1, 3) and dtype == np.uint8))
    and (kind, channels, dtype) != ("tiff", 2, np.uint16)  # which Pillow does not read in one piece
]


@pytest.mark.parametrize("target", ["tif", "png"])
@pytest.mark.parametrize(("kind", "channels", "dtype"), CASES)
def test_bands_give_what_one_piece_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, channels: int, dtype: Any, target: str
) -> None:
    source = write(tmp_path / f"a.{kind}", pixels(channels, dtype), dpi=(300.0, 300.0))
    upscale(source, tmp_path / f"whole.{target}", bands="never")
    real, kept = Store.put, list[int]()

    def put(self: Store, index: int, band: NDArray[Any]) -> None:
        kept.append(index)
        real(self, index, band)

    monkeypatch.setattr(Store, "put", put)
    result = upscale(source, tmp_path / f"banded.{target}")
    assert sorted(kept) == list(range(len(kept)))
    assert len(kept) >= 3
    whole, banded = (decode((tmp_path / f"{name}.{target}").read_bytes(), name) for name in ("whole", "banded"))
    assert whole.frames[0].dtype == banded.frames[0].dtype
    np.testing.assert_array_equal(whole.frames[0], banded.frames[0])
    assert banded.metadata.dpi == pytest.approx(whole.metadata.dpi)
    assert (result.width, result.height, result.format) == (3 * WIDTH, 3 * HEIGHT, {"tif": "tiff"}.get(target, target))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [source.name, f"whole.{target}", f"banded.{target}"]
    )


def test_metadata_and_the_final_size_are_as_in_one_piece(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "a camera", 6
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=exif, quality=95, icc_profile=_profile())
    for name, bands in (("whole", "never"), ("banded", "always")):
        upscale(tmp_path / "a.jpg", tmp_path / f"{name}.png", bands=bands)
    whole, banded = (decode((tmp_path / f"{name}.png").read_bytes(), name) for name in ("whole", "banded"))
    np.testing.assert_array_equal(whole.frames[0], banded.frames[0])  # turned once
    assert banded.metadata.icc == whole.metadata.icc
    with Image.open(tmp_path / "banded.png") as image:
        assert image.getexif()[0x0110] == "a camera"
        assert image.getexif().get(0x0112, 1) == 1
    upscale(tmp_path / "a.jpg", tmp_path / "small.png", finishing=Finishing(max_side=450, strip_metadata=True))
    small = decode((tmp_path / "small.png").read_bytes(), "small")
    expected = resize(whole.frames[0], (450, 300)).astype(int)
    assert np.abs(small.frames[0].astype(int) - expected).max() <= 2
    assert small.metadata == Metadata()


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_an_interrupted_run_goes_on_and_a_changed_one_begins_anew(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.png", pixels()), tmp_path / "out.tif"
    answers = iter(range(8))

    def some(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if next(answers, None) is None:
            raise AccessDeniedError("no more")
        return blurred(images)

    with pytest.raises(AccessDeniedError):
        upscale(source, target, network(some))
    kept = list((tmp_path / ".out.tif.edsr-bands").glob("*.band"))
    assert kept
    assert not target.exists()
    whole, rest = network(), network()
    upscale(source, tmp_path / "whole.tif", whole)
    result = upscale(source, target, rest)
    assert len(rest.requests) < len(whole.requests)
    assert any("went on with" in note for note in result.notes)
    np.testing.assert_array_equal(frame(target), frame(tmp_path / "whole.tif"))

    answers = iter(range(8))
    with pytest.raises(AccessDeniedError):
        upscale(source, target, network(some))
    write(source, pixels()[::-1])
    anew = network()
    assert not upscale(source, target, anew).notes
    assert len(anew.requests) == len(whole.requests)
    np.testing.assert_array_equal(frame(target), frame(upscale_in_one(source, tmp_path / "again.tif")))


def upscale_in_one(source: Path, target: Path) -> Path:
    upscale(source, target, bands="never")
    return target


@pytest.mark.parametrize("kind", ["png", "tif", "jpg"])
def test_a_truncated_file_leaves_no_result(tmp_path: Path, kind: str) -> None:
    whole = write(tmp_path / f"whole.{kind}", pixels()).read_bytes()
    source = tmp_path / f"cut.{kind}"
    source.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(BadImageError, match="damaged or truncated|not a picture"):
        upscale(source, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_what_cannot_be_kept_is_refused_with_what_to_do(tmp_path: Path) -> None:
    image = Image.fromarray(pixels())
    image.save(tmp_path / "pages.tif", save_all=True, append_images=[image.rotate(180)])
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    image.save(tmp_path / "plain.png")
    write(tmp_path / "alpha.png", pixels(4))
    for name, target, words in (
        ("pages.tif", "out.tif", "2 pages. Name one"),
        ("cmyk.tif", "out.tif", "an 8-bit CMYK TIFF, which does not go in bands"),
        ("plain.png", "out.webp", "does not go in bands"),
        ("alpha.png", "out.jpg", "transparency"),
    ):
        with pytest.raises(EdsrError, match=words):
            upscale(tmp_path / name, tmp_path / target)
    upscale(tmp_path / "pages.tif", tmp_path / "page.png", frame=1)
    np.testing.assert_array_equal(frame(tmp_path / "page.png"), blurred(pixels()[None, ::-1, ::-1])[0])
    with pytest.raises(BadImageError, match="no frame 2"):
        upscale(tmp_path / "pages.tif", tmp_path / "page.png", frame=2)
    assert not list(tmp_path.glob(".*"))


def test_limits_are_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, transport = write(tmp_path / "a.png", pixels()), network()
    with pytest.raises(ImageTooLargeError, match="max-pixels"):
        upscale(source, tmp_path / "out.tif", transport, max_pixels=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match=r"need up to [\d,]*[1-9][\d,]*\.\d MB, [\d,.]+ MB are free. Make room"):
        upscale(source, tmp_path / "out.tif", transport)
    assert transport.requests == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_a_full_disk_in_the_middle_keeps_what_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, real, written = write(tmp_path / "a.png", pixels()), os.fsync, iter(range(4))

    def full(descriptor: int) -> None:
        if next(written, None) is None:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            upscale(source, tmp_path / "out.tif")
    folder = tmp_path / ".out.tif.edsr-bands"
    assert not list(folder.glob("*.part"))
    assert any("went on" in note for note in upscale(source, tmp_path / "out.tif").notes)
    assert not folder.exists()


def test_another_process_at_the_same_result_is_refused_while_it_lives(tmp_path: Path) -> None:
    source, folder = write(tmp_path / "a.png", pixels()), tmp_path / ".out.tif.edsr-bands"
    folder.mkdir()
    code = "import pathlib, sys, time; from edsr_client.locking import take; "
    code += "lock = take(pathlib.Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, str(folder / "lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(OutputBusyError, match=f"Process {process.pid}"):
        upscale(source, tmp_path / "out.tif")
    process.kill()
    process.stdout.read()  # it has ended; nobody has asked for its exit code, so its number is still taken
    upscale(source, tmp_path / "out.tif")
    process.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "out.tif"]


def test_wrong_tiles_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tile"):
        upscale(write(tmp_path / "a.png", pixels()), tmp_path / "out.tif", tile=3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_the_extra_small_pictures_work_and_large_ones_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.png", pixels())
    monkeypatch.setitem(sys.modules, "pyvips", None)
    upscale(source, tmp_path / "out.png", bands="auto")
    with pytest.raises(MissingExtraError, match=r"\[gigapixel\]"):
        upscale(source, tmp_path / "out.png")


def test_large_pictures_go_in_bands_by_themselves() -> None:
    tiff, webp = format_named("tiff"), format_named("webp")
    assert wanted("auto", "TIFF", 300_000_000, tiff)
    assert not wanted("auto", "TIFF", 1_000_000, tiff)
    assert not wanted("never", "TIFF", 300_000_000, tiff)
    assert not wanted("auto", "WEBP", 300_000_000, tiff)
    assert not wanted("auto", "PNG", 300_000_000, webp)


def test_memory_does_not_grow_with_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr(plan, "BAND_BYTES", 8_000_000)
    row = np.random.default_rng(0).integers(0, 256, (1, 3000, 3), np.uint8)
    peaks = []
    for height in (1000, 3000):  # 81 and 243 MB upscaled
        cv2.imwrite(str(tmp_path / "a.png"), row.repeat(height, 0), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        tracemalloc.start()
        upscale(tmp_path / "a.png", tmp_path / "out.tif", MockTransport(parameters={"tile": "512x512"}))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 60e6


def test_bands_do_not_follow_the_tile_of_a_server_that_has_measured_itself_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "USUAL_TILE_PX", 1024)
    assert run._tile_rows(None, (288, 288)) == run._tile_rows(None, (544, 544)) == run._tile_rows(None, None)
    assert run._tile_rows(None, (1440, 1080)) == 1440
    assert run._tile_rows(96, (544, 544)) == run._tile_rows((96, 200), (544, 544)) == 96


@given(st.integers(1, 3000), st.integers(1, 5000), st.integers(1, 4), st.integers(0, 80), st.integers(1, 2048))
def test_bands_cover_the_picture_once(height: int, row_bytes: int, scale: int, halo_px: int, tile_rows: int) -> None:
    bands = list(bands_for(height, row_bytes, scale, halo_px, tile_rows))
    assert bands[0].keep_top == bands[0].top == 0
    assert bands[-1].keep_bottom == bands[-1].bottom == height
    for one, two in pairwise(bands):
        assert one.keep_bottom == two.keep_top
        assert two.top == max(0, min(two.keep_top - halo_px, two.bottom - MARGIN_PX))
        assert one.bottom == min(height, one.keep_bottom + halo_px)


@pytest.mark.parametrize(
    ("name", "is_subsampled", "share"),
    [("a.jpg", False, 9), ("a.jpg", True, 6), ("a.png", False, 3)],
)
def test_what_a_decoder_holds_whole_is_said_before_the_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    is_subsampled: bool,
    share: int,
) -> None:
    import pyvips

    plain, slow = tmp_path / f"plain_{name}", tmp_path / name
    image = pyvips.Image.new_from_array(pixels())
    for path, interlace in ((plain, False), (slow, True)):
        subsampling = {"subsample_mode": "on" if is_subsampled else "off"} if path.suffix == ".jpg" else {}
        image.write_to_file(str(path), interlace=interlace, **subsampling)
    headers = [header_of(path) for path in (plain, slow)]
    assert [header and header.whole_bytes for header in headers] == [0, share * HEIGHT * WIDTH]
    monkeypatch.setattr("edsr_client.bands.run.MUCH_BYTES", 1000)
    upscale(plain, tmp_path / "plain.tif")
    assert not caplog.records
    upscale(slow, tmp_path / "slow.tif")
    assert "which its decoder unpacks whole" in caplog.text
    np.testing.assert_array_equal(frame(tmp_path / "plain.tif"), frame(tmp_path / "slow.tif"))


def test_rows_come_from_the_top_with_what_was_read_before(tmp_path: Path) -> None:
    image = pixels()
    rows = Rows(write(tmp_path / "a.png", image), 0, 1)
    for top, bottom in ((0, 50), (40, 100), (99, 101), (200, 300), (280, 300)):
        np.testing.assert_array_equal(rows.read(top, bottom)[: bottom - top], image[top:bottom])


def test_a_header_tells_what_is_in_a_file(tmp_path: Path) -> None:
    header = header_of(write(tmp_path / "a.png", pixels()))
    assert header is not None
    assert (header.kind, header.size, header.pages) == ("PNG", (WIDTH, HEIGHT), 1)
    (tmp_path / "text.png").write_text("no picture")
    assert header_of(tmp_path / "text.png") is None
    assert header_of(tmp_path / "missing.png") is None
