"""The way to a real server: TLS, tokens, shared memory, busy and wrong servers, request ids."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from aiohttp import web
from edsr_client import (
    AccessDeniedError,
    EdsrError,
    ModelContractError,
    NotTritonError,
    RequestRefusedError,
    ServerBusyError,
    ServerUnreachableError,
    Upscaler,
)
from edsr_serving import RunningServer
from numpy.typing import NDArray
from proxies import HttpProxy, TcpProxy

PROTOCOLS = ("http", "grpc")
PICTURE = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def url_of(server: RunningServer, protocol: str) -> str:
    return server.options.http_url if protocol == "http" else server.options.grpc_url


@pytest.fixture(scope="module")
def expected(embedded_server: RunningServer) -> NDArray[Any]:
    with Upscaler(embedded_server.options.http_url) as upscaler:
        return upscaler.upscale(PICTURE)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """A certificate authority, and its certificate in a file."""
    ca, path = trustme.CA(), tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return ca, path


@pytest.fixture(params=PROTOCOLS)
def tls_server(
    request: pytest.FixtureRequest, embedded_server: RunningServer, authority: tuple[trustme.CA, Path]
) -> Iterator[tuple[str, str]]:
    """(protocol, URL) of the real server behind TLS, as behind a proxy in production."""
    protocol = request.param
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("localhost", "127.0.0.1").configure_cert(context)
    if protocol == "grpc":
        context.set_alpn_protocols(["h2"])
    with TcpProxy(url_of(embedded_server, protocol), context) as proxy:
        yield protocol, f"{protocol}s://localhost:{proxy.port}"


def test_tls_with_an_authority_of_ones_own(
    tls_server: tuple[str, str], authority: tuple[trustme.CA, Path], expected: NDArray[Any]
) -> None:
    protocol, url = tls_server
    with Upscaler(url, protocol, ca_file=authority[1]) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(PICTURE), expected)


def test_an_unknown_authority_is_not_trusted(tls_server: tuple[str, str]) -> None:
    protocol, url = tls_server
    with Upscaler(url, protocol, retries=0) as upscaler:
        with pytest.raises(ServerUnreachableError, match=r"certificate of .* is not trusted.*--ca-file"):
            upscaler.upscale(PICTURE)


def test_verification_can_be_switched_off_for_http(
    embedded_server: RunningServer, authority: tuple[trustme.CA, Path], expected: NDArray[Any]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("elsewhere.example").configure_cert(context)
    with TcpProxy(embedded_server.options.http_url, context) as proxy:
        with Upscaler(f"https://127.0.0.1:{proxy.port}", verify=False) as upscaler:
            np.testing.assert_array_equal(upscaler.upscale(PICTURE), expected)


async def wants_a_token(request: web.Request) -> web.StreamResponse | None:
    if request.headers.get("Authorization") != "Bearer secret":
        return web.Response(status=401, text="who are you?")
    return None


def test_a_bearer_token_opens_the_way_and_its_lack_is_said(
    embedded_server: RunningServer, expected: NDArray[Any]
) -> None:
    with HttpProxy(embedded_server.options.http_url, wants_a_token) as proxy:
        with Upscaler(proxy.url, token="secret", headers={"X-Team": "a"}) as upscaler:
            np.testing.assert_array_equal(upscaler.upscale(PICTURE), expected)
        assert {request.headers["X-Team"] for request in proxy.requests} == {"a"}
        for token in (None, "wrong"):
            with Upscaler(proxy.url, token=token) as upscaler, pytest.raises(AccessDeniedError, match="--token"):
                upscaler.upscale(PICTURE)


def test_a_prefix_of_a_proxy_is_kept(embedded_server: RunningServer) -> None:
    seen = []

    async def under_a_prefix(request: web.Request) -> web.StreamResponse | None:
        seen.append(request.path)
        return web.json_response({"error": "not here"}, status=404)

    with HttpProxy(embedded_server.options.http_url, under_a_prefix) as proxy:
        with Upscaler(f"{proxy.url}/models/edsr") as upscaler, pytest.raises(EdsrError):
            upscaler.upscale(PICTURE)
    assert seen == ["/models/edsr/v2"]


class Busy:
    """Refuses the first inferences as Triton does with a full queue."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith("/infer") and self.times > 0:
            self.times -= 1
            return web.json_response({"error": "Exceeds maximum queue size"}, status=503)
        return None


def test_a_busy_server_is_asked_again(embedded_server: RunningServer, expected: NDArray[Any]) -> None:
    with HttpProxy(embedded_server.options.http_url, Busy(3)) as proxy, Upscaler(proxy.url) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(PICTURE), expected)
    with HttpProxy(embedded_server.options.http_url, Busy(99)) as proxy, Upscaler(proxy.url, retries=1) as upscaler:
        with pytest.raises(ServerBusyError, match="Try again"):
            upscaler.upscale(PICTURE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_memory_gives_the_same_and_leaves_nothing_behind(
    embedded_server: RunningServer, expected: NDArray[Any], protocol: str
) -> None:
    import tritonclient.http as triton

    server = triton.InferenceServerClient(embedded_server.options.http_url)
    said = json.loads((embedded_server.options.run_dir / "server.key").read_text("utf-8"))
    key = {said["http_header"]: said["key"]}
    before = server.get_system_shared_memory_status(headers=key)
    url = url_of(embedded_server, protocol)
    with Upscaler(url, protocol, shared_memory=True) as upscaler:
        for _ in range(2):
            np.testing.assert_array_equal(upscaler.upscale(PICTURE), expected)
        tiled = upscaler.upscale(np.tile(PICTURE, (4, 4, 1)), tile=80)
        assert tiled.shape == (480, 600, 3)
        transport: Any = upscaler._async._servers._servers[0].transport
        assert transport.uses_shared_memory
        assert not list(Path("/dev/shm").glob("edsr-client-*"))  # noqa: S108
    assert server.get_system_shared_memory_status(headers=key) == before


async def no_shared_memory(request: web.Request) -> web.StreamResponse | None:
    """As tritonserver answers since 26.04 without --allow-client-shm."""
    if "systemsharedmemory" in request.path:
        return web.json_response({"error": "system shared memory registration is disabled"}, status=400)
    return None


def test_a_server_without_shared_memory_is_a_note_and_no_failure(
    embedded_server: RunningServer, expected: NDArray[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with HttpProxy(embedded_server.options.http_url, no_shared_memory) as proxy:
        with Upscaler(proxy.url, shared_memory=True) as upscaler:
            np.testing.assert_array_equal(upscaler.upscale(PICTURE), expected)
            large = upscaler.upscale(np.tile(PICTURE, (4, 4, 1)), tile=80)
    assert large.shape == (480, 600, 3)
    assert caplog.text.count("shared memory cannot be used") == 1


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_web_server_that_is_not_triton_is_called_so(embedded_server: RunningServer, status: int) -> None:
    async def web_page(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>Welcome</html>", content_type="text/html")

    with HttpProxy(embedded_server.options.http_url, web_page) as proxy, Upscaler(proxy.url) as upscaler:
        with pytest.raises(NotTritonError, match="--url"):
            upscaler.upscale(PICTURE)


def answer_of(outputs: object, body: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    header = json.dumps({"outputs": outputs}).encode()
    return header + body, {"Inference-Header-Content-Length": length or str(len(header))}


def output(**changes: object) -> dict[str, object]:
    size = {"binary_data_size": 120 * 150 * 9 * 3}
    return {"name": "upscaled", "datatype": "UINT8", "shape": [1, 360, 450, 3], "parameters": size, **changes}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((b"[]", {}), "Inference-Header-Content-Length is missing"),
        ((b"", {"Inference-Header-Content-Length": "9999999999"}), "is 9999999999"),
        ((b"{}", {"Inference-Header-Content-Length": "2"}), "not JSON with outputs"),
        ((b"\xff\x00", {"Inference-Header-Content-Length": "2"}), "not JSON with outputs"),
        (answer_of([1], b""), "no list of objects"),
        (answer_of([output()], b"short"), "ends after 5 of 486,000 bytes"),
        (answer_of([output()], b"", "3000"), "ends after"),
        (answer_of([output(parameters={})], b""), "no binary_data_size"),
    ],
)
def test_an_answer_that_makes_no_sense_is_called_so(
    embedded_server: RunningServer, answer: tuple[bytes, dict[str, str]], words: str
) -> None:
    async def odd(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=answer[0], headers=answer[1]) if request.path.endswith("/infer") else None

    with HttpProxy(embedded_server.options.http_url, odd) as proxy, Upscaler(proxy.url) as upscaler:
        with pytest.raises(NotTritonError, match=words):
            upscaler.upscale(np.zeros((120, 150, 3), np.uint8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {"binary_data_size": 1 << 62}}, "in 4,611,686,018,427,387,904 bytes"),
        ({"shape": [1, -360, 450, 3]}, r"answered UINT8 \[1, -360, 450, 3\]"),
        ({"shape": [1, 360, 451, 3]}, r"not UINT8 \[1, 360, 450, 3\]"),
        ({"datatype": "FP32"}, "answered FP32"),
    ],
)
def test_an_output_of_another_size_is_refused_unread(
    embedded_server: RunningServer, changes: dict[str, object], words: str
) -> None:
    body, headers = answer_of([output(**changes)], bytes(486_000))

    async def odd(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=body, headers=headers) if request.path.endswith("/infer") else None

    with HttpProxy(embedded_server.options.http_url, odd) as proxy, Upscaler(proxy.url) as upscaler:
        with pytest.raises(RequestRefusedError, match=words):
            upscaler.upscale(np.zeros((120, 150, 3), np.uint8))


def test_an_answer_without_our_output_is_called_so(embedded_server: RunningServer) -> None:
    body, headers = answer_of([output(name="other")], bytes(486_000))

    async def other(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=body, headers=headers) if request.path.endswith("/infer") else None

    with HttpProxy(embedded_server.options.http_url, other) as proxy, Upscaler(proxy.url) as upscaler:
        with pytest.raises(RequestRefusedError, match="without the output 'upscaled'"):
            upscaler.upscale(np.zeros((120, 150, 3), np.uint8))


def test_a_proxy_that_compresses_unasked_does_no_harm(embedded_server: RunningServer) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (1, 360, 450, 3), dtype=np.uint8)
    body, headers = answer_of([output()], pixels.tobytes())

    async def compressed(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/infer"):
            return None
        return web.Response(body=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"})

    with HttpProxy(embedded_server.options.http_url, compressed) as proxy, Upscaler(proxy.url) as upscaler:
        noise = np.random.default_rng(4).integers(0, 256, (120, 150, 3), dtype=np.uint8)  # flat areas are kept flat
        np.testing.assert_array_equal(upscaler.upscale(noise), pixels[0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_other_protocols_port_is_called_so(embedded_server: RunningServer, protocol: str) -> None:
    other = embedded_server.options.grpc_url if protocol == "http" else embedded_server.options.http_url
    with Upscaler(other, protocol, retries=0) as upscaler:
        with pytest.raises(ServerUnreachableError, match=r"800[01] is .*--protocol (grpc|http)") as told:
            upscaler.upscale(PICTURE)
    assert "\\x" not in str(told.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tls_where_there_is_none_is_called_so(embedded_server: RunningServer, protocol: str) -> None:
    with Upscaler(f"{protocol}s://{url_of(embedded_server, protocol)}", protocol, retries=0) as upscaler:
        with pytest.raises(ServerUnreachableError, match="does not speak TLS. Without TLS write http:// or grpc"):
            upscaler.upscale(PICTURE)


def test_another_model_of_a_real_server_is_refused_with_what_differs(embedded_server: RunningServer) -> None:
    async def renamed(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/config"):
            return None
        tensor = {"data_type": "TYPE_FP32", "dims": [3, 224, 224]}
        config = {"name": "resnet", "max_batch_size": 8, "input": [{"name": "data", **tensor}], "output": []}
        return web.json_response(config)

    with HttpProxy(embedded_server.options.http_url, renamed) as proxy:
        with Upscaler(proxy.url, model="edsr_baseline_x3") as upscaler:
            with pytest.raises(ModelContractError, match="input is data, not image"):
                upscaler.upscale(PICTURE)


def test_a_request_id_stands_in_both_logs(embedded_server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    import re

    with caplog.at_level("DEBUG", "edsr_client"), Upscaler(embedded_server.options.http_url) as upscaler:
        upscaler.upscale(PICTURE, tile=40, halo=4)
    ours = set(re.findall(r"edsr-[0-9a-f]{8}-\d+", caplog.text))
    assert len(ours) >= 2
    log = embedded_server.log.read_text("utf-8")
    assert all(f"request {name}: 1x" in log for name in ours)
