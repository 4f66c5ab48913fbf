"""/v2 of a real gateway: stock clients get what Triton itself answers, and nothing unsound reaches it."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.http as triton
from gateway_processes import Gateway, eventually

MODEL = "edsr_baseline_x3"
INFER = f"/v2/models/{MODEL}/infer"
PIXELS = np.random.default_rng(3).integers(0, 256, (1, 31, 45, 3), dtype=np.uint8)
LARGE = np.random.default_rng(4).integers(0, 256, (1, 300, 350, 3), dtype=np.uint8)


def stock(url: str) -> triton.InferenceServerClient:
    """The client that everybody has."""
    return triton.InferenceServerClient(url.removeprefix("http://").rstrip("/"), network_timeout=120)


def tensor(pixels: np.ndarray[Any, Any] = PIXELS, *, binary: bool = True) -> triton.InferInput:
    """The input of a request."""
    found = triton.InferInput("image", list(pixels.shape), "UINT8")
    found.set_data_from_numpy(pixels, binary_data=binary)
    return found


@pytest.fixture(scope="module")
def both(gateway: Gateway, server_url: str) -> tuple[triton.InferenceServerClient, triton.InferenceServerClient]:
    """Triton itself, and the gateway."""
    return stock(server_url), stock(str(gateway.http.base_url))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_a_stock_client_gets_what_triton_answers(both: tuple[Any, Any], binary: bool, binary_out: bool) -> None:
    outputs = [triton.InferRequestedOutput("upscaled", binary_data=binary_out)]
    answers = [one.infer(MODEL, [tensor(binary=binary)], outputs=outputs, request_id="seven") for one in both]
    direct, through = (answer.as_numpy("upscaled") for answer in answers)
    np.testing.assert_array_equal(direct, through)
    assert answers[1].get_response()["id"] == "seven"
    assert answers[0].get_response() == answers[1].get_response()


def test_a_large_tensor_goes_through_unchanged(both: tuple[Any, Any]) -> None:
    direct, through = (one.infer(MODEL, [tensor(LARGE)]).as_numpy("upscaled") for one in both)
    np.testing.assert_array_equal(direct, through)


def test_a_stock_client_learns_the_same_of_server_and_model(both: tuple[Any, Any]) -> None:
    direct, through = both
    assert through.is_server_live()
    assert through.is_server_ready()
    assert through.is_model_ready(MODEL)
    assert not through.is_model_ready("nobody")
    assert direct.get_server_metadata() == through.get_server_metadata()
    assert direct.get_model_metadata(MODEL, "1") == through.get_model_metadata(MODEL, "1")
    assert direct.get_model_config(MODEL) == through.get_model_config(MODEL)
    assert through.get_inference_statistics(MODEL)["model_stats"][0]["name"] == MODEL


@pytest.mark.parametrize(
    "shape",
    [
        [1, 1 << 20, 1 << 20, 3],
        [8, 1 << 40, 1 << 40, 3],
        [1, -1, 45, 3],
        [1, 0, 45, 3],
        [1, 31, 46, 3],
        [10**30, 1, 1, 3],
        [1, 31.0, 45, 3],
        [1, "31", 45, 3],
        [9, 1, 1, 3],
    ],
)
def test_a_shape_that_lies_is_a_400_and_the_server_stays_ready(gateway: Gateway, shape: list[Any]) -> None:
    content = PIXELS.tobytes()
    for size in (len(content), 1 << 50):
        parameters = {"binary_data_size": size}
        one = {"name": "image", "shape": shape, "datatype": "UINT8", "parameters": parameters}
        head = json.dumps({"inputs": [one]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answer = gateway.http.post(INFER, content=head + content, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]
    assert gateway.http.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/repository/index", 404),
        ("POST", f"/v2/repository/models/{MODEL}/unload", 404),
        ("GET", "/v2/systemsharedmemory/status", 404),
        ("POST", "/v2/systemsharedmemory/region/x/register", 404),
        ("GET", "/v2/cudasharedmemory/status", 404),
        ("GET", "/v2/trace/setting", 404),
        ("POST", "/v2/logging", 404),
        ("POST", f"/v2/models/{MODEL}/generate", 404),
        ("GET", f"/v2/models/{MODEL}/versions/1/trace/setting", 404),
        ("POST", f"/v2/models/{MODEL}/stats", 405),
        ("GET", INFER, 405),
        ("GET", "/v2/models/..%2f..%2fmetrics", 404),
        ("GET", f"/v2/models/{MODEL}/versions/latest", 404),
        ("POST", "/v2/models/nobody/infer", 404),
    ],
)
def test_nothing_else_is_passed_on(gateway: Gateway, method: str, path: str, status: int) -> None:
    answer = gateway.http.request(method, path, content=b"{}" if method == "POST" else None)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Encoding": "gzip"}, b"x", 415),
        ({"Inference-Header-Content-Length": "-1"}, b"{}", 400),
        ({"Inference-Header-Content-Length": "3"}, b"{}", 400),
        ({"Inference-Header-Content-Length": "1e3"}, b"{}", 400),
        ({}, b"", 400),
        ({}, b"[" * 100_000, 400),
        ({}, b"0" * (9 << 20), 413),
        ({"Inference-Header-Content-Length": "70000"}, b" " * 80_000, 400),
    ],
)
def test_a_body_is_bounded_and_plain(gateway: Gateway, headers: dict[str, str], content: bytes, status: int) -> None:
    answer = gateway.http.post(INFER, content=content, headers=headers)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)


def test_a_body_of_unknown_length_is_refused(gateway: Gateway) -> None:
    assert gateway.http.post(INFER, content=iter([b"{}"])).status_code == 411


def test_more_bytes_than_are_allowed_are_refused_before_they_come(gateway: Gateway) -> None:
    answer = _raw(gateway, f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_who_goes_away_in_the_middle_leaves_nothing(gateway: Gateway) -> None:
    one = {"name": "image", "shape": [1, 300, 350, 3], "datatype": "UINT8"}
    head = json.dumps({"inputs": [one | {"parameters": {"binary_data_size": LARGE.nbytes}}]}).encode()
    start = (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(head) + LARGE.nbytes}\r\n"
        f"Inference-Header-Content-Length: {len(head)}\r\n\r\n"
    ).encode()
    for part in (LARGE.tobytes()[:1000], LARGE.tobytes()[:-1], LARGE.tobytes()):
        with socket.create_connection(_place(gateway)) as connection:
            connection.sendall(start + head + part)
    eventually(gateway.is_at_rest)
    assert gateway.http.get("/readyz").status_code == 200


def test_ids_for_tracing_go_through(tmp_path: Path) -> None:
    """A server of our own stands where Triton would, to see what reaches it."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            shape = {"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}
            self._answer(
                json.dumps({"inputs": [shape], "outputs": [{"name": "upscaled"}], "max_batch_size": 8}).encode()
            )

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(dict(self.headers))
            self._answer(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ids = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    with Gateway(f"http://127.0.0.1:{server.server_port}", tmp_path / "gateway") as gateway:
        body = {"inputs": [{"name": "image", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [1, 2, 3]}]}
        sent = {
            **ids,
            "X-Request-Id": "r-1",
            "Cookie": "secret",
            "Authorization": "Bearer mine",
            "Accept-Encoding": "gzip",
        }
        answer = gateway.http.post("/v2/models/any/infer", json=body, headers=sent)
    server.shutdown()
    assert answer.status_code == 200
    (headers,) = ({name.lower(): value for name, value in one.items()} for one in seen)
    assert ids.items() <= headers.items()
    assert headers["x-request-id"] == "r-1"
    assert not {"cookie", "authorization", "accept-encoding"} & set(headers)


def test_a_triton_that_is_away_is_a_503_in_its_own_form(tmp_path: Path) -> None:
    with Gateway("http://127.0.0.1:9", tmp_path / "gateway") as gateway:
        for answer in (gateway.http.get("/v2/health/ready"), gateway.http.post(INFER, content=b"{}")):
            assert (answer.status_code, bool(answer.json()["error"])) == (503, True)
            assert answer.headers["retry-after"].isdigit()


def test_the_real_perf_analyzer_measures_through_the_gateway(gateway: Gateway, root: Path, tmp_path: Path) -> None:
    from edsr_perf.analyzer.tool import find_tool
    from edsr_perf.errors import ToolError

    try:
        tool = find_tool(root / ".venv" / "perf_analyzer", lambda _: None)
    except ToolError as error:
        pytest.skip(f"perf_analyzer cannot be had: {error}")
    command = [*tool, "-m", MODEL, "-u", str(gateway.http.base_url).removeprefix("http://").rstrip("/")]
    command += ["--shape", "image:16,16,3", "--measurement-mode", "count_windows", "--measurement-request-count", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Throughput" in done.stdout


def _place(gateway: Gateway) -> tuple[str, int]:
    parts = urlsplit(str(gateway.http.base_url))
    return str(parts.hostname), int(parts.port or 80)


def _raw(gateway: Gateway, content: bytes) -> bytes:
    with socket.create_connection(_place(gateway), timeout=60) as connection:
        connection.sendall(content)
        return connection.recv(4096)
