"""Folders of pictures without a server: what is found, what is decided, what the manifest keeps, in which order."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from edsr_client import AsyncUpscaler, BadImageError, EdsrError, Finishing, MockTransport, OutputError, Upscaler
from edsr_client.batch import MANIFEST, BatchOptions, Outcome, Summary, estimate, run_batch
from edsr_client.batch.folder import held
from edsr_client.batch.manifest import Decision, Entry, Manifest, decide
from edsr_client.batch.sources import Job, Problem, Sources, check, find, read_list
from edsr_client.cli.progress import duration
from edsr_client.errors import AccessDeniedError, OutputBusyError, RequestRefusedError, ServerUnreachableError
from edsr_client.staged import Identity, Staged
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image


def picture(path: Path, seed: int = 0, shape: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def pixels_of(path: Path) -> Any:
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return pixels


def upscale_all(
    named: list[Path] | list[str], out: Path, transport: MockTransport | None = None, **options: Any
) -> tuple[Summary, list[Outcome], MockTransport]:
    transport = transport or MockTransport()
    told: list[Outcome] = []
    listed = options.pop("listed", ())
    note: Callable[[str], None] = options.pop("note", lambda words: None)

    async def work() -> Summary:
        async with AsyncUpscaler(transport=transport, retries=0) as upscaler:
            names = [str(name) for name in named]
            return await run_batch(
                upscaler, names, out, BatchOptions(**options), listed=listed, tell=told.append, note=note
            )

    return asyncio.run(work()), told, transport


def results(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def found(named: list[Path], out: Path, **options: Any) -> dict[str, str]:
    sources = Sources(tuple(map(str, named)), options.pop("listed", ()), out, ".png", **options)
    check(sources)
    jobs = [one for one in find(sources) if isinstance(one, Job)]
    assert len({job.target for job in jobs}) == len(jobs)
    return {str(job.target): str(job.source) for job in jobs}


def test_a_tree_is_mirrored_and_the_results_are_not_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for name in ("b.jpg", "a.png", "1901/c.tif", "1901/deep/d.JPG", ".hidden/e.png", "notes.txt"):
        picture(root / name) if Path(name).suffix != ".txt" else (root / name).write_text("no picture")
    out = root / "out"
    picture(out / "old.png")
    assert list(found([root], out)) == ["a.png", "b.png"]
    assert list(found([root], out, recursive=True)) == ["a.png", "b.png", "1901/c.png", "1901/deep/d.png"]


def test_a_pictures_own_result_is_passed_over_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Rule: the name of another picture of the folder, and what `edsr upscale` adds to it."""
    folder, out = tmp_path / "in", tmp_path / "out"
    own = ["a_x3.png", "a_x3_x3.png", "A_X2.5.webp", "a_4096px.jpg"]
    others = ["a.jpg", "b_x3.png", "x3.png", "a_x.png", "photo_x3y.png"]
    for name in (*own, *others):
        picture(folder / name)
    assert {Path(name).name for name in found([folder], out).values()} == set(others)
    assert {Path(name).name for name in found([folder], out, own_results=True).values()} == {*own, *others}
    by_pattern = found([folder / "*"], out)
    assert {Path(name).name for name in by_pattern.values()} == set(others)
    assert set(found([folder / "a_x3.png"], out)) == {"a_x3.png"}, "one that is named is taken"
    summary, _, _ = upscale_all([folder], out)
    assert (summary.made, summary.own_results) == (len(others), len(own))
    summary, _, _ = upscale_all([folder], tmp_path / "all", own_results=True)
    assert (summary.made, summary.own_results) == (len(others) + len(own), 0)


def test_pictures_that_differ_in_extension_alone_do_not_meet(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.tif", "A.webp", "b.jpg"):
        picture(tmp_path / "in" / name)
    assert set(found([tmp_path / "in"], tmp_path / "out")) == {"a.jpg.png", "a.tif.png", "A.webp.png", "b.png"}


def test_several_folders_have_one_each_and_patterns_keep_what_follows_the_wildcard(tmp_path: Path) -> None:
    one, two = picture(tmp_path / "x/one/a.png"), picture(tmp_path / "y/two/a.png")
    assert set(found([one.parent, two.parent], tmp_path / "out")) == {"one/a.png", "two/a.png"}
    assert set(found([tmp_path / "*" / "**" / "*.png"], tmp_path / "out")) == {"x/one/a.png", "y/two/a.png"}
    with pytest.raises(OutputError, match="Two folders are called one"):
        found([one.parent, picture(tmp_path / "z/one/a.png").parent], tmp_path / "out")


def test_links_to_folders_are_followed_only_if_asked_and_never_in_circles(tmp_path: Path) -> None:
    picture(tmp_path / "in/sub/a.png")
    picture(tmp_path / "elsewhere/b.png")
    (tmp_path / "in/sub/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/me").symlink_to(".")
    (tmp_path / "in/other").symlink_to(tmp_path / "elsewhere")
    assert set(found([tmp_path / "in"], tmp_path / "out", recursive=True)) == {"sub/a.png"}
    followed = found([tmp_path / "in"], tmp_path / "out", recursive=True, follow_links=True)
    assert set(followed) == {"sub/a.png", "other/b.png"}


def test_a_list_keeps_places_below_here_and_doubles_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "x/a.png")
    picture(tmp_path / "y.png")
    (tmp_path / "list").write_bytes(b"x/a.png\n\n" + os.fsencode(tmp_path / "y.png") + b"\n/elsewhere/y.png\nx\n")
    sources = Sources((), read_list("list"), tmp_path / "out", ".webp")
    everything = list(find(sources))
    assert [str(one.target) for one in everything if isinstance(one, Job)] == ["x/a.webp", "y.webp"]
    double, folder = (one for one in everything if isinstance(one, Problem))
    assert "another picture of this run" in double.reason
    assert "is a folder" in folder.reason
    (tmp_path / "list").write_bytes(b"a\nb.png\0c.png\0")
    assert read_list("list") == ("a\nb.png", "c.png")
    folders = Sources((), (".", "..", "/"), tmp_path / "out", ".webp")
    assert [isinstance(one, Problem) for one in find(folders)] == [True] * 3
    with pytest.raises(BadImageError, match="Cannot read the list nothing"):
        read_list("nothing")


@pytest.mark.parametrize("more", ["B/p.jpg", "B/*.jpg", "A/p.jpg"])
def test_a_folder_and_a_file_do_not_write_the_same_result(tmp_path: Path, more: str) -> None:
    picture(tmp_path / "A/p.jpg", 1)
    picture(tmp_path / "B/p.jpg", 2)
    for _ in range(2):
        summary, told, _ = upscale_all([tmp_path / "A", tmp_path / more], tmp_path / "out")
        assert (summary.made + summary.done_before, summary.failed, summary.changed) == (1, 1, 0)
        (error,) = (outcome.error for outcome in told if outcome.error)
        assert "another picture of this run has the result p.png" in error


def test_named_and_listed_files_that_differ_in_extension_alone_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.jpg", "in/a.png", "in/b.png", "other/a.png"):
        picture(Path(name))
    named = ["in/a.jpg", "in/a.png", "in/b.png"]
    summary, _, _ = upscale_all(named, Path("out"))
    assert (summary.made, summary.failed) == (3, 0)
    assert {name for name in results(Path("out")) if name != MANIFEST} == {"a.jpg.png", "a.png.png", "b.png"}
    assert set(found([Path("in/*")], Path("out2"))) == {"a.jpg.png", "a.png.png", "b.png"}
    listed = (*named, "other/a.png")
    assert set(found([], Path("out"), listed=listed)) == {"in/a.jpg.png", "in/a.png.png", "in/b.png", "other/a.png"}


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    with pytest.raises(BadImageError, match="Nothing matches"):
        upscale_all([tmp_path / "in/*.xyz"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_failure_names_its_picture(tmp_path: Path) -> None:
    transparent = np.zeros((9, 9, 4), np.uint8)
    (tmp_path / "in").mkdir()
    assert cv2.imwrite(str(tmp_path / "in/a.png"), transparent)
    _, told, _ = upscale_all([tmp_path / "in"], tmp_path / "out", finishing=Finishing(format="jpeg"))
    assert told[0].error.startswith(f"{tmp_path}/in/a.png: The picture has transparency")


def test_two_names_of_a_format_are_one(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    for name in ("jpg", "jpeg"):
        summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", finishing=Finishing(format=name))
        assert summary.other_settings == 0


def test_what_could_not_be_meant_is_refused_before_anything_happens(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    for named, out, words in (
        ([], "out", "Name pictures"),
        ([tmp_path / "missing"], "out", "There is no"),
        ([tmp_path / "in"], "in", "folder of the pictures"),
    ):
        with pytest.raises(EdsrError, match=words):
            upscale_all(named, tmp_path / out)
    assert not (tmp_path / "out").exists()


IDENTITIES = st.builds(Identity, st.integers(0, 2), st.integers(0, 2))
ENTRIES = st.builds(
    Entry, IDENTITIES, IDENTITIES, st.none() | IDENTITIES, st.just("s"), st.just("x"), st.sampled_from("ab")
)


@given(st.none() | ENTRIES, st.none() | IDENTITIES, st.none() | IDENTITIES, st.booleans())
def test_decisions(known: Entry | None, source: Identity | None, result: Identity | None, overwrite: bool) -> None:
    decision = decide(known, source, result, overwrite, "a")
    if result is None or source is None:
        assert decision is Decision.MAKE
    elif overwrite:
        mine = known is not None and known.run == "a" and known.result == result
        assert (decision is not Decision.MAKE) == mine
    elif known is None:
        assert decision is Decision.EXISTS
    elif known.result == result:
        assert decision is (Decision.DONE if known.source == source else Decision.COMPARE)
    else:
        assert decision is (Decision.MAKE if known.replaces == result else Decision.EXISTS)


def line_of(target: str, run: str = "r", **changes: Any) -> dict[str, Any]:
    numbers = {"input_bytes": 1, "input_mtime_ns": 2, "output_bytes": 3, "output_mtime_ns": 4}
    return {"status": "done", "run": run, "output": target, "sha256": "s", "settings": "x", **numbers, **changes}


def test_a_manifest_survives_what_cuts_it_short(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe odd.png")
    with Manifest(tmp_path, tmp_path) as manifest:
        for name in ("a.png", odd):
            manifest.write(line_of(name))
    whole = (tmp_path / MANIFEST).read_bytes()
    for damage in (b'{"status": "done", "outp', b"\xff\x00\n", b"[1]\n", b'{"status": "done"}\n', b"{}\n"):
        (tmp_path / MANIFEST).write_bytes(whole + damage)
        with Manifest(tmp_path, tmp_path) as manifest:
            manifest.write(line_of("b.png", replaces=[5, 6]))
        with Manifest(tmp_path, tmp_path) as manifest:
            for name in ("a.png", odd):
                assert manifest.known(PurePath(name)) == Entry(Identity(1, 2), Identity(3, 4), None, "s", "x", "r")
            again = manifest.known(PurePath("b.png"))
            assert again is not None
            assert again.replaces == Identity(5, 6)
            assert manifest.known(PurePath("c.png")) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("input_bytes", "Infinity"), ("input_bytes", "NaN"), ("input_mtime_ns", "[]"), ("output", "7")]
    + [("replaces", value) for value in ('"abc"', "[1]", "[1, Infinity]", "5")],
)
def test_an_edited_manifest_line_counts_for_nothing(tmp_path: Path, key: str, value: str) -> None:
    good, bad = json.dumps(line_of("a.png")), json.dumps({**line_of("b.png"), key: "HERE"}).replace('"HERE"', value)
    (tmp_path / MANIFEST).write_text(f"{bad}\n{good}\n")
    with Manifest(tmp_path, tmp_path) as manifest:
        assert manifest.known(PurePath("a.png")) is not None
        assert manifest.known(PurePath("b.png")) is None


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "out"), pytest.raises(OutputBusyError, match=f"process {os.getpid()}"), held(tmp_path / "out"):
        pass
    with held(tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write to"), held(tmp_path / "file"):
        pass


def test_everything_is_made_once_and_recorded(tmp_path: Path) -> None:
    for index in range(5):
        picture(tmp_path / f"in/{index}.png", index)
    summary, told, transport = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (summary.made, summary.failed, len(told), len(transport.requests)) == (5, 0, 5, 5)
    assert pixels_of(tmp_path / "out/0.png").shape == (18, 24, 3)
    before = results(tmp_path / "out")
    again, told, transport = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (again.made, again.done_before, told, transport.requests) == (0, 5, [], [])
    assert {name: data for name, data in results(tmp_path / "out").items() if name != MANIFEST} == {
        name: data for name, data in before.items() if name != MANIFEST
    }
    lines = [json.loads(line) for line in (tmp_path / "out" / MANIFEST).read_text().splitlines()]
    assert [line["status"] for line in lines] == ["begun", *["done"] * 5, "ended", "begun", "ended"]
    assert lines[1]["width"] == 24
    assert lines[1]["output_bytes"] == (tmp_path / "out" / lines[1]["output"]).stat().st_size


def test_a_changed_picture_is_made_anew_and_a_touched_one_is_not(tmp_path: Path) -> None:
    touched, changed = picture(tmp_path / "in/touched.png"), picture(tmp_path / "in/changed.png")
    upscale_all([tmp_path / "in"], tmp_path / "out")
    os.utime(touched, (1, 1))
    picture(changed, seed=9)
    os.utime(changed, (2, 2))
    summary, told, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (summary.made, summary.changed, summary.done_before) == (1, 1, 1)
    assert [outcome.source for outcome in told] == [changed]
    expected = pixels_of(changed).repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/changed.png"), expected)


def test_what_somebody_else_put_there_stays_unless_overwritten(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"precious")
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (summary.made, summary.there_already) == (1, 1)
    (tmp_path / "out/b.png").write_bytes(b"retouched")
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (summary.made, summary.there_already) == (0, 2)
    assert (tmp_path / "out/a.png").read_bytes() == b"precious"
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert summary.made == 2
    assert (tmp_path / "out/a.png").read_bytes() == (tmp_path / "out/b.png").read_bytes()


def test_other_options_are_told(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    upscale_all([tmp_path / "in"], tmp_path / "out")
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", finishing=Finishing(scale=2))
    assert (summary.done_before, summary.other_settings) == (1, 1)


def test_a_bad_picture_stops_no_other(tmp_path: Path) -> None:
    picture(tmp_path / "in/good.png")
    (tmp_path / "in/bad.png").write_text("no picture")
    (tmp_path / "in/empty.jpg").write_bytes(b"")
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in/cut.png").write_bytes(picture(tmp_path / "whole.png").read_bytes()[:60])
    summary, told, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (summary.made, summary.failed) == (1, 3)  # a link to nothing is no file
    assert sorted(outcome.source.name for outcome in told if outcome.error) == ["bad.png", "cut.png", "empty.jpg"]
    assert all(str(outcome.source) in outcome.error for outcome in told if outcome.error)
    picture(tmp_path / "in/bad.png")  # mended
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (summary.made, summary.failed, summary.done_before) == (1, 2, 1)


def test_names_that_are_no_text_go_through(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.png")
    try:
        picture(tmp_path / "in/x.png").rename(tmp_path / "in" / name)
    except OSError:
        pytest.skip("the file system wants text")
    for expected in (1, 0):
        summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
        assert summary.made == expected
    assert (tmp_path / "out" / name).exists()


def test_a_file_that_grows_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    data = picture(tmp_path / "whole.png", shape=(100, 100)).read_bytes()
    growing = tmp_path / "in/growing.png"
    growing.parent.mkdir()
    growing.write_bytes(b"")
    stop = threading.Event()

    def grow() -> None:
        while not stop.is_set():
            with growing.open("ab") as file:
                file.write(data[:100])
            time.sleep(0.001)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        summary, told, _ = upscale_all([growing], tmp_path / "out")
    finally:
        stop.set()
        writer.join()
    assert summary.failed == 1
    assert "changes while it is read" in told[0].error or "damaged" in told[0].error


def test_a_lost_server_is_waited_for_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edsr_client.batch.run.OUTAGE_PAUSE_S", 0.01)
    for index in range(3):
        picture(tmp_path / f"in/{index}.png")
    failures = iter(range(4))
    notes: list[str] = []

    def flaky(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if next(failures, None) is not None:
            raise ServerUnreachableError("gone")
        return images.repeat(3, 1).repeat(3, 2)

    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", MockTransport(flaky), note=notes.append)
    assert (summary.made, summary.failed) == (3, 0)
    assert "waiting up to 300 s" in notes[0]
    assert "answers again" in notes[-1]

    def gone(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise ServerUnreachableError("gone")

    with pytest.raises(ServerUnreachableError):
        upscale_all([tmp_path / "in"], tmp_path / "out2", MockTransport(gone), patience_s=0)
    assert list(results(tmp_path / "out2")) == [MANIFEST]


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to 1970, on to 2100, all the time: what was made is known by its own time, waiting is by another clock."""
    monkeypatch.setattr("edsr_client.batch.run.OUTAGE_PAUSE_S", 0.01)
    for index in range(12):
        os.utime(picture(tmp_path / f"in/{index:02}.png", index), (4e9 * (index % 2), 4e9 * (index % 3)))
    jumps = itertools.cycle([0.0, 4.1e9, 1.0, 1.8e9])
    failures = itertools.cycle([True, False])
    real = datetime

    def flaky(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if next(failures):
            raise ServerUnreachableError("gone")
        return images.repeat(3, 1).repeat(3, 2)

    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: next(jumps))
        patched.setattr("time.time_ns", lambda: int(next(jumps) * 1e9))
        clock = SimpleNamespace(now=lambda zone: real.fromtimestamp(next(jumps), zone))
        patched.setattr("edsr_client.batch.run.datetime", clock)
        made, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", MockTransport(flaky), jobs=1, patience_s=5)
        for path in (tmp_path / "out").glob("*.png"):
            assert (pixels_of(path)[::3, ::3] == pixels_of(tmp_path / "in" / path.name)).all()
        again, _, server = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (made.made, made.failed) == (12, 0)
    assert (again.made, again.done_before, len(server.requests)) == (0, 12, 0)


@pytest.mark.parametrize("kind", [AccessDeniedError, RequestRefusedError])
def test_what_no_picture_can_help_ends_the_run(tmp_path: Path, kind: type[EdsrError]) -> None:
    for index in range(40):
        picture(tmp_path / f"in/{index:02}.png")

    def refuse(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise kind("no")

    transport = MockTransport(refuse)
    with pytest.raises(kind):
        upscale_all([tmp_path / "in"], tmp_path / "out", transport)
    assert len(transport.requests) < 30


def test_a_full_disk_ends_the_run_with_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(6):
        picture(tmp_path / f"in/{index}.png", index)
    real, written = os.fsync, iter(range(2))

    def full(descriptor: int) -> None:
        is_result = Path(f"/proc/self/fd/{descriptor}").readlink().name != MANIFEST
        if is_result and next(written, None) is None:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("edsr_client.staged.os.fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            upscale_all([tmp_path / "in"], tmp_path / "out", jobs=1)
    made = set(results(tmp_path / "out")) - {MANIFEST}
    assert made == {"0.png", "1.png"}
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (summary.made, summary.done_before) == (4, 2)


def test_killed_between_record_and_rename_it_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in/a.png")

    class Killed(BaseException):
        pass

    def killed(self: Staged) -> None:
        raise Killed

    for _ in range(2):  # with nothing in the result's place, then with an old result there
        with monkeypatch.context() as patched:
            patched.setattr(Staged, "commit", killed)
            with pytest.raises(Killed):
                upscale_all([tmp_path / "in"], tmp_path / "out")
        summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
        assert (summary.made, summary.done_before) == (1, 0)
        assert not list((tmp_path / "out").glob(".edsr-*"))
        picture(tmp_path / "in/a.png", seed=5)
        os.utime(tmp_path / "in/a.png", (5, 5))


def test_an_interrupted_run_that_overwrites_goes_on(tmp_path: Path) -> None:
    for index in range(6):
        picture(tmp_path / f"in/{index}.png", index)
    upscale_all([tmp_path / "in"], tmp_path / "out")
    answers = iter(range(3))

    def some(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if next(answers, None) is None:
            raise AccessDeniedError("no more")
        return images.repeat(3, 1).repeat(3, 2)

    with pytest.raises(AccessDeniedError):
        upscale_all([tmp_path / "in"], tmp_path / "out", MockTransport(some), overwrite=True, jobs=1)
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert (summary.made, summary.done_before) == (3, 3)
    summary, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert (summary.made, summary.done_before) == (6, 0)


def test_the_estimate_writes_nothing(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / f"in/{index}.png")
    (tmp_path / "in/bad.png").write_text("no picture")
    picture(tmp_path / "out/0.png")

    async def work() -> Any:
        async with AsyncUpscaler(transport=MockTransport()) as upscaler:
            return await estimate(upscaler, [str(tmp_path / "in")], tmp_path / "out", BatchOptions())

    found = asyncio.run(work())
    assert (found.to_make, found.left_alone, found.unreadable) == (3, 1, 1)
    assert found.megapixels == pytest.approx(2 * 48 / 1e6)
    assert found.seconds > 0
    assert list(results(tmp_path / "out")) == ["0.png"]


def test_many_small_files_take_little_memory_and_few_tasks(tmp_path: Path) -> None:
    import tracemalloc

    data = picture(tmp_path / "one.png", shape=(2, 2)).read_bytes()
    (tmp_path / "in").mkdir()
    for index in range(500):
        (tmp_path / f"in/{index:05}.png").write_bytes(data)
    tracemalloc.start()
    summary, _, transport = upscale_all([tmp_path / "in"], tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert summary.made == 500
    assert transport.most_in_flight <= 4
    assert peak < 30e6


@pytest.mark.parametrize("value", [{"jobs": 0}, {"jobs": 2000}, {"patience_s": -1}])
def test_wrong_options_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(value))):
        BatchOptions(**value)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.25, "1.2 s"), (59, "59 s"), (200, "3 min 20 s"), (18_720, "5 h 12 min"), (273_600, "3 days 4 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# Iterators


def images(count: int) -> list[NDArray[np.uint8]]:
    return [np.full((2, 3, 3), index, np.uint8) for index in range(count)]


def test_results_come_in_order_and_inputs_are_taken_only_as_fast(anyio_backend: str) -> None:
    taken: list[int] = []

    def produce() -> Iterator[NDArray[np.uint8]]:
        for index, image in enumerate(images(20)):
            taken.append(index)
            yield image

    with Upscaler(transport=MockTransport(delay_s=0.002)) as upscaler:
        for number, large in enumerate(upscaler.upscale_many(produce(), in_flight=3)):
            assert isinstance(large, np.ndarray)
            assert large.shape == (6, 9, 3)
            assert large[0, 0, 0] == number
            assert len(taken) <= number + 5
    assert number == 19


def test_who_stops_early_leaves_nothing_running() -> None:
    transport = MockTransport(delay_s=0.01)
    closed = threading.Event()

    def produce() -> Iterator[NDArray[np.uint8]]:
        try:
            while True:
                yield np.zeros((2, 2, 3), np.uint8)
        finally:
            closed.set()

    with Upscaler(transport=transport) as upscaler:
        source = produce()
        results = upscaler.upscale_many(source)
        next(results)
        results.close()  # type: ignore[attr-defined]
        count = len(transport.requests)
        time.sleep(0.05)
        assert len(transport.requests) == count
        assert transport.in_flight == 0


def test_an_async_source_that_pauses_holds_back_no_result() -> None:
    async def work() -> list[Any]:
        queue: asyncio.Queue[NDArray[np.uint8] | None] = asyncio.Queue()

        async def produce() -> AsyncIterator[NDArray[np.uint8]]:
            while (image := await queue.get()) is not None:
                yield image

        got = []
        async with AsyncUpscaler(transport=MockTransport()) as upscaler:
            await queue.put(images(1)[0])
            async for large in upscaler.upscale_many(produce(), in_flight=4):
                got.append(large)
                await queue.put(images(4)[len(got)] if len(got) < 4 else None)
        return got

    assert [large[0, 0, 0] for large in asyncio.run(asyncio.wait_for(work(), 10))] == [0, 1, 2, 3]


def test_errors_end_it_or_stand_in_their_place() -> None:
    mixed = [*images(2), np.zeros((2, 2), np.float32), *images(1)]
    with Upscaler(transport=MockTransport()) as upscaler:
        with pytest.raises(BadImageError):
            list(upscaler.upscale_many(mixed))  # type: ignore[arg-type]
        kinds = [type(each) for each in upscaler.upscale_many(mixed, return_errors=True)]  # type: ignore[arg-type]
        assert kinds == [np.ndarray, np.ndarray, BadImageError, np.ndarray]
        with pytest.raises(ValueError, match="in_flight"):
            list(upscaler.upscale_many(images(1), in_flight=0))


def test_files_without_targets_say_how_they_are_named() -> None:
    with Upscaler(transport=MockTransport()) as upscaler, pytest.raises(ValueError, match=r"pairs.*\('a.jpg', None\)"):
        list(upscaler.upscale_files(["a.jpg"]))  # type: ignore[list-item]


def test_a_page_is_taken_of_every_picture(tmp_path: Path) -> None:
    page = Image.new("L", (8, 6), 7)
    (tmp_path / "in").mkdir()
    page.save(tmp_path / "in/a.tif", save_all=True, append_images=[Image.new("L", (8, 6), 200)])
    refused, told, _ = upscale_all([tmp_path / "in"], tmp_path / "out")
    assert (refused.failed, "--frame" in told[0].error) == (1, True)
    made, _, _ = upscale_all([tmp_path / "in"], tmp_path / "out", frame=1)
    assert made.made == 1
    assert (pixels_of(tmp_path / "out/a.png") == 200).all()


def test_files_come_as_results(tmp_path: Path) -> None:
    pairs = [(picture(tmp_path / f"{index}.png", index), tmp_path / f"large{index}.png") for index in range(3)]
    with Upscaler(transport=MockTransport()) as upscaler:
        paths = [getattr(result, "path", None) for result in upscaler.upscale_files(pairs)]
    assert paths == [str(target) for _, target in pairs]
