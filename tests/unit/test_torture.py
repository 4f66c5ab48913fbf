"""The comparison of results with a second decoder's view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from edsr_client.pictures.plugins import register_plugins
from edsr_perf.torture.compare import Tolerance, differences
from edsr_perf.torture.opinion import Opinion, opinion_of
from edsr_perf.torture.results import result_of
from edsr_perf.torture.run import DIFFERENT, LOST, Verdict, as_json, as_markdown
from numpy.typing import NDArray
from PIL import Image

from tests.unit.picture_files import encoded, exif, photo, profile

TIGHT = Tolerance(12, 3, 0)


def opinion(*frames: NDArray[Any], **more: Any) -> Opinion:
    height, width = frames[0].shape[:2]
    return Opinion("test", (width, height), len(frames), dict(enumerate(frames)), **more)


def larger(image: NDArray[Any]) -> NDArray[Any]:
    return image.repeat(3, axis=0).repeat(3, axis=1)


def named(source: Opinion, result: Opinion) -> list[str]:
    return [one.what for one in differences(source, result, 3, TIGHT)]


def test_a_right_result_is_the_same() -> None:
    assert named(opinion(photo()), opinion(larger(photo()))) == []
    noisy = larger(photo()).astype(int) + np.random.default_rng(0).integers(-9, 9, (72, 108, 3))
    assert named(opinion(photo()), opinion(noisy.clip(0, 255).astype(np.uint8))) == []


@pytest.mark.parametrize(
    "wrong", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[..., ::-1], lambda a: a // 2, lambda a: a * 0]
)
def test_turned_swapped_dark_and_black_results_are_found(wrong: Any) -> None:
    changed = np.ascontiguousarray(wrong(larger(photo())))
    assert named(opinion(photo()), opinion(changed)) == ["pixels of frame 0"]


def test_size_frames_times_depth_mode_and_alpha_are_compared() -> None:
    grey, deep = photo()[..., :1], photo().astype(np.uint16) * 257
    clear = np.dstack([photo(), np.where(photo()[..., 0] > 99, 255, 0).astype(np.uint8)])
    assert named(opinion(photo()), opinion(photo())) == ["size"]
    assert named(opinion(photo(), photo()), opinion(larger(photo()))) == ["frames"]
    assert named(opinion(grey), opinion(larger(grey.repeat(3, axis=2)))) == ["mode"]
    assert named(opinion(deep), opinion(larger(photo()))) == ["depth"]
    assert named(opinion(deep), opinion(larger(deep))) == []
    assert "alpha" in named(opinion(clear), opinion(larger(photo())))
    slow: dict[str, Any] = {"durations_ms": (100.0, 50.0)}
    fast: dict[str, Any] = {"durations_ms": (100.0, 90.0)}
    two = (larger(photo()), larger(photo()))
    assert named(opinion(photo(), photo(), **slow), opinion(*two, **fast)) == ["time of frame 1"]


def test_equal_neighbours_may_be_one_frame() -> None:
    first, second = photo(), photo()[::-1]
    source = opinion(first, first, second, durations_ms=(100.0, 100.0, 50.0))
    joined = opinion(larger(first), larger(second), durations_ms=(200.0, 50.0))
    assert named(source, joined) == []
    assert named(source, opinion(larger(first), larger(first), durations_ms=(200.0, 50.0))) == ["pixels of frame 2"]
    assert named(source, opinion(larger(first), larger(second), durations_ms=(100.0, 50.0))) == ["frames"]


def test_metadata_are_compared_as_values() -> None:
    before = opinion(photo(), exif={"Exposure": "10/1600", "Artist": "A ©", "Bias": "0/10"}, icc=b"x", xmp=True)
    same = opinion(larger(photo()), exif={"Exposure": "1/160", "Artist": "A ©", "Bias": "0/1"}, icc=b"x", xmp=True)
    assert named(before, same) == []
    worse = opinion(larger(photo()), exif={"Exposure": "1/80", "Artist": "A ?"})
    assert named(before, worse) == ["ICC profile", "XMP", "EXIF", "Artist", "Exposure"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "GIF", "HEIF"])
def test_a_second_decoder_reads_every_kind(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    register_plugins()
    path.write_bytes(encoded(photo(48, 64), kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {})))
    found = opinion_of(path)
    assert found is not None
    assert found.by in ("libvips", "tifffile", "OpenCV", "FFmpeg")
    assert differences(found, opinion(larger(photo(48, 64))), 3, Tolerance()) == []


def test_orientation_animations_and_profiles_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo(), "JPEG", exif=exif(6), icc_profile=profile()))
    turned = opinion_of(tmp_path / "a.jpg")
    assert turned is not None
    assert turned.size == (24, 36)
    assert turned.icc == profile()
    assert turned.exif["exif-ifd0-Make"] == "Camera"
    frames = [Image.fromarray(photo()[::step]) for step in (1, -1)]
    for name, kind in (("b.gif", "GIF"), ("b.webp", "WEBP"), ("b.png", "PNG")):
        (tmp_path / name).write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=200))
        found = opinion_of(tmp_path / name)
        assert found is not None
        assert (found.count, set(found.durations_ms)) == (2, {200.0}), name
    result = result_of(tmp_path / "b.png")
    assert (result.count, result.durations_ms) == (2, (200.0, 200.0))
    tifffile.imwrite(tmp_path / "c.tif", np.moveaxis(photo().astype(np.uint16) * 257, 2, 0), photometric="rgb")
    planar = opinion_of(tmp_path / "c.tif")
    assert planar is not None
    assert np.array_equal(planar.frames[0], photo().astype(np.uint16) * 257)
    (tmp_path / "d.png").write_bytes(b"no picture")
    assert opinion_of(tmp_path / "d.png") is None


def test_the_report_names_what_differs() -> None:
    found = differences(opinion(photo()), opinion(photo()), 3, TIGHT)
    verdicts = [Verdict("a|b.png", DIFFERENT, "libvips", "", found), Verdict("c.png", LOST)]
    report = as_json(verdicts)
    assert report["summary"] == {DIFFERENT: 1, LOST: 1}
    assert report["differences"] == {"size": 1}
    assert "| a/b.png | libvips | size | 108x72 | 36x24 |" in as_markdown(verdicts)
