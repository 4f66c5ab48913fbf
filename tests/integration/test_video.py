"""`edsr video` and its library function, on a real server and real files; colours exactly, on a server in memory."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import web
from commands import Run, assert_one_line_error
from edsr_client import (
    AsyncUpscaler,
    BadVideoError,
    IncompleteVideoError,
    MissingExtraError,
    MockTransport,
    OutputError,
    OutputExistsError,
    ServerError,
    Upscaler,
)
from edsr_client.video import VideoOptions
from edsr_serving import RunningServer
from PIL import Image
from proxies import HttpProxy, TcpProxy
from video_files import frames_of, make_video, moving, packets_of, pixels_of, times_of, yuv_at

EDSR = [sys.executable, "-m", "edsr_client"]
FAST = VideoOptions(preset="ultrafast", segment_s=0.3)
SPEED = ("--preset", "ultrafast", "--segment", "0.3")


@pytest.fixture
def upscaler(embedded_server: RunningServer) -> Iterator[Upscaler]:
    with Upscaler(embedded_server.options.http_url) as upscaler:
        yield upscaler


@pytest.fixture
def mock() -> Iterator[tuple[Upscaler, MockTransport]]:
    transport = MockTransport()
    with Upscaler(transport=transport) as upscaler:
        yield upscaler, transport


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_command_keeps_frames_times_sound_and_subtitles(
    run: Run, embedded_server: RunningServer, tmp_path: Path
) -> None:
    source = make_video(tmp_path / "in.mp4", sound="aac", subtitles="mov_text")
    url = embedded_server.options.http_url
    done = run("edsr_client", "video", "in.mp4", *SPEED, "--json", "--url", url)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert (told["path"], told["width"], told["height"], told["frames"]) == ("in_x3.mp4", 96, 72, 20)
    assert (told["codec"], told["reused"], told["resumed"], told["complete"]) == ("h264", 0, 0, True)
    assert told["streams"] == ["sound aac (eng)", "subtitles mov_text"]
    assert told["servers"] == [url]
    output = tmp_path / "in_x3.mp4"
    assert times_of(output) == times_of(source)
    assert packets_of(output, "audio") == packets_of(source, "audio")
    assert packets_of(output, "subtitle") == packets_of(source, "subtitle")
    with av.open(str(output)) as container:
        assert container.metadata["title"] == "A film"
    assert left(tmp_path) == {"in.mp4", "in_x3.mp4"}
    again = run("edsr_client", "video", "in.mp4", "--url", url)
    assert_one_line_error(again, 2, "--overwrite")
    replaced = run("edsr_client", "video", "in.mp4", "--overwrite", *SPEED, "--url", url)
    assert replaced.stdout.startswith("in_x3.mp4 (96x72 h264, 20 frames, sound aac (eng), subtitles mov_text, edsr_"), (
        replaced.stdout + replaced.stderr
    )


def test_frames_are_what_the_server_answers(upscaler: Upscaler, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 4)
    upscaler.upscale_video(source, tmp_path / "o.mp4", options=VideoOptions(crf=4))
    for low, high in zip(frames_of(source), frames_of(tmp_path / "o.mp4"), strict=True):
        kinds: dict[str, Any] = {"format": "rgb24", "src_colorspace": 5, "dst_colorspace": 5}
        kinds |= {"src_color_range": 1, "dst_color_range": 2}
        wanted = upscaler.upscale(low.reformat(**kinds).to_ndarray()).astype(int)
        difference = np.abs(high.reformat(**kinds).to_ndarray() - wanted)
        assert difference.mean() < 6  # colour in half resolution, and the codec
        assert np.corrcoef(high.reformat(format="gray").to_ndarray().ravel(), wanted[..., 1].ravel())[0, 1] > 0.8


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
def test_variable_frame_rates_keep_every_time(
    mock: tuple[Upscaler, MockTransport], tmp_path: Path, extension: str
) -> None:
    gaps = np.random.default_rng(1).integers(1, 9, 40) * 40
    pts = [int(value) for value in np.cumsum(gaps)]
    source = make_video(tmp_path / "in.mp4", 40, pts=pts, time_base=Fraction(1, 1000))
    # With pictures that point forward and back: their order in the file is another than that of showing.
    result = mock[0].upscale_video(
        source, tmp_path / f"o{extension}", options=VideoOptions(segment_s=1, preset="veryfast")
    )
    assert result.frames == 40
    assert times_of(tmp_path / f"o{extension}") == times_of(source)


def test_sound_stays_in_sync_in_matroska(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mkv", sound="aac", subtitles="subrip")
    result = mock[0].upscale_video(source, tmp_path / "o.mkv", options=FAST)
    assert result.streams == ["sound aac (eng)", "subtitles subrip"]
    assert times_of(tmp_path / "o.mkv") == times_of(source)
    for kind in ("audio", "subtitle"):
        ours, theirs = packets_of(tmp_path / "o.mkv", kind), packets_of(source, kind)
        assert [content for _, content in ours] == [content for _, content in theirs]
        assert max(abs(a - b) for (a, _), (b, _) in zip(ours, theirs, strict=True)) <= Fraction(1, 1000)


@pytest.mark.parametrize(
    ("codec", "extension"), [("h265", ".mp4"), ("av1", ".mp4"), ("av1", ".webm"), ("h265", ".mkv")]
)
def test_other_codecs_and_containers(
    mock: tuple[Upscaler, MockTransport], tmp_path: Path, codec: str, extension: str
) -> None:
    source = make_video(tmp_path / "in.mp4", 12)
    preset = {"h265": "ultrafast", "av1": "12"}[codec]
    result = mock[0].upscale_video(
        source, tmp_path / f"o{extension}", options=VideoOptions(codec, preset=preset, segment_s=0.3)
    )
    assert (result.codec, result.frames) == (codec, 12)
    assert times_of(tmp_path / f"o{extension}") == times_of(source)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9, None])
def test_colour_bars_keep_their_numbers(
    mock: tuple[Upscaler, MockTransport], tmp_path: Path, matrix: int | None, full: bool
) -> None:
    """The numbers in the file, Y, U and V, of flat patches; and what they mean is said."""
    bars = [
        (235, 235, 235),
        (220, 220, 30),
        (20, 200, 210),
        (25, 190, 30),
        (200, 30, 190),
        (190, 25, 25),
        (30, 30, 200),
    ]
    patches = np.zeros((24, 112, 3), np.uint8)
    patches[:] = np.repeat(np.array(bars, np.uint8), 16, axis=0)[None]
    tags = {"color_range": 2 if full else 1}
    if matrix is not None:
        tags |= {"colorspace": matrix, "color_primaries": matrix, "color_trc": 1}
    source = make_video(tmp_path / "in.mp4", 3, lambda _: patches, tags=tags, options={"crf": "4"})
    mock[0].upscale_video(source, tmp_path / "o.mp4", options=VideoOptions(crf=4))
    low, high = frames_of(source)[0], frames_of(tmp_path / "o.mp4")[0]
    for number in range(7):
        place = ((number + 0.5) / 7, 0.5)
        before, after = yuv_at(low, *place), yuv_at(high, *place)
        assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= 2, (number, before, after)
    assert high.color_range == (2 if full else 1)
    assert high.colorspace == (6 if matrix is None else matrix)  # few lines: that of SD, as players take it
    assert high.color_primaries == (6 if matrix is None else matrix)


def test_the_matrix_decides_what_the_network_sees(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}
    red = np.zeros((64, 64, 3), np.uint8)
    red[:] = (200, 40, 30)
    # FFmpeg's decoders say full range in the name of the pixel format (H.264) or beside it (AV1).
    for matrix, full, codec in (
        (1, False, "libx264"),
        (6, False, "libx264"),
        (6, True, "libx264"),
        (6, True, "libsvtav1"),
        (1, False, "libsvtav1"),
        (9, False, "libx264"),
    ):
        tags = {"color_range": 2 if full else 1, "colorspace": matrix}
        frame = av.VideoFrame.from_ndarray(red, format="rgb24")
        swscale = {1: 1, 6: 5, 9: 9}[matrix]
        kinds: dict[str, Any] = {"src_colorspace": swscale, "dst_colorspace": swscale, "src_color_range": 2}
        coded = frame.reformat(format="yuv420p", dst_color_range=2 if full else 1, **kinds)
        path = tmp_path / f"{matrix}{full}{codec}.mkv"
        with av.open(str(path), "w") as out:
            video: Any = out.add_stream(codec, rate=25, options={"crf": "1"})
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            for name, value in tags.items():
                setattr(video.codec_context, name, value)
            out.mux(video.encode(coded))
            out.mux(video.encode())

        def handler(images: Any, key: int = len(seen)) -> Any:
            seen[key] = images[0, 12, 16].astype(int)
            return images.repeat(3, axis=1).repeat(3, axis=2)

        with Upscaler(transport=MockTransport(handler)) as upscaler:
            upscaler.upscale_video(path, tmp_path / "o.mp4", options=FAST)
    assert len(seen) == 6
    for pixel in seen.values():
        np.testing.assert_allclose(pixel, (200, 40, 30), atol=3)


def test_rotation_aspect_and_odd_sizes(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 3, rotation=90, aspect=Fraction(4, 3))
    for name in ("o.mp4", "o.mkv"):
        mock[0].upscale_video(source, tmp_path / name, options=FAST)
        assert frames_of(tmp_path / name)[0].rotation == frames_of(source)[0].rotation == 90
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    odd = make_video(tmp_path / "odd.mkv", 3, moving(33, 25), pixel_format="yuv444p")
    result = mock[0].upscale_video(odd, tmp_path / "odd.mp4", options=FAST)
    assert (result.width, result.height) == (100, 76)
    assert "99x75 became 100x76" in result.notes[0]
    whole = mock[0].upscale_video(odd, tmp_path / "444.mp4", options=VideoOptions(pixel_format="yuv444p"))
    assert (whole.width, whole.height, whole.notes) == (99, 75, [])


def test_equal_neighbours_are_sent_once(embedded_server: RunningServer, tmp_path: Path) -> None:
    pictures = moving()
    source = make_video(tmp_path / "in.mkv", 12, lambda i: pictures(i // 4), codec="ffv1", pixel_format="bgr0")

    async def look(_request: web.Request) -> None:
        return None

    with HttpProxy(embedded_server.options.http_url, look) as proxy, Upscaler(proxy.url) as upscaler:
        result = upscaler.upscale_video(source, tmp_path / "o.mp4", options=FAST)
        sent = sum(request.path.endswith("/infer") for request in proxy.requests)
    assert (result.frames, result.reused, sent) == (12, 9, 3)
    assert times_of(tmp_path / "o.mp4") == times_of(source)


def test_several_frames_are_under_way_but_not_many(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 60)
    servers = [MockTransport(instances=2, delay_s=0.01, url=url) for url in ("a", "b")]
    with Upscaler(transport=servers) as upscaler:
        result = upscaler.upscale_video(source, tmp_path / "o.mp4", options=FAST)
    assert sorted(result.servers) == ["a", "b"]
    assert all(2 <= server.most_in_flight <= 3 for server in servers)
    assert times_of(tmp_path / "o.mp4") == times_of(source)


def test_a_killed_run_goes_on(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 50, sound="aac")
    url, answered, is_stalled = embedded_server.options.http_url, 0, True

    async def stall(request: web.Request) -> None:
        nonlocal answered
        if request.path.endswith("/infer"):
            answered += 1
            while answered > 30 and is_stalled:
                await asyncio.sleep(0.05)

    command = [*EDSR, "video", "in.mp4", "out.mp4", *SPEED]
    with HttpProxy(url, stall) as proxy:
        process = subprocess.Popen([*command, "--url", proxy.url], cwd=tmp_path)
        folder = tmp_path / ".out.mp4.edsr-video"
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.packets"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        busy = run("edsr_client", "video", "in.mp4", "out.mp4", *SPEED, "--url", url)
        assert_one_line_error(busy, 4, "Another run is at work")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        is_stalled = False
    assert left(tmp_path) == {"in.mp4", folder.name}
    done = run("edsr_client", "video", "in.mp4", "out.mp4", *SPEED, "--json", "--url", url)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert 16 <= told["resumed"] <= 30
    assert told["frames"] == 50
    assert done.stderr == f"note: goes on after the first {told['resumed']} frames, which an earlier run has done\n"
    assert left(tmp_path) == {"in.mp4", "out.mp4"}
    assert run("edsr_client", "video", "in.mp4", "whole.mp4", *SPEED, "--url", url).returncode == 0
    np.testing.assert_array_equal(pixels_of(tmp_path / "out.mp4"), pixels_of(tmp_path / "whole.mp4"))
    assert times_of(tmp_path / "out.mp4") == times_of(source)
    assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(source, "audio")


def test_another_encoding_or_input_begins_anew(
    mock: tuple[Upscaler, MockTransport], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_video(tmp_path / "in.mp4", 40)
    answers = 0

    def fail(images: Any) -> Any:
        nonlocal answers
        answers += 1
        if answers > 20:
            raise ServerError("away")
        return images.repeat(3, axis=1).repeat(3, axis=2)

    with Upscaler(transport=MockTransport(fail)) as failing, pytest.raises(ServerError, match="away"):
        failing.upscale_video(source, tmp_path / "o.mp4", options=FAST)
    assert (tmp_path / ".o.mp4.edsr-video" / "work.json").exists()
    assert "are kept in" in caplog.text
    other = VideoOptions(preset="ultrafast", segment_s=0.3, crf=30)
    result = mock[0].upscale_video(source, tmp_path / "o.mp4", options=other)
    assert (result.resumed, len(mock[1].requests)) == (0, 40)
    assert "begun anew" in caplog.text
    assert left(tmp_path) == {"in.mp4", "o.mp4"}


def test_a_server_that_goes_away_and_comes_back(embedded_server: RunningServer, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 30)
    with TcpProxy(embedded_server.options.http_url) as proxy, Upscaler(proxy.url) as upscaler:

        def away() -> None:
            proxy.refusing = True
            proxy.cut()
            time.sleep(0.6)
            proxy.refusing = False

        trouble = threading.Thread(target=away)

        def progress(done: int, _total: int | None) -> None:
            if done == 5:
                trouble.start()

        result = upscaler.upscale_video(source, tmp_path / "o.mp4", options=FAST, progress=progress)
        trouble.join()
    assert result.frames == 30
    assert result.retries > 0
    assert times_of(tmp_path / "o.mp4") == times_of(source)


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_of_a_truncated_video_what_can_be_decoded_is_saved(
    run: Run, embedded_server: RunningServer, tmp_path: Path, extension: str
) -> None:
    whole = make_video(tmp_path / f"whole{extension}", 50, sound="aac").read_bytes()
    (tmp_path / f"in{extension}").write_bytes(whole[: len(whole) // 2])
    url = embedded_server.options.http_url
    done = run("edsr_client", "video", f"in{extension}", "o.mp4", *SPEED, "--json", "--url", url)
    assert done.returncode == 10, done.stderr
    told = json.loads(done.stdout)
    assert (told["complete"], told["exit_code"]) == (False, 10)
    assert 5 < told["frames"] < 50
    assert len(frames_of(tmp_path / "o.mp4")) == told["frames"]
    said = run("edsr_client", "video", f"in{extension}", "o.mp4", *SPEED, "--url", url)
    assert_one_line_error(said, 10, f"in{extension} is damaged or cut off: {told['frames']} of about 5")
    assert left(tmp_path) == {f"whole{extension}", f"in{extension}", "o.mp4"}


def test_errors_are_one_line_and_leave_nothing(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", 3, sound="aac")
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
    (tmp_path / "text.mp4").write_text("no video at all\n" * 9, "utf-8")
    (tmp_path / "notes.txt").write_text("no video at all\n" * 9, "utf-8")
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as out:
        with av.open(str(tmp_path / "in.mp4")) as source:
            copy = out.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
    # The index stands at the end.
    content = make_video(tmp_path / "cut.mov", 9).read_bytes()
    (tmp_path / "cut.mov").write_bytes(content[: len(content) // 2])
    before = left(tmp_path)
    here = ("--url", embedded_server.options.http_url)
    for arguments, code, words in (
        (("none.mp4", "o.mp4"), 3, "No such file"),
        (("a.png", "o.mp4"), 3, "edsr upscale"),
        (("a.jpg", "o.mp4"), 3, "edsr upscale"),
        (("text.mp4", "o.mp4"), 3, "is not a video"),
        (("notes.txt", "o.mp4"), 3, "is not a video"),
        (("empty.mp4", "o.mp4"), 3, "is empty"),
        (("cut.mov", "o.mp4"), 3, "is not a video, or one that is cut off"),
        (("sound.m4a", "o.mp4"), 3, "it has: audio"),
        ((".", "o.mp4"), 3, "directory"),
        (("in.mp4", "in.mp4"), 4, "the input itself"),
        (("in.mp4", "o.avi"), 4, "unknown extension"),
        (("in.mp4", "o.webm", "--codec", "h264"), 4, ".webm holds av1, not h264"),
        (("in.mp4", "o.mov", "--codec", "av1"), 4, ".mp4, .mkv, .webm"),
        (("in.mp4", "o.webm"), 4, ".webm cannot hold the sound aac (eng)"),
        (("in.mp4", "no/o.mp4"), 4, "there is no folder"),
        (("in.mp4", "o.mp4", "--crf", "99"), 2, "crf must be 0 to 51"),
        (("in.mp4", "o.mp4", "--preset", "quick"), 2, "preset must be one of"),
        (("in.mp4", "o.mp4", "--segment", "0"), 2, "segment_s"),
        (("in.mp4", "o.mp4", "--tile", "9999"), 2, "over what the server takes"),
        (("in.mp4", "o.mp4", "--model", "m"), 7, "edsr info"),
    ):
        assert_one_line_error(run("edsr_client", "video", *arguments, *here), code, words)
        assert left(tmp_path) == before, arguments


def test_hdr_is_refused_and_ten_bits_are_said(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    hdr = make_video(
        tmp_path / "hdr.mkv",
        3,
        codec="libx265",
        pixel_format="yuv420p10le",
        tags=tags,
        options={"x265-params": "log-level=none"},
    )
    with pytest.raises(BadVideoError, match="HDR"):
        mock[0].upscale_video(hdr, tmp_path / "o.mp4")
    deep = make_video(
        tmp_path / "deep.mkv", 3, codec="libx265", pixel_format="yuv420p10le", options={"x265-params": "log-level=none"}
    )
    result = mock[0].upscale_video(deep, tmp_path / "o.mp4", options=FAST)
    assert "more than 8 bits" in result.notes[0]


@pytest.mark.parametrize("source", ["in.webm", "in.mkv"])
@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_beside_the_picture_is_dropped_and_said(
    mock: tuple[Upscaler, MockTransport], tmp_path: Path, source: str, codec: str
) -> None:
    """The decoders of FFmpeg leave the alpha of WebM alone, and tell nothing of it."""
    with av.open(str(tmp_path / source), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options={"auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 4), 40 * index + 20, np.uint8), format="rgba")
            out.mux(stream.encode(frame.reformat(format="yuva420p")))
        out.mux(stream.encode())
    with av.open(str(tmp_path / source)) as before:
        assert "alpha_mode" in {key.lower() for key in before.streams.video[0].metadata}
    for target in ("out.webm", "out.mkv", "out.mp4"):
        result = mock[0].upscale_video(tmp_path / source, tmp_path / target)
        assert "the video has transparency, which is dropped" in result.notes
        with av.open(str(tmp_path / target)) as after:
            assert not [key for key in after.streams.video[0].metadata if key.lower() == "alpha_mode"]


def test_interlaced_video_is_said(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    options = {"x264-params": "interlaced=1", "flags": "+ildct"}
    source = make_video(tmp_path / "in.mkv", 4, moving(64, 64), options=options)
    assert "interlaced" in mock[0].upscale_video(source, tmp_path / "o.mp4", options=FAST).notes[0]


def test_other_inputs_and_their_times(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    """A transport stream counts from anywhere, an AVI says few times, a delayed start stays one."""
    stream = make_video(tmp_path / "in.ts", 20, sound="aac", time_base=Fraction(1, 90_000))
    mock[0].upscale_video(stream, tmp_path / "ts.mp4", options=FAST)
    start = times_of(stream)[0]
    assert start > 0
    shifts = {after - before for before, after in zip(times_of(stream), times_of(tmp_path / "ts.mp4"), strict=True)}
    assert len(shifts) == 1
    sound = {
        after - before
        for (before, _), (after, _) in zip(
            packets_of(stream, "audio"), packets_of(tmp_path / "ts.mp4", "audio"), strict=True
        )
    }
    assert max(abs(shift - shifts.copy().pop()) for shift in sound) < Fraction(1, 10_000)
    old = {"codec": "mpeg4", "time_base": Fraction(1, 25), "options": {"b": "500k", "bf": "2"}}
    source = make_video(tmp_path / "in.avi", 20, **old)  # type: ignore[arg-type]
    mock[0].upscale_video(source, tmp_path / "avi.mp4", options=FAST)
    assert times_of(tmp_path / "avi.mp4") == times_of(source)
    late = make_video(tmp_path / "late.mp4", 10, pts=[25_600 + 512 * number for number in range(10)], sound="aac")
    mock[0].upscale_video(late, tmp_path / "late_o.mp4", options=FAST)
    assert times_of(tmp_path / "late_o.mp4") == times_of(late)
    assert packets_of(tmp_path / "late_o.mp4", "audio") == packets_of(late, "audio")


def test_damage_in_the_middle_is_said(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    content = bytearray(make_video(tmp_path / "in.mp4", 30).read_bytes())
    begin = content.find(b"mdat") + 2000
    for place in np.random.default_rng(0).integers(begin, len(content) - 50, 300):
        content[place] ^= 0x5A
    (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(IncompleteVideoError, match="could be decoded") as caught:
        mock[0].upscale_video(tmp_path / "in.mp4", tmp_path / "o.mp4", options=FAST)
    assert 0 < caught.value.result.frames == len(frames_of(tmp_path / "o.mp4"))


def test_an_interruption_keeps_what_is_done(embedded_server: RunningServer, tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", 200, moving(96, 64), options={"crf": "12", "preset": "ultrafast"})
    command = [*EDSR, "video", "in.mp4", "o.mp4", *SPEED, "--url", embedded_server.options.http_url]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / ".o.mp4.edsr-video").glob("*.packets")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    kept, interrupted = stderr.splitlines()
    what = (
        r"note: \d+ frames \(\d+\.\d MB\) are kept in \S+\. The same command goes on .*--restart.*removing the folder.*"
    )
    assert re.fullmatch(what, kept)
    assert interrupted == "interrupted; no result was left half written"
    assert left(tmp_path) == {"in.mp4", ".o.mp4.edsr-video"}


def test_streams_that_do_not_fit_are_said_before_the_work(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mkv", 3, sound="aac", subtitles="subrip")
    result = mock[0].upscale_video(source, tmp_path / "o.mp4", options=FAST)
    assert result.notes == ["subtitles subrip is left out: .mp4 cannot hold it"]
    silent = mock[0].upscale_video(source, tmp_path / "o.webm", options=VideoOptions(sound=False, preset="12"))
    assert silent.streams == []


def test_chapters_covers_and_attachments(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mkv", 20)
    cover = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 0, 0)).save(cover, "PNG")
    tick = Fraction(1, 1000)
    chapters: Any = [
        {"id": 1, "start": 0, "end": 400, "time_base": tick, "metadata": {"title": "one"}},
        {"id": 2, "start": 400, "end": 800, "time_base": tick, "metadata": {"title": "two"}},
    ]
    with av.open(str(plain)) as source, av.open(str(tmp_path / "in.mkv"), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0], opaque=True)
        out.set_chapters(chapters)
        out.add_attachment("font.ttf", "application/x-truetype-font", b"12345")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    with av.open(str(plain)) as source, av.open(str(tmp_path / "in.mp4"), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0], opaque=True)
        picture: Any = out.add_mux_stream("png", width=20, height=20)
        picture.disposition = 1024
        out.set_chapters(chapters)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
        packet = av.Packet(cover.getvalue())
        packet.stream, packet.time_base, packet.pts, packet.dts, packet.is_keyframe = picture, tick, 0, 0, True
        out.mux(packet)
    for name, streams, content in (
        ("mp4", ["cover png"], cover.getvalue()),
        ("mkv", ["attachment font.ttf"], b"12345"),
    ):
        result = mock[0].upscale_video(tmp_path / f"in.{name}", tmp_path / f"o.{name}", options=FAST)
        assert (result.streams, result.notes) == (streams, [])
        with av.open(str(tmp_path / f"o.{name}")) as written:
            titles = [(part["metadata"]["title"], part["start"] * part["time_base"]) for part in written.chapters()]
            assert titles == [("one", 0), ("two", Fraction(2, 5))]
            if name == "mkv":
                assert next(one.data for one in written.streams if one.type == "attachment") == content
            else:
                packets = [bytes(packet) for packet in written.demux(written.streams[-1]) if packet.size]
                assert packets == [content]


def test_links_and_permissions_stay(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 3)
    (tmp_path / "real.mp4").write_bytes(b"old")
    (tmp_path / "real.mp4").chmod(0o640)
    (tmp_path / "link.mp4").symlink_to("real.mp4")
    mock[0].upscale_video(source, tmp_path / "link.mp4", options=FAST)
    assert (tmp_path / "link.mp4").is_symlink()
    assert (tmp_path / "real.mp4").stat().st_mode & 0o777 == 0o640
    assert len(frames_of(tmp_path / "real.mp4")) == 3
    assert left(tmp_path) == {"in.mp4", "real.mp4", "link.mp4"}


def test_a_terminal_gets_a_bar_of_frames(embedded_server: RunningServer, tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", 20)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [*EDSR, "video", "in.mp4", *SPEED, "--url", embedded_server.options.http_url]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    assert b"in.mp4" in shown
    assert b"frames/s" in shown


@pytest.mark.anyio
async def test_for_asyncio_and_cancelled(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 60)
    async with AsyncUpscaler(transport=MockTransport(delay_s=0.02)) as upscaler:
        begun = asyncio.Event()
        task = asyncio.ensure_future(
            upscaler.upscale_video(
                source, tmp_path / "o.mp4", options=FAST, progress=lambda done, _: begun.set() if done > 10 else None
            )
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await upscaler.upscale_video(source, tmp_path / "o.mp4", options=FAST)
    assert result.resumed >= 8
    assert result.frames == 60
    (tmp_path / "in_x3.mp4").touch()
    with Upscaler(transport=MockTransport()) as blocking, pytest.raises(OutputExistsError):
        blocking.upscale_video(source)


def test_a_full_disk_is_one_line(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", 30, lambda i: np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8))
    command = f"ulimit -f 8; trap '' XFSZ; {' '.join(EDSR)} video in.mp4 o.mp4 --url {embedded_server.options.http_url}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert left(tmp_path) == {"in.mp4"}


def test_without_the_extra_its_name_is_said(
    mock: tuple[Upscaler, MockTransport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'av>=16,<19' \(what the extra \[video\]"):
        mock[0].upscale_video(tmp_path / "in.mp4", tmp_path / "o.mp4")


def test_the_library_is_loaded_when_it_is_needed() -> None:
    code = "import sys; from edsr_client.cli import arguments; arguments.make_parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "av" not in loaded


def test_an_incomplete_video_carries_its_result(mock: tuple[Upscaler, MockTransport], tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", 50).read_bytes()
    (tmp_path / "in.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(IncompleteVideoError) as caught:
        mock[0].upscale_video(tmp_path / "in.mp4", tmp_path / "o.mp4", options=FAST)
    assert caught.value.result.frames == len(frames_of(tmp_path / "o.mp4"))
    with pytest.raises(OutputError, match="unknown extension"):
        mock[0].upscale_video(tmp_path / "in.mp4", tmp_path / "o.xyz")
