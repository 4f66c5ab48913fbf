"""Fetching from a real HTTP server on loopback, and from a file."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from edsr_conversion import CatalogueError, ChecksumError, DownloadError, GraphNotFoundError, Model, fetch
from edsr_conversion.fetch import git_blob
from edsr_serving import free_ports

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "good.pb").write_bytes(CONTENT)
    (tmp_path / "site" / "long.pb").write_bytes(CONTENT + b"x")
    (tmp_path / "site" / "wrong.pb").write_bytes(CONTENT[::-1])
    (tmp_path / "site" / "page.pb").write_bytes(b"<html>please log in</html>")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def model(tmp_path: Path, url: str) -> Model:
    return Model(
        name="m",
        graph=tmp_path / "models" / "good.pb",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        blocks=1,
        filters=4,
        scale=3,
        max_lr_pixels=1,
        url=url,
        size_bytes=len(CONTENT),
        git_blob=git_blob(CONTENT),
    )


def test_a_download_is_verified_and_put_in_place(tmp_path: Path, site: str) -> None:
    path = fetch(model(tmp_path, f"{site}/good.pb"))
    assert path.read_bytes() == CONTENT


def test_what_is_there_already_is_not_downloaded_again(tmp_path: Path) -> None:
    wanted = model(tmp_path, "http://127.0.0.1:1/none.pb")
    wanted.graph.parent.mkdir()
    wanted.graph.write_bytes(CONTENT)
    assert fetch(wanted) == wanted.graph


@pytest.mark.parametrize("name", ["long", "wrong", "page"])
def test_other_bytes_are_refused_and_nothing_is_left(tmp_path: Path, site: str, name: str) -> None:
    wanted = model(tmp_path, f"{site}/{name}.pb")
    with pytest.raises(ChecksumError, match="not the published"):
        fetch(wanted)
    assert not wanted.graph.parent.exists() or not list(wanted.graph.parent.iterdir())


def test_a_missing_page_and_a_dead_server_are_download_errors(tmp_path: Path, site: str) -> None:
    with pytest.raises(DownloadError, match="make fetch PB="):
        fetch(model(tmp_path, f"{site}/none.pb"))
    with pytest.raises(DownloadError, match="refused"):
        fetch(model(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}/good.pb"))


def test_a_local_file_is_verified_too(tmp_path: Path) -> None:
    wanted = model(tmp_path, "http://unused.invalid/good.pb")
    (tmp_path / "mine.pb").write_bytes(CONTENT)
    assert fetch(wanted, tmp_path / "mine.pb").read_bytes() == CONTENT
    (tmp_path / "mine.pb").write_bytes(b"")
    with pytest.raises(ChecksumError, match="0 bytes"):
        fetch(wanted, tmp_path / "mine.pb")
    assert wanted.graph.read_bytes() == CONTENT


def test_a_local_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphNotFoundError, match=r"mine\.pb"):
        fetch(model(tmp_path, "http://unused.invalid"), tmp_path / "mine.pb")


def test_a_model_without_url_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no URL"):
        fetch(model(tmp_path, ""))


def test_the_git_blob_id_is_gits(tmp_path: Path) -> None:
    assert git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
