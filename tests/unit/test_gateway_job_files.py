"""The list of jobs as a file, the folders of jobs, and what a job's content is taken for."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from edsr_gateway.cli import main
from edsr_gateway.jobs.files import ORPHAN_S, JobFiles
from edsr_gateway.jobs.sqlite_store import SqliteStore
from edsr_gateway.jobs.store import StoreBrokenError
from edsr_gateway.jobs.stores import FILE, store_for
from edsr_gateway.settings import Settings

ID = "0123456789abcdef" * 2


def a_text(path: Path) -> None:
    path.write_text("this is no list of jobs, " * 1000)


def cut_off(path: Path) -> None:
    asyncio.run(SqliteStore(path).close())
    path.write_bytes(path.read_bytes()[:8192] + b"\0" * 4096)


def turned_over(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")


def newer(path: Path) -> None:
    asyncio.run(SqliteStore(path).close())
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("damage", [a_text, cut_off, turned_over, newer, a_folder])
def test_a_file_that_is_no_list_of_jobs_is_an_error_that_says_what_to_do(
    tmp_path: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Settings().folder / FILE
    file.parent.mkdir(parents=True)
    damage(file)
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(StoreBrokenError, match=r"[Mm]ove (it|the file) away"):
        store_for(Settings())
    assert before == (file.read_bytes() if file.is_file() else b"")
    assert main(["--port", "0"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_an_address_that_is_no_redis_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreBrokenError, match="redis://host"):
        store_for(Settings(folder=tmp_path, redis="http://host:6379"))


def test_what_was_sent_is_taken_over_and_nothing_else_is_left(tmp_path: Path) -> None:
    files, upload = JobFiles(tmp_path / "jobs"), tmp_path / "upload"
    upload.write_bytes(b"video")
    assert files.put(ID, upload, tmp_path / "draft") == 5
    assert files.put("f" * 32, b"picture", tmp_path / "draft") == 7
    assert (files.source(ID).read_bytes(), files.source("f" * 32).read_bytes()) == (b"video", b"picture")
    assert {path.name for path in tmp_path.iterdir()} == {"jobs"}
    assert files.folder(ID).stat().st_mode & 0o077 == 0


def test_a_job_whose_files_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    files = JobFiles(tmp_path / "jobs")
    (files.folder(ID) / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        files.put(ID, b"picture", tmp_path / "draft")
    assert {path.name for path in tmp_path.iterdir()} == {"jobs"}


def test_only_the_result_is_kept_and_its_bytes_are_counted(tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    files.put(ID, b"picture", tmp_path / "draft")
    result = files.result(ID, {"kind": "video", "format": "mp4"})
    result.write_bytes(b"result")
    (files.folder(ID) / ".result.mp4.edsr-video").mkdir()
    (files.folder(ID) / ".result.mp4.edsr-video/000000.part").write_bytes(b"part")
    assert files.size(ID) == len(b"picture" + b"result" + b"part")
    files.settle(ID, result)
    assert [path.name for path in files.folder(ID).iterdir()] == ["result.mp4"]
    files.remove(ID)
    files.remove(ID)
    assert list(tmp_path.iterdir()) == []
    assert files.size(ID) == 0


def test_folders_of_no_job_are_found_when_they_are_old_and_trash_is_removed(tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    for name in (ID, "f" * 32):
        files.put(name, b"picture", tmp_path / "draft")
    (tmp_path / ".trash-1/deep").mkdir(parents=True)
    (tmp_path / "not of ours").mkdir()
    long_ago = time.time() - 2 * ORPHAN_S
    for path in tmp_path.iterdir():
        if path.name != "f" * 32:
            os.utime(path, (long_ago, long_ago))
    assert files.orphans() == {ID}
    assert {path.name for path in tmp_path.iterdir()} == {ID, "f" * 32, "not of ours"}
