"""`edsr upscale` with several pictures, defaults from a file, completion: as a person uses them, on a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from edsr_serving import RunningServer
from PIL import Image

from tests.helpers.forked import Finished, assert_told, edsr


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with three pictures of their own sizes and a file that is none."""
    for name, size in (("a.jpg", (30, 20)), ("b.png", (16, 24)), ("c d.webp", (20, 20))):
        Image.fromarray(np.full((*size[::-1], 3), 90, np.uint8)).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def upscale(server: RunningServer, folder: Path, *arguments: object, **more: str) -> Finished:
    environment = {"EDSR_URL": server.options.http_url, "XDG_CONFIG_HOME": str(folder), **more}
    return edsr(folder, "upscale", *arguments, environment=environment)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        width, height = image.size
    return width, height


def test_several_pictures_go_into_a_folder_that_is_made(embedded_server: RunningServer, here: Path) -> None:
    finished = upscale(embedded_server, here, "a.jpg", "b.png", "c d.webp", "-o", "out/deep")
    assert finished.code == 0, finished.stderr
    assert "3 made" in finished.stdout
    sizes = {path.name: size_of(path) for path in (here / "out/deep").iterdir()}
    assert sizes == {"a_x3.png": (90, 60), "b_x3.png": (48, 72), "c d_x3.png": (60, 60)}


def test_a_template_names_the_results_and_each_is_a_line_of_json(embedded_server: RunningServer, here: Path) -> None:
    template = "{parent}/{{{name}}}_x{scale}.{ext}"
    finished = upscale(
        embedded_server, here, "a.jpg", "--scale", 4, "b.png", "-o", "out", "--output-template", template, "--json",
        "--format", "webp",
    )  # fmt: skip
    assert finished.code == 0, finished.stderr
    *results, summary = map(json.loads, finished.stdout.splitlines())
    assert [one["input"] for one in results] == ["a.jpg", "b.png"]
    assert [Path(one["path"]).name for one in results] == ["{a.jpg}_x4.webp", "{b.png}_x4.webp"]
    assert all((one["model_scale"], one["resampled"]) == (3, True) for one in results)
    assert summary == {"status": "summary", "made": 2, "failed": 0}
    assert size_of(here / "out" / here.name / "{a.jpg}_x4.webp") == (120, 80)


def test_what_fails_is_named_and_does_not_stop_the_others(embedded_server: RunningServer, here: Path) -> None:
    finished = upscale(embedded_server, here, "a.jpg", "broken.png", "none.png", "b.png", "-o", "out", "--json")
    assert finished.code == 10
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [line.get("type") for line in lines[:-1]] == [None, "BadImageError", "BadImageError", None]
    assert [line["input"] for line in lines[:-1]] == ["a.jpg", "broken.png", "none.png", "b.png"]
    assert lines[-1] == {"status": "summary", "made": 2, "failed": 2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.jpg", "sub/a.jpg", "-o", "out"), "would have one result"),
        (("a.jpg", "b.png", "-o", "out", "--output-template", "one.png"), "would have one result"),
        (("a.jpg", "b.png", "--output-template", "{name}"), "a picture of this run"),
        (("a.jpg", "b.png", "--output-template", "{width}.png"), "{width} is no field"),
        (("a.jpg", "b.png", "--output-template", "{stem.png"), "a brace stands alone"),
        (("a.jpg", "b.png", "--output-template", "{stem!r}.png"), "{stem!r} is no field"),
        (("a.jpg", "b.png", "--output-template", "../{stem}.png"), "leads out of"),
        (("a.jpg", "b.png", "--output-template", "/root/{stem}.png"), "below the folder"),
        (("a.jpg", "b.png", "--max-side", "50", "--output-template", "{scale}.png"), "--max-side"),
        (("a.jpg", "b.png", "-o", "broken.png"), "is a file; a folder is wanted"),
        (("a.jpg", "-", "b.png"), "stands for one picture"),
        (("sub", "a.jpg", "-o", "out"), "edsr batch sub OUT"),
        (("clip.mp4",), "edsr video clip.mp4"),
        (("a.jpg", "sub/a.jpg", "-o", "sub"), "would have one result in sub"),
        (("a.jpg", "same.jpg"), "Several pictures go into a folder"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_made(
    embedded_server: RunningServer, here: Path, arguments: tuple[str, ...], words: str
) -> None:
    (here / "sub").mkdir()
    for copy in ("sub/a.jpg", "same.jpg"):
        shutil.copy(here / "a.jpg", here / copy)
    (here / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    finished = upscale(embedded_server, here, *arguments)
    assert_told(finished, (2, 3, 4))
    assert words in finished.stderr
    after = {path for path in here.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert after == set(before)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_dry_run_of_several_says_where_each_would_go_and_makes_nothing(
    embedded_server: RunningServer, here: Path
) -> None:
    before = set(here.rglob("*"))
    for more, names in (
        (("-o", "out/deep"), ["out/deep/a_x3.png", "out/deep/b_x3.png"]),
        (("-o", "out", "--output-template", "{stem}/{name}.tif"), ["out/a/a.jpg.tif", "out/b/b.png.tif"]),
    ):
        finished = upscale(embedded_server, here, "a.jpg", "b.png", "-n", "--json", *more)
        assert finished.code == 0, finished.stderr
        told = [json.loads(line) for line in finished.stdout.splitlines()]
        assert [one["output"] for one in told] == names
        assert [(one["width"], one["height"]) for one in told] == [(90, 60), (48, 72)]
    in_its_place = upscale(embedded_server, here, "a.jpg", "b.png", "-n", "-o", "broken.png")
    assert_told(in_its_place, (4,))
    assert "broken.png is a file" in in_its_place.stderr
    assert {path for path in here.rglob("*") if not path.name.startswith(".")} == before


def test_the_result_line_says_what_the_network_did_and_what_was_resampled(
    embedded_server: RunningServer, here: Path
) -> None:
    plain = upscale(embedded_server, here, "a.jpg", "plain.png")
    assert "Lanczos" not in plain.stdout
    other = upscale(embedded_server, here, "a.jpg", "other.png", "--scale", 4)
    assert "120x80, x3 by the network, then Lanczos" in other.stdout


def settings(folder: Path, text: str) -> None:
    (folder / "edsr.toml").write_text(text, "utf-8")


def test_defaults_come_from_the_file_then_the_environment_then_the_command_line(
    embedded_server: RunningServer, here: Path
) -> None:
    url = embedded_server.options.http_url
    settings(here, f'url = "{url}"\nretries = 0\n[upscale]\nformat = "webp"\nquality = 70\nstrip-metadata = true\n')
    mine = {"XDG_CONFIG_HOME": str(here)}
    first = edsr(here, "upscale", "a.jpg", environment=mine)
    assert first.code == 0, first.stderr
    assert (here / "a_x3.webp").exists()
    assert edsr(here, "upscale", "a.jpg", "--format", "bmp", environment=mine).code == 0
    assert (here / "a_x3.bmp").exists()
    settings(here, f'url = "{url}"\n[upscale]\npng-effort = "small"\n[batch]\npng-effort = "best"\n')
    by_file = edsr(here, "upscale", "a.jpg", "small.png", environment=mine)
    named = edsr(here, "upscale", "a.jpg", "named.png", "--url", url, "--png-effort", "small")
    assert (by_file.code, named.code) == (0, 0), by_file.stderr
    assert (here / "small.png").read_bytes() == (here / "named.png").read_bytes()
    assert_told(edsr(here, "batch", ".", "out", environment=mine), (2,))
    settings(here, f'url = "{url}"\n[upscale]\nformat = "webp"\n')
    elsewhere = edsr(here, "upscale", "b.png", environment={**mine, "EDSR_URL": "127.0.0.1:9"})
    assert_told(elsewhere, (5,))
    assert "127.0.0.1:9" in elsewhere.stderr
    assert edsr(here, "upscale", "b.png", "--url", url, environment={**mine, "EDSR_URL": "127.0.0.1:9"}).code == 0


@pytest.mark.parametrize(
    ("arguments", "name", "kind"),
    [
        (("named.jpg",), "named.jpg", "JPEG"),
        (("-o", "named.tif"), "named.tif", "TIFF"),
        (("--output-template", "{stem}_large.jpg"), "a_large.jpg", "JPEG"),
        (("--output-template", "{stem}_large.{ext}"), "a_large.webp", "WEBP"),
        (("-o", "sub/"), "sub/a_x3.webp", "WEBP"),
        (("named.jpg", "--format", "webp"), "named.jpg", "WEBP"),
    ],
)
def test_a_name_on_the_command_line_goes_before_the_format_of_the_file(
    embedded_server: RunningServer, here: Path, arguments: tuple[str, ...], name: str, kind: str
) -> None:
    settings(here, '[upscale]\nformat = "webp"\n')
    finished = upscale(embedded_server, here, "a.jpg", *arguments)
    assert finished.code == 0, finished.stderr
    with Image.open(here / name) as image:
        assert image.format == kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("url = 'a'\n\nulr = 'b'\n", "line 3: there is no setting 'ulr'"),
        ("[upscale]\nformat = 'webp'\nqualtiy = 5\n", "line 3: `edsr upscale` has no setting 'qualtiy'"),
        ("[upscale]\nformat = 'xyz'\n", "line 2: format = 'xyz' cannot be: one of png, "),
        ("[upscale]\ntile = '5y'\n", "line 2: tile = '5y' cannot be"),
        ("[upscale]\njson = 'yes'\n", "line 2: json = 'yes' cannot be: true or false"),
        ("retries = 'many'\n", "line 1: retries = 'many'"),
        ("protocol = 'ftp'\n", "line 1: protocol = 'ftp'"),
        ("token = 'secret'\n", "line 1: there is no setting 'token'"),
        ("[upload]\nx = 1\n", "line 1: there is no setting 'upload'"),
        ("url = \n", "is not TOML: Invalid value (at line 1"),
        ("token-file = 'nowhere'\n", "line 1: cannot read"),
        ("url = '\xff'\n".encode("latin-1"), "Cannot read"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(here: Path, text: str | bytes, words: str) -> None:
    (here / "edsr.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    finished = edsr(here, "upscale", "a.jpg", "--json", environment={"XDG_CONFIG_HOME": str(here)})
    assert_told(finished, (2,))
    assert words in finished.stderr
    assert str(here / "edsr.toml") in finished.stderr
    assert json.loads(finished.stdout)["type"] == "SettingsError"
    assert "secret" not in finished.stderr.replace("'secret'", "")


def test_a_token_comes_from_a_file_and_one_that_others_may_read_is_a_note(
    embedded_server: RunningServer, here: Path
) -> None:
    settings(here, "token-file = 'token'\n")
    (here / "token").write_text("s3cret\n")
    (here / "token").chmod(0o644)
    loose = upscale(embedded_server, here, "a.jpg", "one.png")
    assert loose.code == 0
    assert f"note: others may read {here / 'token'}" in loose.stderr
    assert "s3cret" not in loose.stderr + loose.stdout
    (here / "token").chmod(0o600)
    assert upscale(embedded_server, here, "a.jpg", "two.png").stderr == ""
    assert upscale(embedded_server, here, "a.jpg", "three.png", EDSR_TOKEN="other").code == 0


@pytest.mark.parametrize("command", ["upscale", "batch", "video"])
@pytest.mark.parametrize("most", ["0", "-5", "many"])
def test_a_limit_that_lets_nothing_through_is_wrong_usage(here: Path, command: str, most: str) -> None:
    finished = edsr(here, command, "a.jpg", "out", f"--max-pixels={most}", environment={"XDG_CONFIG_HOME": str(here)})
    assert finished.code == 2
    assert f"argument --max-pixels: '{most}' is not a whole number from 1 on" in finished.stderr


def test_a_broken_file_does_not_keep_one_from_help(here: Path) -> None:
    settings(here, "nonsense\n")
    assert edsr(here, "upscale", "--help", environment={"XDG_CONFIG_HOME": str(here)}).code == 0
    assert edsr(here, "completion", "bash", environment={"XDG_CONFIG_HOME": str(here)}).code == 0


def test_fish_completes_options_and_their_values(here: Path) -> None:
    script = edsr(here, "completion", "fish")
    assert script.code == 0, script.stderr
    assert "output-template" in script.stdout
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not installed: apt-get install fish")
    (here / "edsr.fish").write_text(script.stdout)
    asked = "source edsr.fish; complete --do-complete 'edsr upscale --for'; complete --do-complete 'edsr '"
    told = subprocess.run(
        [fish, "--no-config", "-c", asked], cwd=here, env={**os.environ, "HOME": str(here)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "--format" in told.stdout
    assert "upscale" in told.stdout
