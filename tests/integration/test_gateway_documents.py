"""What the gateway says of itself is true: the document, its examples, and requests that a fuzzer makes of it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from edsr_gateway.app import create_app
from edsr_gateway.documents.openapi import NOT_DESCRIBED, URL, document
from edsr_gateway.settings import Settings
from gateway_processes import Gateway
from hypothesis import HealthCheck, Phase, settings
from starlette.routing import Route

from tests.unit.picture_files import encoded, photo


def test_every_route_is_described_and_nothing_else_is() -> None:
    there = set()
    for route in create_app(Settings()).routes:
        assert isinstance(route, Route)
        if not (route.path in NOT_DESCRIBED or route.path.startswith(("/page/", "/v2"))):
            there |= {(route.path, method.lower()) for method in route.methods or () if method != "HEAD"}
    told = {(path, method) for path, operations in document()["paths"].items() for method in operations}
    assert told == there


def test_an_options_name_is_the_documents(gateway: Gateway) -> None:
    refused = gateway.http.post("/v1/upscale?nonsense=1", content=b"x").json()["detail"]
    names = [one["name"] for one in document()["paths"]["/v1/upscale"]["put"]["parameters"] if one["in"] == "query"]
    assert refused.endswith(f"There are: {', '.join(names)}.")


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (path, method)
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        if operation["x-curl-works"]
    ],
)
def test_the_examples_work(gateway: Gateway, tmp_path: Path, path: str, method: str) -> None:
    (tmp_path / "old.jpg").write_bytes(encoded(photo(), "JPEG"))
    example = document()["paths"][path][method]["x-curl"].replace(URL, str(gateway.http.base_url))
    command = [*shlex.split(example), "--fail", "--silent", "--show-error"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, stdout=subprocess.DEVNULL)
    if "-o" in command:
        assert (tmp_path / command[command.index("-o") + 1]).stat().st_size > 500


def test_the_examples_of_jobs_work_with_the_id_of_one(gateway: Gateway, tmp_path: Path) -> None:
    job = gateway.post(encoded(photo(), "JPEG"), "/v1/jobs")
    gateway.until(job, "done")
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            if "{id}" in path and method == "get":
                example = operation["x-curl"].replace(URL, str(gateway.http.base_url)).replace("ID", job)
                command = [*shlex.split(example), "--fail", "--silent", "--show-error"]
                subprocess.run(command, cwd=tmp_path, check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert (tmp_path / "new.jpg").stat().st_size > 500


class _Links(HTMLParser):
    """Tags, and what of them is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)


def test_the_page_of_documents_needs_no_script_and_nothing_from_elsewhere(gateway: Gateway) -> None:
    answer = gateway.http.get("/docs")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    found = _Links()
    found.feed(answer.text)
    assert "script" not in found.tags
    assert set(found.asked) >= {"/docs.css", "/openapi.json"}
    assert all(link.startswith(("#", "/")) for link in found.asked)
    assert gateway.http.get("/docs.css").headers["content-type"].startswith("text/css")
    assert str(gateway.http.base_url) in answer.text
    anchors = {link[1:] for link in found.asked if link.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', answer.text))


@pytest.mark.parametrize("host", ["<script>", 'x"onload="', "a b", "evil.example/'", ""])
def test_a_host_that_is_none_is_not_repeated(gateway: Gateway, host: str) -> None:
    answer = gateway.http.get("/docs", headers=[(b"Host", host.encode())])
    assert answer.status_code == 200
    assert URL in answer.text


def test_the_document_that_is_served_is_this_one(gateway: Gateway) -> None:
    assert gateway.http.get("/openapi.json").json() == document()


@pytest.fixture(scope="module")
def fuzzed(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that has room for whatever is thrown at it."""
    limits = {"stall_s": 5, "jobs": 10_000, "jobs_per_client": 10_000, "pixels": 100_000}
    with Gateway(server_url, tmp_path_factory.mktemp("fuzzed"), limits=limits) as running:
        yield running


schema = schemathesis.openapi.from_dict(document())


@schema.exclude(path_regex="/events$").parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_nothing_that_a_fuzzer_makes_of_the_document_is_a_mistake_of_ours(case: Any, fuzzed: Gateway) -> None:
    if case.method.upper() == "PUT":  # options reach the worker only with a picture
        case.body, case.media_type = encoded(photo(), "JPEG"), "image/jpeg"
    try:
        answer = case.call(base_url=str(fuzzed.http.base_url), timeout=60)
    except (httpx.InvalidURL, ValueError, UnicodeError):
        return  # what no client can send
    assert answer.status_code < 500, f"{case.as_curl_command()}\n{answer.status_code} {answer.text[:500]}"
    told = case.operation.definition.raw["responses"]
    assert str(answer.status_code) in told or answer.status_code in (401, 404, 405, 414), case.as_curl_command()
    assert answer.headers["x-content-type-options"] == ["nosniff"]
