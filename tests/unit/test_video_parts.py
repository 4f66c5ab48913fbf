"""The parts of `edsr video` that need neither a server nor a video."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from edsr_client import BadVideoError, OutputError
from edsr_client.video import VideoOptions
from edsr_client.video.colour import BT709, FULL, LIMITED, SMPTE170M, UNSPECIFIED, pad, resolve
from edsr_client.video.encoder import CodedPacket
from edsr_client.video.options import default_name, encoding_for, even_size
from edsr_client.video.segments import Ending, SegmentInfo, Workshop, input_identity, read_packets
from edsr_client.video.timing import decoding_times, merged, reorder_delay
from hypothesis import given
from hypothesis import strategies as st


def test_without_pictures_that_point_forward_packets_are_decoded_when_they_are_shown() -> None:
    assert reorder_delay([0, 40, 80]) == 0
    assert list(decoding_times([0, 40, 80], 0)) == [0, 40, 80]
    assert reorder_delay([]) == 0
    assert list(decoding_times([], 2)) == []
    assert list(decoding_times([7], 1)) == [6]


def test_with_such_pictures_decoding_runs_ahead() -> None:
    shown = [0, 120, 40, 80, 160]
    assert reorder_delay(shown) == 1
    assert list(decoding_times(shown, 1)) == [-40, 0, 40, 80, 120]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.integers(0, 2**32))
def test_decoding_times_rise_and_are_never_late(gaps: list[int], seed: int) -> None:
    times = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    chance = random.Random(seed)  # noqa: S311
    shown: list[int] = []
    for start in range(0, len(times), 4):  # groups of which the last is decoded first
        group = times[start : start + 4]
        chance.shuffle(group)
        shown += group
    decoded = list(decoding_times(shown, reorder_delay(shown)))
    assert all(before < after for before, after in itertools.pairwise(decoded))
    assert all(dts <= pts for dts, pts in zip(decoded, shown, strict=True))


def test_two_series_are_merged_by_time() -> None:
    ours, theirs = [(0.0, "a"), (2.0, "b")], [(1.0, "x"), (2.0, "y"), (3.0, "z")]
    assert list(merged(ours, theirs)) == ["a", "x", "b", "y", "z"]
    assert list(merged([], theirs)) == ["x", "y", "z"]
    assert list(merged(ours, [])) == ["a", "b"]


def test_the_extension_decides_about_container_and_codec() -> None:
    assert encoding_for(Path("a.mp4"), VideoOptions()).codec.encoder == "libx264"
    assert encoding_for(Path("a.WEBM"), VideoOptions()).codec.name == "av1"
    chosen = encoding_for(Path("a.mkv"), VideoOptions("h265", crf=30, preset="slow"))
    assert (chosen.container, chosen.crf, chosen.preset) == ("matroska", 30, "slow")
    for name, options, words in (
        ("a.avi", VideoOptions(), "unknown extension"),
        ("a.webm", VideoOptions("h265"), "not h265"),
        ("a.mov", VideoOptions("av1"), "not av1"),
    ):
        with pytest.raises(OutputError, match=words):
            encoding_for(Path(name), options)


@pytest.mark.parametrize(
    "arguments",
    [
        {"codec": "vp9"},
        {"pixel_format": "rgb24"},
        {"segment_s": 0},
        {"crf": 52},
        {"crf": -1},
        {"preset": "5"},
        {"codec": "av1", "preset": "slow"},
        {"codec": "av1", "crf": 64},
    ],
)
def test_options_without_sense_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        encoding_for(Path("a.mkv"), VideoOptions(**arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("in.mp4", VideoOptions(), "in_x3.mp4"),
        ("in.MKV", VideoOptions(), "in_x3.mkv"),
        ("in.webm", VideoOptions(), "in_x3.webm"),
        ("in.webm", VideoOptions("h264"), "in_x3.mp4"),
        ("in.mov", VideoOptions("av1"), "in_x3.mp4"),
        ("in.avi", VideoOptions(), "in_x3.mp4"),
    ],
)
def test_outputs_that_nobody_named(name: str, options: VideoOptions, wanted: str) -> None:
    assert default_name(Path(name), 3, options) == wanted


def test_sizes_become_even_where_colour_has_half_the_resolution() -> None:
    assert even_size(99, 75, "yuv420p") == (100, 76)
    assert even_size(96, 72, "yuv420p") == (96, 72)
    assert even_size(99, 75, "yuv444p") == (99, 75)
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    padded = pad(picture, (4, 2))
    assert padded.shape == (2, 4, 3)
    np.testing.assert_array_equal(padded[:, 3], picture[:, 2])
    assert pad(picture, (3, 2)) is picture


def test_colours_that_are_not_said_are_those_players_take() -> None:
    unknown = (UNSPECIFIED, 0, UNSPECIFIED, UNSPECIFIED)
    small = resolve(*unknown, height=576, pixel_format="yuv420p")
    assert (small.matrix, small.range, small.primaries, small.transfer) == (SMPTE170M, LIMITED, 6, 6)
    large = resolve(*unknown, height=720, pixel_format="yuv420p")
    assert (large.matrix, large.primaries, large.transfer) == (BT709, 1, 1)
    assert resolve(*unknown, height=576, pixel_format="yuvj420p").range == FULL
    said = resolve(BT709, FULL, 9, 14, height=100, pixel_format="yuv420p")
    assert (said.matrix, said.range, said.primaries, said.transfer) == (BT709, FULL, 9, 14)
    computer = resolve(0, FULL, 1, 13, height=1080, pixel_format="gbrp", is_rgb=True)
    assert (computer.matrix, computer.is_full, computer.transfer, computer.is_rgb) == (BT709, False, 13, True)


@pytest.mark.parametrize(("matrix", "transfer", "words"), [(9, 16, "PQ"), (9, 18, "HLG"), (8, 1, "number 8")])
def test_colours_that_cannot_be_converted_are_refused(matrix: int, transfer: int, words: str) -> None:
    with pytest.raises(BadVideoError, match=words):
        resolve(matrix, 1, 9, transfer, height=1080, pixel_format="yuv420p10le")


PACKETS = [CodedPacket(0, 40, True, b"one"), CodedPacket(80, 40, False, b""), CodedPacket(40, 40, False, b"three")]


def write_segment(workshop: Workshop, info: SegmentInfo) -> None:
    writer = workshop.write()
    for packet in PACKETS:
        writer.write(packet)
    writer.finish(info)


def test_finished_segments_outlive_a_run_and_others_do_not(tmp_path: Path) -> None:
    target, identity = tmp_path / "o.mp4", {"input": "a"}
    first = Workshop(target, identity)
    write_segment(first, SegmentInfo(3, 1))
    first.write().write(PACKETS[0])  # killed here
    first.close()
    second = Workshop(target, identity)
    assert (second.frames, second.reused, second.ending, second.began_anew) == (3, 1, None, False)
    assert list(second.packets()) == PACKETS
    assert list(second.times()) == [0, 80, 40]
    write_segment(second, SegmentInfo(3, 0))
    second.finish(Ending(0, False, ["a note"]))
    second.close()
    third = Workshop(target, identity)
    assert (third.frames, third.ending) == (6, Ending(0, False, ["a note"]))
    third.close()
    other = Workshop(target, {"input": "b"})
    assert (other.frames, other.ending, other.began_anew) == (0, None, True)
    assert sorted(path.name for path in other.folder.iterdir()) == ["lock", "work.json"]
    write_segment(other, SegmentInfo(3, 0))
    other.close()
    anew = Workshop(target, {"input": "b"}, restart=True)
    assert (anew.frames, anew.began_anew) == (0, True)
    anew.remove()
    assert list(tmp_path.iterdir()) == []


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first = Workshop(tmp_path / "o.mp4", {})
    with pytest.raises(OutputError, match="Another run"):
        Workshop(tmp_path / "o.mp4", {})
    first.close()
    Workshop(tmp_path / "o.mp4", {}).remove()


def test_a_segment_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "o.mp4", {})
    writer = workshop.write()
    writer.write(PACKETS[0])
    writer.close()
    assert sorted(path.name for path in workshop.folder.iterdir()) == ["lock", "work.json"]
    workshop.remove()


def test_a_damaged_segment_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "o.mp4", {})
    write_segment(workshop, SegmentInfo(3, 0))
    path = workshop.packet_path(0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OutputError, match="begin anew"):
        list(read_packets(path))
    workshop.remove()


def test_another_input_is_told_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    path.write_bytes(bytes(100))
    first = input_identity(path)
    assert input_identity(path) == first
    path.write_bytes(bytes(99) + b"1")
    assert input_identity(path)["sha256_of_ends"] != first["sha256_of_ends"]
