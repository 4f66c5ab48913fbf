"""Callers of the replaced service as they are: their programs, their errors, their pages; and docs/moving-over.md."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from edsr_client import Finishing, Upscaler
from gateway_processes import Gateway
from PIL import Image

from tests.unit.picture_files import encoded, exif, photo

PHOTO = photo(30, 40)
URL = "http://localhost:5000"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


@pytest.fixture(scope="module")
def enhance(gateway: Gateway) -> str:
    """The old address."""
    return f"{gateway.http.base_url}/enhance"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_program_that_posts_a_file_gets_a_png_of_three_times_the_size(
    enhance: str, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "old").write_bytes(encoded(PHOTO, kind))
    with (tmp_path / "old").open("rb") as picture:
        answer = requests.post(enhance, files={"image": picture}, timeout=120)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("PNG", (120, 90))


@pytest.mark.parametrize(
    "files",
    [
        {"image": ("photo.jpg", encoded(PHOTO, "JPEG"))},
        {"image": ("photo.jpg", encoded(PHOTO, "JPEG"), "application/octet-stream")},
        {"image": ("\u7167\u7247.jpg", encoded(PHOTO, "JPEG"), "image/jpeg")},
        {"image": ("image", io.BytesIO(encoded(PHOTO, "JPEG")), "image/jpg")},
    ],
)
def test_every_way_to_name_a_file_will_do(enhance: str, server_url: str, files: dict[str, tuple[str, bytes]]) -> None:
    with Upscaler(server_url, model="auto") as upscaler:
        wanted, _ = upscaler.upscale_bytes(encoded(PHOTO, "JPEG"), finishing=Finishing(format="png"))
    assert requests.post(enhance, files=files, timeout=120).content == wanted


def test_a_form_of_the_old_page_gets_a_png_whatever_the_browser_can_show(enhance: str) -> None:
    headers = {"Accept": BROWSER, "Origin": enhance.removesuffix("/enhance"), "Sec-Fetch-Site": "same-origin"}
    answer = requests.post(enhance, files={"image": encoded(PHOTO, "JPEG")}, headers=headers, timeout=120)
    assert answer.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    "files",
    [
        None,
        {"file": ("x.jpg", encoded(PHOTO, "JPEG"))},
        {"image": ("", b"")},
        {"image": ("x.txt", b"no picture")},
        {"image": ("x.jpg", encoded(PHOTO, "JPEG")[:300])},
        {"image": ("x.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")},
    ],
)
def test_what_the_sender_can_mend_is_a_400_with_words_in_json(
    enhance: str, files: dict[str, tuple[str, bytes]] | None
) -> None:
    answer = requests.post(enhance, files=files, timeout=120)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/json")
    assert list(answer.json()) == ["error"]
    assert len(answer.json()["error"]) > 10


def test_a_picture_that_is_too_large_is_a_400_with_the_limit(enhance: str) -> None:
    large = encoded(Image.new("1", (60_000, 1000)), "PNG")
    answer = requests.post(enhance, files={"image": large}, timeout=120)
    assert answer.status_code == 400
    assert "50,000,000" in answer.json()["error"]


def test_a_wrong_method_is_a_405_with_words_in_json(enhance: str) -> None:
    answer = requests.get(enhance, timeout=60)
    assert (answer.status_code, list(answer.json())) == (405, ["error"])


def test_curls_form_works_as_it_did(enhance: str, tmp_path: Path) -> None:
    (tmp_path / "old.jpg").write_bytes(encoded(PHOTO, "JPEG"))
    for form in ("image=@old.jpg", "image=@old.jpg;type=image/jpeg", "image=@old.jpg;filename=../x y.jpg"):
        command = ["curl", "--silent", "--show-error", "--fail", "-F", form, enhance, "-o", "new.png"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
        with Image.open(tmp_path / "new.png") as image:
            assert image.size == (120, 90)


def test_a_turned_picture_comes_out_turned_as_opencv_did_it(enhance: str) -> None:
    answer = requests.post(enhance, files={"image": encoded(PHOTO, "JPEG", exif=exif(6))}, timeout=120)
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (90, 120)
        assert image.getexif().get(0x0112, 1) == 1


def test_the_documents_commands_do_what_they_say(gateway: Gateway, root: Path, tmp_path: Path) -> None:
    text = (root / "docs" / "moving-over.md").read_text("utf-8").replace(URL, str(gateway.http.base_url))
    (tmp_path / "old.jpg").write_bytes(encoded(PHOTO, "JPEG"))
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        command = [sys.executable, "-c", block] if language == "python" else ["sh", "-e", "-c", block]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    sizes = {}
    for path in tmp_path.glob("new*"):
        with Image.open(path) as image:
            sizes[path.name] = (image.format, image.size)
    assert sizes == {
        "new.png": ("PNG", (120, 90)),
        "new.webp": ("WEBP", (120, 90)),
        "new_x2.jpg": ("JPEG", (80, 60)),
    }


def test_the_documents_options_and_limits_are_those_there_are(root: Path) -> None:
    from edsr_gateway.cli import OPTIONS
    from edsr_gateway.limits.limits import Limits
    from edsr_gateway.routes.options import NAMES

    text = (root / "docs" / "moving-over.md").read_text("utf-8")
    limits = re.findall(r"--limit ([a-z_]+)=|`([a-z_]+)=`", text)
    assert {one or other for one, other in limits} <= set(Limits.__dataclass_fields__)
    flags = {flag for flag in re.findall(r"`[^`]*?(--[a-z][a-z-]+)", text) if flag not in ("--limit", "--help")}
    assert flags <= {option.flag for option in OPTIONS}
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(NAMES)
