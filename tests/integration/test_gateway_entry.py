"""Who may come in, what every answer carries, what the log and the metrics say: a real gateway with keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from edsr_gateway.limits.keys import create, remove
from gateway_processes import Gateway, eventually
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.picture_files import encoded, photo

JPEG = encoded(photo(), "JPEG", quality=90)
ORIGIN = "https://pictures.example"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the keys."""
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def token(file: Path) -> str:
    """Of the key alice."""
    return create("alice", file)


@pytest.fixture(scope="module")
def gateway(server_url: str, file: Path, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that asks for a key, and lets the page of one other origin in."""
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(server_url, folder, keys=str(file), origins=[ORIGIN]) as running:
        assert token
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/enhance"),
        ("POST", "/v1/upscale"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("GET", "/v2/health/ready"),
        ("GET", "/page"),
        ("GET", "/healthz/"),
    ],
)
def test_without_a_key_nothing_is_told(gateway: Gateway, method: str, path: str) -> None:
    for headers in ({}, bearer("edsr_wrong"), {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}):
        answer = gateway.http.request(method, path, content=JPEG if method == "POST" else None, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"].startswith('Bearer realm="edsr-gateway"')
        speaks_old = path.startswith(("/enhance", "/v2"))
        assert list(answer.json()) == ["error"] if speaks_old else answer.json()["status"] == 401


def test_a_key_opens(gateway: Gateway, token: str) -> None:
    for header in (f"Bearer {token}", f"bearer {token}", f"Bearer   {token}"):
        answer = gateway.http.post("/v1/upscale", content=JPEG, headers={"Authorization": header})
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/info"])
def test_what_anybody_may_know_is_open(gateway: Gateway, path: str) -> None:
    assert gateway.http.get(path).status_code == 200
    assert gateway.http.get(path, headers=bearer("edsr_wrong")).status_code == 200


def test_a_key_that_is_made_or_removed_counts_without_a_restart(gateway: Gateway, file: Path) -> None:
    token = create("bob", file)
    assert gateway.http.post("/v1/upscale", content=JPEG, headers=bearer(token)).status_code == 200
    remove("bob", file)
    assert gateway.http.post("/v1/upscale", content=JPEG, headers=bearer(token)).status_code == 401


def test_the_log_names_the_key_and_never_the_token(gateway: Gateway, token: str) -> None:
    headers = {**bearer(token), "X-Request-Id": "order-17"}
    assert gateway.http.post("/v1/upscale?format=webp", content=JPEG, headers=headers).status_code == 200
    log = (gateway.folder / "gateway.log").read_text()
    line = next(line for line in log.splitlines() if "id=order-17" in line)
    first, last = "id=order-17 method=POST route=/v1/upscale status=200", "client=key:alice pixels=864 format=webp"
    assert re.search(rf"{first} seconds=\d+\.\d{{3}} {last}$", line)
    assert token not in log


@pytest.mark.parametrize("given", ["", "a b", "x" * 200, "\x80", "-x", 'a"b'])
def test_an_id_that_is_not_sane_is_replaced(gateway: Gateway, given: str) -> None:
    answer = gateway.http.get("/healthz", headers=[(b"X-Request-Id", given.encode("latin-1"))])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_every_answer_has_the_headers_of_safety(gateway: Gateway, token: str) -> None:
    answers = [
        gateway.http.get("/healthz"),
        gateway.http.get("/nowhere"),
        gateway.http.get("/nowhere", headers=bearer(token)),
        gateway.http.post("/v1/upscale", content=JPEG, headers=bearer(token)),
        gateway.http.post("/v1/upscale", content=b"", headers=bearer(token)),
        gateway.http.post("/enhance", content=b"x", headers=bearer(token)),
        gateway.http.get("/metrics", headers=bearer(token)),
        gateway.http.get(f"/{'a' * 9000}"),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 404, 200, 400, 400, 200, 414]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers


def test_a_page_of_the_origin_that_is_named_may_call_and_no_other(gateway: Gateway, token: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    allowed = gateway.http.options("/v1/upscale", headers={"Origin": ORIGIN, **asked})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    answer = gateway.http.post("/v1/upscale", content=JPEG, headers={"Origin": ORIGIN, **bearer(token)})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "Edsr-Notes" in answer.headers["access-control-expose-headers"]
    refused = gateway.http.post("/v1/upscale", content=JPEG, headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    for other in (f"{ORIGIN}.evil.example", ORIGIN.upper(), "null", "https://evil.example"):
        headers = {"Origin": other, **asked}
        assert "access-control-allow-origin" not in gateway.http.options("/v1/upscale", headers=headers).headers
        headers = {"Origin": other, **bearer(token)}
        assert "access-control-allow-origin" not in gateway.http.get("/v1/info", headers=headers).headers


def test_a_form_that_a_foreign_page_sends_is_refused(gateway: Gateway, token: str) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", **bearer(token)}
    assert gateway.http.post("/enhance", files={"image": JPEG}, headers=headers).status_code == 403
    assert (
        gateway.http.post("/enhance", files={"image": JPEG}, headers={**headers, "Origin": ORIGIN}).status_code == 200
    )


def test_metrics_count_what_was_done(gateway: Gateway, token: str) -> None:
    def counts() -> dict[tuple[str, str, str, str], float]:
        answer = gateway.http.get("/metrics", headers=bearer(token))
        found = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if sample.name == "edsr_gateway_request_seconds_count":
                    one = sample.labels
                    found[one["route"], one["format"], one["outcome"], one["megapixels"]] = sample.value
        return found

    before = counts()
    sent: list[httpx.Response] = [
        gateway.http.post("/v1/upscale?format=avif", content=JPEG, headers=bearer(token)),
        gateway.http.post("/v1/upscale?format=exe", content=JPEG, headers=bearer(token)),
    ]
    assert [answer.status_code for answer in sent] == [200, 400]
    wanted = (("/v1/upscale", "avif", "ok", "0.1"), ("/v1/upscale", "", "refused", ""))
    eventually(lambda: [counts().get(key, 0) - before.get(key, 0) for key in wanted] == [1, 1])


def test_what_is_told_of_the_gateway_is_what_it_keeps(gateway: Gateway) -> None:
    told = gateway.http.get("/v1/info").json()
    assert (told["ready"], told["keys"], told["model"]) == (True, True, "auto")
    (model,) = told["models"]
    assert (model["name"], model["scale"]) == ("edsr_baseline_x3", 3)
    assert model["precision"]
    assert {one["name"] for one in told["formats"]["out"]} >= {"png", "jpeg", "webp"}
    assert next(one for one in told["formats"]["out"] if one["name"] == "jpeg") == {
        "name": "jpeg",
        "media_type": "image/jpeg",
        "extension": ".jpg",
        "lossy": True,
    }
    assert told["limits"]["pixels"] == 50_000_000
    assert str(gateway.folder) not in str(told)
