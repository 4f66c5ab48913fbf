"""Names as file systems allow them: as long as can be, of any bytes. One line of error, or a result, and never more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from edsr_client.hidden import hidden_name
from edsr_serving import RunningServer
from PIL import Image
from video_files import make_video

from tests.helpers.forked import Finished, assert_printable, assert_told, edsr

LONGEST = 255
NAMES = [
    b"plain.png",
    b"a" * 251 + b".png",
    b"b" * 244 + b".png",
    "ü".encode() * 125 + b".png",
    b"new\nline.png",
    b"colour\x1b[31mred\x07.png",
    b"not \xff\xfe utf-8.png",
    "\u202egnp.exe.png".encode(),
    b"-leading.png",
    b"--overwrite.png",
    b" .png",
    b".hidden.png",
    b"a:b*c?d\"e<f>g|h\\i.png",
    b"{stem}%s$HOME`id`'.png",
    b"~.png",
    b"c" * 240,
]  # fmt: skip

NOWHERE = [
    *("none.png", "a" * 300 + ".png", "x/" * 2500 + "a.png"),
    *("null\0.png", "no\udcffne\n\x1b[2J.png", "plain.png/a"),
]
IMPOSSIBLE = ["a" * 300 + ".png", "x/" * 2500, "null\0", "\udcff\x1b[2J/none.mp4", "plain.png/a.mkv"]


def picture(folder: Path, name: bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    Image.fromarray(np.full((8, 10, 3), 90, np.uint8)).save(path, "PNG")
    return path


def run(server: RunningServer, folder: Path, *arguments: object) -> Finished:
    return edsr(folder, *arguments, environment={"EDSR_URL": server.options.http_url, "XDG_CONFIG_HOME": str(folder)})


def assert_decent(finished: Finished) -> None:
    assert "Traceback" not in finished.stderr
    assert_printable(finished)
    if finished.code:
        assert_told(finished, (2, 3, 4, 10))


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_picture_of_any_name_is_upscaled_or_its_name_is_the_error(
    embedded_server: RunningServer, tmp_path: Path, name: bytes
) -> None:
    source = picture(tmp_path, name)
    made_up = len(name.rpartition(b".")[0] or name) + len("_x3.png") <= LONGEST
    beside = run(embedded_server, tmp_path, "upscale", source)
    assert_decent(beside)
    assert (beside.code == 0) is made_up, beside.stderr
    if not made_up:
        assert "File name too long" in beside.stderr
        assert "Name the output" in beside.stderr
    named = run(embedded_server, tmp_path, "upscale", source, tmp_path / "out.png", "--json")
    assert named.code == 0, named.stderr
    told = json.loads(named.stdout)
    assert (told["width"], told["height"]) == (30, 24)
    # As the name of the result it is as good, for a file beside it is called otherwise while it is written.
    small = picture(tmp_path, b"small")
    result = run(
        embedded_server, tmp_path, "upscale", small, source, "--overwrite", "--format", "png", "--bands", "always"
    )
    assert_decent(result)
    assert result.code == 0, result.stderr
    with Image.open(source) as image:
        assert image.size == (30, 24)
    assert not list(tmp_path.glob(".*edsr-*"))


@pytest.mark.parametrize("arguments", [("upscale",), ("upscale", "--bands", "always"), ("video",), ("batch",)])
@pytest.mark.parametrize(
    "name",
    ["none.png", "a" * 300 + ".png", "x/" * 2500 + "a.png", "null\0.png", "no\udcffne\n\x1b[2J.png", "plain.png/a"],
)
def test_a_name_that_leads_nowhere_is_one_line_and_one_code(
    embedded_server: RunningServer, tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    picture(tmp_path, b"plain.png")
    command, *options = arguments
    target = ["out.mp4"] if command == "video" else ["out"] if command == "batch" else ["out.png"]
    finished = run(embedded_server, tmp_path, command, name, *target, *options, "--json")
    assert_told(finished, (3,))
    told = json.loads(finished.stdout.splitlines()[-1])
    assert (told["exit_code"], told["type"]) in ((3, "BadImageError"), (3, "BadVideoError"))


@pytest.mark.parametrize("command", ["upscale", "video", "batch"])
@pytest.mark.parametrize(
    "name", ["a" * 300 + ".png", "x/" * 2500, "null\0", "\udcff\x1b[2J/none.mp4", "plain.png/a.mkv"]
)
def test_a_result_that_cannot_be_named_so_is_one_line(
    embedded_server: RunningServer, tmp_path: Path, command: str, name: str
) -> None:
    source = picture(tmp_path, b"plain.png")
    if command == "video":
        source = make_video(tmp_path / "in.mp4", frames=2)
    finished = run(embedded_server, tmp_path, command, source, name)
    assert_told(finished, (4, 10)) if command != "batch" else assert_decent(finished)


def test_a_video_whose_name_leaves_no_room_for_hidden_ones_is_made(
    embedded_server: RunningServer, tmp_path: Path
) -> None:
    source = make_video(tmp_path / "in.mp4", frames=3)
    target = tmp_path / ("v" * 251 + ".mp4")
    finished = run(embedded_server, tmp_path, "video", source, target)
    assert finished.code == 0, finished.stderr
    assert target.stat().st_size
    assert not list(tmp_path.glob(".*edsr-video"))


def test_wrong_usage_is_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    finished = edsr(tmp_path, "video", "a", "b", "--format", "\x1b[31m\x1f")
    assert finished.code == 2
    assert_printable(finished)
    assert r"\x1b[31m\x1f" in finished.stderr


def test_hidden_names_fit_and_differ() -> None:
    assert hidden_name("a.mp4", ".edsr-video") == ".a.mp4.edsr-video"
    long = [hidden_name("ü" * 120 + str(number) + "x" * 9, ".edsr-video") for number in range(20)]
    assert len(set(long)) == 20
    assert all(len(os.fsencode(name)) <= LONGEST and name.endswith(".edsr-video") for name in long)


def test_a_fault_of_our_own_is_called_so_and_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    """What nobody foresaw: here an event loop that cannot be made."""
    from tests.helpers.forked import edsr_with_a_fault

    told = edsr_with_a_fault(tmp_path, "info", "--json")
    assert_told(told, (70,))
    assert "This is a fault of edsr itself (RuntimeError: unforeseen). Run it again with --debug" in told.stderr
    assert json.loads(told.stdout) == {
        "error": told.stderr.removeprefix("error: ").strip(), "type": "RuntimeError", "exit_code": 70,
    }  # fmt: skip
    shown = edsr_with_a_fault(tmp_path, "info", "--debug")
    assert shown.code == 70
    assert "Traceback" in shown.stderr
    assert "unforeseen" in shown.stderr
