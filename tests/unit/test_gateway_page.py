"""The page's files over HTTP: whole, small, kept by browsers for exactly as long as they are true."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from edsr_gateway.app import create_app
from edsr_gateway.page.files import load
from edsr_gateway.routes import page
from edsr_gateway.settings import Settings
from starlette.applications import Starlette
from starlette.testclient import TestClient


@pytest.fixture
def client() -> Iterator[TestClient]:
    """The page's routes alone."""
    with TestClient(Starlette(routes=page.routes())) as client:
        client.headers["Accept-Encoding"] = "identity"
        yield client


def linked(client: TestClient) -> list[str]:
    """The addresses that the page names."""
    return re.findall(r'(?:href|src)="(page/[^"]+)"', client.get("/").text)


def test_the_page_names_only_files_that_are_there(client: TestClient) -> None:
    addresses = linked(client)
    assert {address.rpartition(".")[2] for address in addresses} == {"css", "js", "png", "svg"}
    for address in addresses:
        answer = client.get(f"/{address}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, page.FOR_EVER)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_everything_a_module_imports_is_there(client: TestClient) -> None:
    files = load().assets
    imported = {
        (name, found)
        for name, file in files.items()
        if name.endswith(".js")
        for found in re.findall(r'(?:from|import|URL\()\s*"\.?/?([\w-]+\.js)"', file.content.decode())
    }
    assert imported
    assert {found for _, found in imported} <= set(files)


def test_a_browser_asks_anew_for_the_page_and_gets_304_while_it_is_the_same(client: TestClient) -> None:
    first = client.get("/")
    assert first.headers["cache-control"] == page.UNTIL_CHANGED
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200


def test_who_takes_gzip_gets_the_same_smaller(client: TestClient) -> None:
    plain = client.get("/")
    with client.stream("GET", "/", headers={"Accept-Encoding": "br, gzip"}) as answer:
        content = b"".join(answer.iter_raw())
        assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(content) == plain.content
    assert len(content) < len(plain.content) / 2
    for refusing in ("identity", "gzip;q=0", "br"):
        assert "content-encoding" not in client.get("/", headers={"Accept-Encoding": refusing}).headers


def test_an_old_address_gives_todays_file_and_is_not_kept(client: TestClient) -> None:
    answer = client.get("/page/0000000000000000/main.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, page.UNTIL_CHANGED)


def test_nothing_else_is_served(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(urls=("http://127.0.0.1:9",), folder=tmp_path))) as gateway:
        for path in ("/page/0/none.js", "/page/0/..%2ffiles.py", "/page/0/index.html", "/page/0/", "/page"):
            assert gateway.get(path).status_code == 404


def test_nothing_inline_is_in_the_page_and_the_policy_forbids_it(client: TestClient) -> None:
    answer = client.get("/")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:|https?://", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_is_small() -> None:
    whole = load()
    files = [whole.index, *whole.assets.values()]
    assert sum(len(file.compressed or file.content) for file in files) < 100_000
