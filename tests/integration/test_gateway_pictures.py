"""/v1/upscale and /enhance of a real gateway in front of a real Triton: what goes in and what comes out."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from edsr_client import Finishing, Upscaler
from gateway_processes import Gateway
from PIL import Image

from tests.unit.picture_files import encoded, exif, photo, png_chunk

PHOTO = photo()
JPEG = encoded(PHOTO, "JPEG", quality=90)
PNG = encoded(PHOTO, "PNG")


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[Upscaler]:
    """The client, which says what every answer must be."""
    with Upscaler(server_url, model="auto") as upscaler:
        yield upscaler


def own(client: Upscaler, content: bytes, **finishing: Any) -> bytes:
    """What the client makes of a picture itself."""
    return client.upscale_bytes(content, finishing=Finishing(**finishing))[0]


def send(gateway: Gateway, content: bytes, query: str = "", **headers: str) -> httpx.Response:
    """A picture as the body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.http.post(f"/v1/upscale{query}", content=content, headers=named)


def test_a_form_to_enhance_answers_png_as_the_replaced_service_did(gateway: Gateway, client: Upscaler) -> None:
    answer = gateway.http.post("/enhance", files={"image": ("old.jpg", JPEG, "image/jpeg")})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == own(client, JPEG, format="png")


def test_the_two_lines_of_curl_do_what_they_say(gateway: Gateway, client: Upscaler, tmp_path: Path) -> None:
    (tmp_path / "old.jpg").write_bytes(JPEG)
    url = str(gateway.http.base_url)
    curl = ["curl", "--silent", "--show-error", "--fail"]
    form = [*curl, "-F", "image=@old.jpg", f"{url}/enhance", "-o", "new.png"]
    body = [*curl, "-T", "old.jpg", f"{url}/v1/upscale?format=webp&quality=90", "-o", "new.webp"]
    data = [*curl, "--data-binary", "@old.jpg", f"{url}/v1/upscale", "-o", "new.jpg"]
    for command in (form, body, data):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "new.png").read_bytes() == own(client, JPEG, format="png")
    assert (tmp_path / "new.webp").read_bytes() == own(client, JPEG, format="webp", quality=90)
    assert (tmp_path / "new.jpg").read_bytes() == own(client, JPEG, format="jpeg")


@pytest.mark.parametrize(
    ("format_", "media_type"),
    [
        ("png", "image/png"),
        ("jpeg", "image/jpeg"),
        ("jpg", "image/jpeg"),
        ("webp", "image/webp"),
        ("tiff", "image/tiff"),
        ("bmp", "image/bmp"),
        ("gif", "image/gif"),
        ("avif", "image/avif"),
        ("heic", "image/heic"),
    ],
)
def test_every_format_is_the_clients_own_byte_for_byte(
    gateway: Gateway, client: Upscaler, format_: str, media_type: str
) -> None:
    answer = send(gateway, PNG, f"?format={format_}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type), answer.text
    assert answer.content == own(client, PNG, format=format_)


@pytest.mark.parametrize(
    ("query", "finishing"),
    [
        ("?format=jpeg&quality=40", {"format": "jpeg", "quality": 40}),
        ("?scale=2", {"format": "png", "scale": 2.0}),
        ("?scale=1.5&format=webp", {"format": "webp", "scale": 1.5}),
        ("?max_side=50", {"format": "png", "max_side": 50}),
        ("?metadata=strip", {"format": "png", "strip_metadata": True}),
        ("?metadata=keep&model=edsr_baseline_x3", {"format": "png"}),
        ("?png_effort=small", {"format": "png", "png_effort": "small"}),
        ("?png_effort=fast&format=jpeg", {"format": "jpeg"}),
        ("?quality=&scale=&format=", {"format": "png"}),
    ],
)
def test_options_do_what_the_clients_do(
    gateway: Gateway, client: Upscaler, query: str, finishing: dict[str, Any]
) -> None:
    content = encoded(PHOTO, "PNG", exif=exif(6))
    answer = send(gateway, content, query)
    assert answer.status_code == 200, answer.text
    assert answer.content == own(client, content, **finishing)


def test_options_may_stand_in_the_form_before_and_after_the_picture(gateway: Gateway, client: Upscaler) -> None:
    fields: Any = [("format", (None, b"jpeg")), ("file", ("x.png", PNG, "image/png")), ("quality", (None, b"55"))]
    answer = gateway.http.post("/v1/upscale?max_side=90", files=fields)
    assert answer.content == own(client, PNG, format="jpeg", quality=55, max_side=90)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_result_has_the_kind_of_its_picture_unless_told_otherwise(gateway: Gateway, kind: str) -> None:
    assert send(gateway, encoded(PHOTO, kind)).headers["content-type"] == f"image/{kind.lower()}"


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PPM"])
def test_a_kind_that_serves_worse_becomes_png(gateway: Gateway, kind: str) -> None:
    assert send(gateway, encoded(PHOTO, kind)).headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/webp", "image/webp"),
        ("image/*", "image/jpeg"),
        ("image/png;q=0.5, image/webp;q=0.9", "image/webp"),
        ("text/html, image/avif, image/webp, */*;q=0.8", "image/jpeg"),
        ("application/json, */*;q=0.1", "image/jpeg"),
        ("image/jpeg;q=0, image/*", "image/png"),
        ("", "image/jpeg"),
    ],
)
def test_accept_chooses_the_format(gateway: Gateway, accept: str, media_type: str) -> None:
    answer = send(gateway, JPEG, accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type), answer.text
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("accept", ["text/html", "application/json", "image/jxl, video/mp4", "image/*;q=0"])
def test_what_cannot_be_accepted_is_a_406_that_lists_what_there_is(gateway: Gateway, accept: str) -> None:
    answer = send(gateway, JPEG, accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (406, "application/problem+json")
    assert "image/webp" in answer.json()["detail"]


def test_an_option_outranks_accept(gateway: Gateway) -> None:
    assert send(gateway, JPEG, "?format=png", accept="image/webp").headers["content-type"] == "image/png"


def test_headers_say_what_was_done(gateway: Gateway) -> None:
    answer = send(gateway, encoded(PHOTO, "PNG", exif=exif(6)), "?format=jpeg&scale=2")
    headers = answer.headers
    assert headers["edsr-model"] == "edsr_baseline_x3"
    assert headers["edsr-precision"]
    assert float(headers["edsr-seconds"]) > 0
    assert (headers["edsr-input-size"], headers["edsr-output-size"]) == ("24x36", "48x72")
    assert Image.open(io.BytesIO(answer.content)).size == (48, 72)
    assert int(headers["content-length"]) == len(answer.content)
    assert headers["cache-control"] == "private, no-cache"


def test_what_cannot_be_kept_is_a_note(gateway: Gateway) -> None:
    answer = send(gateway, PNG, "?format=png&quality=50")
    assert "no quality setting" in answer.headers["edsr-notes"]
    answer = send(gateway, PNG, "?format=jpeg&png_effort=fast")
    assert "JPEG is not PNG" in answer.headers["edsr-notes"]


def test_an_animation_stays_one(gateway: Gateway) -> None:
    answer = send(gateway, animation("GIF"))
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as moving:
        assert getattr(moving, "n_frames", 1) == 3


def animation(kind: str) -> bytes:
    """Three frames."""
    first, *others = (Image.fromarray(np.full((20, 20, 3), level, np.uint8)) for level in (0, 99, 200))
    return encoded(first, kind, save_all=True, append_images=others, duration=100)


@pytest.mark.parametrize("content", [animation("GIF"), encoded(np.full((9, 9, 4), 90, np.uint8), "PNG")])
def test_a_format_that_cannot_hold_a_picture_is_refused_before_the_work(gateway: Gateway, content: bytes) -> None:
    answer = send(gateway, content, "?format=jpeg")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "JPEG" in answer.json()["detail"]


def test_the_same_question_is_a_304_and_costs_no_work(gateway: Gateway) -> None:
    first = send(gateway, JPEG, "?format=webp")
    again = send(gateway, JPEG, "?format=webp", if_none_match=f'"x", W/{first.headers["etag"]}')
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    others = ("?format=webp&quality=9", "?format=webp&png_effort=fast", "?format=png")
    for content, query in ((PNG, "?format=webp"), *((JPEG, other) for other in others)):
        assert send(gateway, content, query, if_none_match=first.headers["etag"]).status_code == 200


@pytest.mark.parametrize(
    ("name", "ascii_name", "full"),
    [
        ("old.jpg", "old_x3.jpg", None),
        ("../../etc/passwd", "passwd_x3.jpg", None),
        ("C:\\Users\\me\\holiday.png", "holiday_x3.jpg", None),
        ("一张照片.jpg", "_____x3.jpg", "%E4%B8%80%E5%BC%A0%E7%85%A7%E7%89%87_x3.jpg"),
        ('a";evil="b.jpg', "a_evil=b_x3.jpg", None),
        ("..", "picture_x3.jpg", None),
        ("", "picture_x3.jpg", None),
    ],
)
def test_a_result_has_the_name_of_its_picture_and_no_folder(
    gateway: Gateway, name: str, ascii_name: str, full: str | None
) -> None:
    files = {"file": (name, JPEG, "image/jpeg")} if name else {"file": (" ", JPEG)}
    said = gateway.http.post("/v1/upscale", files=files).headers["content-disposition"]
    quoted = re.search(r'filename="([^"]*)"', said)
    assert quoted is not None
    assert "/" not in said.replace("UTF-8''", "")
    assert "\\" not in said
    if "evil" not in name:
        assert quoted[1] == ascii_name
    if full is not None:
        assert said.endswith(f"filename*=UTF-8''{full}")


def test_a_large_upload_and_a_large_result_go_through_files_and_leave_none(
    gateway: Gateway, client: Upscaler, tmp_path: Path
) -> None:
    small = encoded(photo(100, 100), "PNG")
    content = small[:-12] + png_chunk(b"prIv", bytes(1_200_000)) + small[-12:]
    (tmp_path / "in.png").write_bytes(content)
    client.upscale_file(tmp_path / "in.png", tmp_path / "out.bmp", finishing=Finishing(scale=8))
    answer = send(gateway, content, "?format=bmp&scale=8")
    assert len(answer.content) > 1 << 20
    assert answer.content == (tmp_path / "out.bmp").read_bytes()
    assert gateway.under_way() == []


def test_a_model_that_is_not_there_is_a_404_that_names_those_there_are(gateway: Gateway) -> None:
    answer = send(gateway, JPEG, "?model=edsr_x9")
    assert answer.status_code == 404
    assert "edsr_baseline_x3" in answer.json()["detail"]


def test_enhance_says_errors_as_the_replaced_service_did(gateway: Gateway) -> None:
    for files in ({"image": ("x.jpg", b"no picture")}, {"wrong": ("x.jpg", JPEG)}, {"image": ("x.jpg", b"")}):
        answer = gateway.http.post("/enhance", files=files)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
        assert list(answer.json()) == ["error"]
    assert json.loads(gateway.http.post("/enhance").content)["error"]
