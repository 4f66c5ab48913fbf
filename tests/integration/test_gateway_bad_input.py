"""What strangers send to a gateway: every answer says what is the matter, none is a 5xx, and nothing stays behind."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gateway_processes import Gateway, eventually

from tests.nasty_files import ihdr, nasty_files, png
from tests.unit.picture_files import encoded, photo, png_chunk

JPEG = encoded(photo(), "JPEG", quality=90)
UPLOAD_BYTES = 4_000_000
BOUNDARY = "edge"


@pytest.fixture(scope="module")
def gateway(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One with small limits."""
    limits = {"upload_bytes": UPLOAD_BYTES, "pixels": 2_000_000, "frames": 400, "stall_s": 3}
    with Gateway(server_url, tmp_path_factory.mktemp("gateway"), limits=limits) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_stays(gateway: Gateway) -> Iterator[None]:
    yield
    eventually(lambda: gateway.is_at_rest())


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The members of a problem, which it is."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"].endswith((".", "}", ")", "/v1/jobs", "picture.jpg"))
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text, "a path of ours"  # noqa: S108 - looked for, not written
    return found


def part(name: str, content: bytes, file: str | None = None, more: str = "") -> bytes:
    """A part of a form, as it goes over the wire."""
    filename = f'; filename="{file}"' if file is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n{more}\r\n'
    return head.encode() + content + b"\r\n"


def form(gateway: Gateway, *parts: bytes, end: bytes = b"--edge--\r\n", path: str = "/v1/upscale") -> httpx.Response:
    """A form of exactly these bytes."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return gateway.http.post(path, content=b"".join(parts) + end, headers=headers)


PICTURE = part("file", JPEG, "x.jpg")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((PICTURE, PICTURE), "two pictures"),
        ((PICTURE, part("image", JPEG, "y.jpg")), "two pictures"),
        ((part("photo", JPEG, "x.jpg"),), "'photo'"),
        ((part("format", b"png"),), "no picture"),
        ((), "no picture"),
        ((part("file", b"", "x.jpg"),), "empty"),
        ((PICTURE, part("format", b"png"), part("format", b"jpeg")), "'format' comes twice"),
        ((PICTURE, part("colour", b"blue")), "'colour'"),
        ((PICTURE, part("quality", b"9" * 2000)), "longer than"),
        ((PICTURE, *[part(f"x{number}", b"1") for number in range(40)]), "fields"),
        ((part("file", JPEG, "x.jpg", more=f"X-Long: {'y' * 9000}\r\n"),), "malformed"),
        ((b"no form at all",), "malformed"),
    ],
)
def test_a_form_that_is_wrong_is_refused_in_words(gateway: Gateway, parts: tuple[bytes, ...], words: str) -> None:
    assert words in problem(form(gateway, *parts), 400)["detail"]


def test_a_form_that_is_cut_off_is_refused(gateway: Gateway) -> None:
    for cut in (b"", b"--ed", b"--edge"):
        assert "cut off" in problem(form(gateway, PICTURE, end=cut), 400)["detail"]


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("image/jpeg", b"", 400),
        ("multipart/form-data", JPEG, 400),
        (f"multipart/form-data; boundary={'b' * 500}", JPEG, 400),
        ("application/json", b'{"image": "aGVsbG8="}', 415),
        ("image/jpeg", b"<html><script>alert(1)</script></html>", 415),
        ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://10.0.0.1/"/></svg>', 415),
        ("text/plain", b"\0", 415),
        ("image/png", JPEG[:200], 415),
        ("video/mp4", b"\0\0\0\x18ftypmp42" + bytes(100), 415),
    ],
)
def test_what_is_no_picture_is_refused_whatever_it_is_called(
    gateway: Gateway, kind: str, content: bytes, status: int
) -> None:
    answer = gateway.http.post("/v1/upscale", content=content, headers={"Content-Type": kind})
    problem(answer, status)


def test_a_picture_is_taken_whatever_it_is_called(gateway: Gateway) -> None:
    answer = gateway.http.post("/v1/upscale", content=JPEG, headers={"Content-Type": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert gateway.http.post("/v1/upscale", files={"file": ("x.html", JPEG, "text/html")}).status_code == 200


def test_a_form_of_a_page_without_its_files_is_told_how_to_send_them(gateway: Gateway) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": str(gateway.http.base_url)}
    answer = gateway.http.post("/v1/upscale", content=b"image=x.jpg", headers=headers)
    assert "multipart/form-data" in problem(answer, 400)["detail"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_body_is_refused(gateway: Gateway, encoding: str) -> None:
    answer = gateway.http.post("/v1/upscale", content=JPEG, headers={"Content-Encoding": encoding})
    problem(answer, 415)


def test_a_picture_that_claims_too_many_pixels_is_refused_with_the_limit(gateway: Gateway) -> None:
    for width, height in ((100_000, 100_000), (2**31 - 1, 2**31 - 1), (1501, 1400)):
        found = problem(gateway.http.post("/v1/upscale", content=png(head=ihdr(width, height))), 413)
        assert (found["limit_pixels"], found["pixels"]) == (2_000_000, width * height)


def test_a_result_that_would_have_too_many_pixels_is_refused_before_the_work(gateway: Gateway) -> None:
    answer = gateway.http.post("/v1/upscale?scale=16", content=png(head=ihdr(1000, 1000)))
    assert problem(answer, 413)["pixels"] == 256_000_000


def test_archives_and_bombs_are_no_pictures(gateway: Gateway) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.png", bytes(50_000_000))
    problem(gateway.http.post("/v1/upscale", content=archive.getvalue()), 415)
    bomb = png_chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(bytes(300_000_000), 9))
    answer = gateway.http.post("/v1/upscale", content=png(bomb))
    assert answer.status_code in (200, 413, 415, 422), answer.text


@pytest.mark.parametrize(
    ("query", "option"),
    [
        ("sharpen=1", "sharpen"),
        ("format=png&format=png", "format"),
        ("format=exe", "format"),
        ("format=mp4", "format"),
        ("format=../../etc/passwd", "format"),
        ("quality=101", "quality"),
        ("quality=-1", "quality"),
        ("quality=1e2", "quality"),
        ("quality=%D9%A5", "quality"),
        ("scale=nan", "scale"),
        ("scale=NaN", "scale"),
        ("scale=inf", "scale"),
        ("scale=1e999", "scale"),
        ("scale=0", "scale"),
        ("scale=-2", "scale"),
        ("scale=17", "scale"),
        ("scale=0x2", "scale"),
        ("max_side=0", "max_side"),
        ("max_side=1000000000000", "max_side"),
        ("metadata=all", "metadata"),
        ("png_effort=best", "png_effort"),
        ("png_effort=Fast", "png_effort"),
        ("model=%00", "model"),
        ("model=../../x", "model"),
        ("%F0%9F%98%80=1", "\U0001f600"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(gateway: Gateway, query: str, option: str) -> None:
    status = 404 if option == "model" else 400
    assert problem(gateway.http.post(f"/v1/upscale?{query}", content=JPEG), status)["option"] == option


def test_an_option_in_the_address_and_in_the_form_is_given_twice(gateway: Gateway) -> None:
    answer = form(gateway, PICTURE, part("format", b"png"), path="/v1/upscale?format=png")
    assert "twice" in problem(answer, 400)["detail"]


@pytest.mark.parametrize(
    "name", ["../../../x.jpg", "..\\x.jpg", "x.jpg\0.php", "/etc/passwd", "a" * 4000, "文件\u202egpj.jpg"]
)
def test_a_name_is_never_a_path(gateway: Gateway, name: str) -> None:
    before = {path for path in gateway.folder.parent.rglob("*") if "scratch" not in path.parts}
    answer = gateway.http.post("/v1/upscale?format=png", files={"file": (name, JPEG, "image/jpeg")})
    assert answer.status_code in (200, 400)
    said = answer.headers.get("content-disposition", "")
    assert not re.search(r"[/\\\0\u202e]", said.replace("UTF-8''", ""))
    assert len(said) < 1200
    assert {path for path in gateway.folder.parent.rglob("*") if "scratch" not in path.parts} == before


def test_a_body_that_is_too_large_is_refused_with_the_limit(gateway: Gateway) -> None:
    found = problem(gateway.http.post("/v1/upscale", content=bytes(UPLOAD_BYTES + 1)), 413)
    assert found["limit_bytes"] == UPLOAD_BYTES
    assert problem(form(gateway, part("file", bytes(UPLOAD_BYTES + 1), "x.jpg")), 413)["limit_bytes"] == UPLOAD_BYTES


def test_a_body_without_an_end_is_refused_at_the_limit_and_the_connection_cut(gateway: Gateway) -> None:
    with raw(gateway) as connection:
        connection.sendall(b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        with contextlib.suppress(OSError):  # reset or broken, as it comes
            while True:
                connection.sendall(chunk)


def test_what_is_no_chunk_ends_the_request(gateway: Gateway) -> None:
    with raw(gateway) as connection:
        connection.sendall(b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert status_of(connection) == 400


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 10_000_000, 431),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(20_000)) + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
    ],
)
def test_a_header_that_is_too_long_or_none_is_refused(gateway: Gateway, head: bytes, status: int) -> None:
    with raw(gateway) as connection:
        try:
            connection.sendall(head)
        except OSError:
            assert status == 431  # it did not wait for all of it
            return
        try:
            assert status_of(connection) == status
        except ConnectionResetError:
            assert status == 431


def test_methods_that_a_path_does_not_have_are_named(gateway: Gateway) -> None:
    for method in ("GET", "HEAD", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        answer = gateway.http.request(method, "/v1/upscale")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST, PUT"), method
    head = gateway.http.head("/v1/info")
    assert (head.status_code, head.content) == (200, b"")


def test_a_range_is_not_for_results_that_are_made(gateway: Gateway) -> None:
    whole = gateway.http.post("/v1/upscale", content=JPEG)
    answer = gateway.http.post("/v1/upscale", content=JPEG, headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.headers["accept-ranges"]) == (200, "none")
    assert answer.content == whole.content


@pytest.mark.parametrize("path", ["/..%2f..%2fetc/passwd", "/v1/../../x", "//evil.example/", "/%00", "/v1/upscale/"])
def test_a_path_that_is_not_there_is_not_there(gateway: Gateway, path: str) -> None:
    with raw(gateway) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert status_of(connection) == 404


def test_a_hundred_hostile_files_are_refused_or_upscaled_and_cost_at_most_themselves(gateway: Gateway) -> None:
    for name, content in nasty_files():
        if len(content) > UPLOAD_BYTES:
            continue
        answer = gateway.http.post("/v1/upscale?format=png&max_side=500", content=content)
        assert answer.status_code in (200, 413, 415, 422), f"{name}: {answer.status_code} {answer.text[:300]}"
    assert gateway.http.post("/v1/upscale", content=JPEG).status_code == 200


def test_what_is_too_much_at_a_time_is_a_429_with_the_limit(server_url: str, tmp_path: Path) -> None:
    limits = {"in_flight": 2, "in_flight_per_client": 1, "pixels_in_flight": 400_000, "scratch_bytes": 3_000_000}
    noise = np.random.default_rng(1).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    with Gateway(server_url, tmp_path / "gateway", limits=limits) as own, ThreadPoolExecutor(1) as pool:
        first = pool.submit(own.http.post, "/v1/upscale?format=png", content=encoded(noise, "PNG"))
        eventually(lambda: "edsr_gateway_pictures_busy 1.0" in own.http.get("/metrics").text)
        for content, limit in ((JPEG, ("limit", 1)), (encoded(noise, "JPEG"), ("limit", 400_000))):
            answer = own.http.post("/v1/upscale", content=content)
            assert problem(answer, 429)[limit[0]] == limit[1]
            assert answer.headers["retry-after"].isdigit()
        refused = own.http.post("/enhance", files={"image": JPEG})
        assert (refused.status_code, list(refused.json())) == (429, ["error"])
        full = own.http.post("/v1/upscale", content=bytes(2_500_000))
        assert problem(full, 429)["limit_bytes"] == 3_000_000
        assert first.result().status_code == 200
        assert own.http.post("/v1/upscale", content=JPEG).status_code == 200
        eventually(own.is_at_rest)


def raw(gateway: Gateway) -> socket.socket:
    """A connection without a client's manners."""
    return socket.create_connection((gateway.http.base_url.host, gateway.http.base_url.port or 0), timeout=60)


def status_of(connection: socket.socket) -> int:
    """Of the answer that comes."""
    return int(connection.makefile("rb").readline().split()[1])


def test_the_log_has_no_trace_of_all_this(gateway: Gateway) -> None:
    text = Path(gateway.folder / "gateway.log").read_text("utf-8")
    assert "Traceback" not in text
    assert "route=/v1/upscale status=400" in text
