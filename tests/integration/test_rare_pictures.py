"""Kinds of files that decoders misread, through the real server: by the command, in bands, from a folder."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from commands import Run, assert_one_line_error
from edsr_client import Upscaler
from edsr_client.batch import MANIFEST
from edsr_client.pictures.decode import decode
from edsr_serving import RunningServer
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.unit.test_animated_png import animation, deep_frame
from tests.unit.test_colours import gamma, png_with

SIDE = 60


@pytest.fixture(scope="module")
def photograph(root: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(root / "demo" / "photograph.png").convert("RGB"))[100 : 100 + SIDE, 100 : 100 + SIDE]


def read(path: Path) -> NDArray[np.uint8 | np.uint16]:
    return np.asarray(decode(path.read_bytes(), path.name).frames[0])


def test_planes_of_16_bits_give_what_pixels_of_16_bits_give(
    run: Run, embedded_server: RunningServer, photograph: NDArray[np.uint8], tmp_path: Path
) -> None:
    deep = photograph.astype(np.uint16) * 257
    planes = np.ascontiguousarray(np.moveaxis(deep, 2, 0))
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate", compression="zlib")
    url = ("--url", embedded_server.options.http_url)
    for name, more in (("whole.tif", ()), ("bands.tif", ("--bands", "always"))):
        done = run("edsr_client", "upscale", "planes.tif", name, *more, *url)
        assert done.returncode == 0, done.stderr
    with Upscaler(embedded_server.options.http_url) as upscaler:
        wanted = upscaler.upscale(deep)
    np.testing.assert_array_equal(read(tmp_path / "whole.tif"), wanted)
    assert np.abs(read(tmp_path / "bands.tif").astype(int) - wanted).max() <= 257


def test_signed_numbers_are_refused_in_one_line(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "ct.tif", np.full((9, 9), -3072, np.int16))
    for more in ((), ("--bands", "always")):
        done = run("edsr_client", "upscale", "ct.tif", "out.tif", *more, "--url", embedded_server.options.http_url)
        assert_one_line_error(done, 3, "ct.tif is a signed 16-bit grey TIFF")
    assert not (tmp_path / "out.tif").exists()


def test_a_folder_of_rare_pictures_becomes_webp(
    run: Run, embedded_server: RunningServer, photograph: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    image = Image.fromarray(photograph)
    frames = [image.rotate(angle).quantize(64) for angle in (0, 90, 180)]
    frames[0].save(folder / "palette.png", save_all=True, append_images=frames[1:], duration=200)
    (folder / "deep.png").write_bytes(animation(2, [(deep_frame(2, k), (0, 0), 0, 0) for k in range(3)]))
    content = io.BytesIO()
    image.save(content, "PNG")
    (folder / "linear.png").write_bytes(png_with(gamma(1.0), content=content.getvalue()))
    (folder / "hdr.png").write_bytes(png_with((b"cICP", bytes([9, 16, 0, 1])), content=content.getvalue()))
    tifffile.imwrite(folder / "float.tif", photograph.astype(np.float16), photometric="rgb")
    done = run(
        "edsr_client", "batch", "in", "out", "--format", "webp", "--quality", "100",
        "--url", embedded_server.options.http_url,
    )  # fmt: skip
    assert done.returncode != 0
    lines = [json.loads(line) for line in (tmp_path / "out" / MANIFEST).read_text().splitlines()]
    failed = sorted(str(line) for line in lines if line.get("status") == "failed")
    assert len(failed) == 2
    for name, words in (("hdr.png", "HDR (PQ)"), ("float.tif", "a floating-point 16-bit RGB TIFF")):
        assert any(name in line and words in line for line in failed), failed
    out = {path.name: path for path in (tmp_path / "out").glob("*.webp")}
    assert len(out) == 3
    with Image.open(out["palette.webp"]) as moving:
        assert moving.n_frames == 3
        for index, frame in enumerate(frames):
            moving.seek(index)
            small = moving.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
            assert np.abs(np.asarray(small).astype(int) - np.asarray(frame.convert("RGB"))).mean() < 8
    with Image.open(out["deep.webp"]) as moving:
        assert moving.n_frames == 3
    with Image.open(out["linear.webp"]) as linear:
        made = ImageCms.ImageCmsProfile(io.BytesIO(linear.info["icc_profile"]))
    assert "gamma 1 of PNG" in ImageCms.getProfileDescription(made)
