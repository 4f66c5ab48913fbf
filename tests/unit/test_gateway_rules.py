"""Rules of the gateway that need no process: addresses, formats, classes of metrics."""

from __future__ import annotations

import pytest
from edsr_gateway.errors import Problem
from edsr_gateway.limits.admission import Admission
from edsr_gateway.limits.identity import address_of
from edsr_gateway.limits.kinds import is_video
from edsr_gateway.limits.limits import Limits
from edsr_gateway.metrics import megapixels, outcome
from edsr_gateway.routes.negotiation import chosen_format, default_format
from edsr_gateway.routes.options import shown_name
from edsr_gateway.routes.pictures import disposition

from tests.unit.picture_files import encoded, photo


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("9.9.9.9", [], [], "9.9.9.9"),
        ("9.9.9.9", ["1.1.1.1"], [], "9.9.9.9"),
        ("127.0.0.1", ["1.1.1.1"], ["127.0.0.1"], "1.1.1.1"),
        ("127.0.0.1", ["6.6.6.6, 1.1.1.1"], ["127.0.0.1"], "1.1.1.1"),
        ("127.0.0.1", ["6.6.6.6", "1.1.1.1, 10.0.0.2"], ["127.0.0.1", "10.0.0.0/8"], "1.1.1.1"),
        ("127.0.0.1", ["nonsense"], ["127.0.0.1"], "127.0.0.1"),
        ("127.0.0.1", [], ["127.0.0.1"], "127.0.0.1"),
        ("", ["1.1.1.1"], ["127.0.0.1"], ""),
    ],
)
def test_an_address_is_what_the_last_proxy_that_is_trusted_saw(
    peer: str, forwarded: list[str], trusted: list[str], address: str
) -> None:
    assert address_of(peer, forwarded, trusted) == address


@pytest.mark.parametrize(
    ("accept", "default", "chosen"),
    [
        (None, "jpeg", "jpeg"),
        ("*/*", "jpeg", "jpeg"),
        ("image/webp;q=0.9, image/png;q=0.95", "jpeg", "png"),
        ("image/webp;q=nonsense, image/png;q=0.1", "jpeg", "png"),
        ("image/webp;q=7, image/png;q=0.1", "jpeg", "png"),
        ("IMAGE/WEBP", "jpeg", "webp"),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "png", "png"),
    ],
)
def test_the_format_is_what_is_liked_best(accept: str | None, default: str, chosen: str) -> None:
    assert chosen_format(accept, default) == chosen


def test_nothing_that_is_accepted_is_a_406() -> None:
    with pytest.raises(Problem) as caught:
        chosen_format("text/plain", "png")
    assert caught.value.status == 406


@pytest.mark.parametrize(
    ("kind", "frames", "format_"),
    [
        ("jpeg", 1, "jpeg"),
        ("gif", 1, "png"),
        ("gif", 5, "webp"),
        ("png", 5, "png"),
        ("ppm", 1, "png"),
        ("avif", 2, "webp"),
    ],
)
def test_a_result_has_a_kind_that_holds_it(kind: str, frames: int, format_: str) -> None:
    assert default_format(kind, frames) == format_


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM"])
def test_a_picture_is_no_video(kind: str) -> None:
    assert not is_video(encoded(photo(), kind)[:64])


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI LIST", b"\0\0\x01\xba", b"\0\0\0\x14ftypqt  "]
)
def test_a_video_is_one(head: bytes) -> None:
    assert is_video(head + bytes(64))


def test_classes_of_metrics_are_few() -> None:
    assert [megapixels(pixels) for pixels in (None, 1, 300_000, 300_001, 10**9)] == ["", "0.1", "0.3", "1", "more"]
    assert [outcome(status) for status in (200, 202, 304, 400, 429, 499, 503)] == [
        *("ok", "ok", "unchanged", "refused", "busy", "gone", "failed")
    ]


@pytest.mark.parametrize("name", ["", "..", "/", "\\", "\u202e", "<>\"'`&", "\0"])
def test_a_name_without_anything_to_show_is_the_picture(name: str) -> None:
    assert shown_name(name) in ("the picture", "..")
    assert 'filename="picture_x3.png"' in disposition(name, "png")


def test_results_that_nobody_reads_are_counted_per_client() -> None:
    admission = Admission(Limits(in_flight=4, in_flight_per_client=1))
    held = [admission.result("a") for _ in range(4)]
    for one in held:
        one.__enter__()
    with pytest.raises(Problem) as caught, admission.result("a"):
        pass
    assert caught.value.status == 429
    with admission.result("b"):
        assert admission.results == 5
    for one in held:
        one.__exit__(None, None, None)
    assert admission.results == 0
