"""What a picture will take, before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_client import BadImageError, Finishing, ImageTooLargeError, MockTransport, OutputExistsError, Upscaler
from edsr_client.cli.progress import TileProgress
from edsr_client.forecast import outline
from PIL import Image

SAID = {"tile": "64x64", "halo_px": "0", "lr_pixels_per_second": "4096"}


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (200, 100), **options: Any) -> Path:
    bands = 4 if mode in ("RGBA", "LA") else 3
    Image.fromarray(np.zeros((size[1], size[0], bands), np.uint8)).convert(mode).save(path, **options)
    return path


def test_tiles_time_and_result_are_those_of_the_work_itself(tmp_path: Path) -> None:
    transport = MockTransport(parameters=SAID)
    with Upscaler(transport=transport) as upscaler:
        for name, mode in (("a.png", "RGB"), ("b.png", "RGBA"), ("c.png", "L"), ("d.jpg", "RGB")):
            source = picture(tmp_path / name, mode)
            found = upscaler.forecast(source)
            assert not transport.requests, "nothing is sent"
            assert not Path(found.output).exists(), "nothing is written"
            assert found.seconds == pytest.approx(found.tiles * found.tile[0] * found.tile[1] / 4096, abs=1e-3)
            result = upscaler.upscale_file(source)
            assert (found.output, found.width, found.height) == (result.path, result.width, result.height)
            assert (found.tiles, found.frames, found.model) == (result.tiles, result.frames, result.model)
            assert len(transport.requests) == found.tiles
            transport.requests.clear()


def test_an_animation_takes_all_its_frames_and_a_turned_photograph_is_turned(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), (n, 0, 0)) for n in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "turned.jpg", exif=exif)
    with Upscaler(transport=MockTransport(parameters=SAID)) as upscaler:
        animated, turned = (upscaler.forecast(tmp_path / name) for name in ("a.webp", "turned.jpg"))
        one = upscaler.forecast(tmp_path / "a.webp", frame=1)
    assert (animated.frames, animated.tiles, animated.output[-5:]) == (3, 3, ".webp")
    assert (one.frames, one.tiles) == (1, 1)
    assert (turned.width, turned.height) == (300, 600)


def test_a_server_that_does_not_say_its_speed_gives_no_time(tmp_path: Path) -> None:
    with Upscaler(transport=MockTransport()) as upscaler:
        found = upscaler.forecast(picture(tmp_path / "a.png").read_bytes(), finishing=Finishing(max_side=100))
    assert found.seconds is None
    assert (found.output, found.width, found.height) == ("", 100, 50)


def test_several_servers_share_the_time(tmp_path: Path) -> None:
    servers = [MockTransport(parameters=SAID, url=f"s{n}", instances=n) for n in (1, 3)]
    with Upscaler(transport=servers) as upscaler:
        found = upscaler.forecast(picture(tmp_path / "a.png"))
    assert found.seconds == pytest.approx(found.tiles * found.tile[0] * found.tile[1] / (4 * 4096), abs=1e-3)


def test_what_would_fail_fails_here_too(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    (tmp_path / "a_x3.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    with Upscaler(transport=MockTransport(parameters=SAID)) as upscaler:
        with pytest.raises(OutputExistsError):
            upscaler.forecast(source)
        with pytest.raises(ImageTooLargeError):
            upscaler.forecast(source, tmp_path / "b.png", max_pixels=100)
        for name in ("text.png", "missing.png"):
            with pytest.raises(BadImageError, match=name):
                upscaler.forecast(tmp_path / name)


def test_bands_are_forecast_without_opening_the_pixels(tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    source = picture(tmp_path / "a.png", size=(3000, 40))
    with Upscaler(transport=MockTransport(parameters=SAID)) as upscaler:
        found = upscaler.forecast(source, tmp_path / "b.tif", bands="always")
    assert found.bands
    assert found.output == str(tmp_path / "b.tif")


@pytest.mark.parametrize(
    ("mode", "channels", "sample_bytes"),
    [("RGB", 3, 1), ("RGBA", 4, 1), ("L", 1, 1), ("LA", 2, 1), ("1", 1, 1), ("P", 3, 1), ("I;16", 1, 2)],
)
def test_a_header_tells_what_is_decoded(tmp_path: Path, mode: str, channels: int, sample_bytes: int) -> None:
    path = tmp_path / "a.png"
    if mode == "I;16":
        Image.fromarray(np.zeros((100, 200), np.uint16)).save(path)
    else:
        picture(path, mode)
    found = outline(path, "a.png", None)
    assert (found.size, found.channels, found.sample_bytes) == ((200, 100), channels, sample_bytes)


def test_without_a_terminal_a_line_says_how_long_it_will_still_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("edsr_client.cli.progress.time.monotonic", lambda: now[0])
    with TileProgress("a.png") as tell:
        tell.expect(40)
        for done, seconds in ((0, 0), (1, 5), (4, 20), (5, 25), (12, 60), (40, 200)):
            now[0] = 100.0 + seconds
            tell(done, 20)
    assert capsys.readouterr().err.splitlines() == [
        "a.png: 4 of 40 tiles, 3 min 0 s left",
        "a.png: 12 of 40 tiles, 2 min 20 s left",
    ]


def test_a_quiet_run_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TileProgress("a.png", quiet=True) as tell:
        tell(0, 3)
        tell(3, 3)
    assert capsys.readouterr().err == ""


def test_a_forecast_is_json() -> None:
    from dataclasses import asdict

    with Upscaler(transport=MockTransport(parameters=SAID)) as upscaler:
        from io import BytesIO

        stream = BytesIO()
        Image.new("RGB", (10, 10)).save(stream, "PNG")
        assert json.loads(json.dumps(asdict(upscaler.forecast(stream.getvalue()))))["tiles"] == 1
