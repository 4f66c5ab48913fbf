"""More requests than a server can answer: refused at once and clearly, and nothing else suffers."""

from __future__ import annotations

import http.client
import json
import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from edsr_client import ServerBusyError, Upscaler
from edsr_perf.analyzer.metrics import metrics_of
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from numpy.typing import NDArray

MODEL = "edsr_baseline_x3"
WAITING = 3
PICTURE = np.random.default_rng(7).integers(0, 256, (160, 160, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The embedded model with room for three waiting requests."""
    folder: Path = tmp_path_factory.mktemp("overload")
    copy = folder / "model_repository" / MODEL
    (copy / "1").mkdir(parents=True)
    for name in ("1/model.onnx", "1/model.json"):
        shutil.copy2(root / "model_repository" / MODEL / name, copy / name)
    config = (root / "model_repository" / MODEL / "config.pbtxt").read_text("utf-8")
    assert 'string_value: "32"' in config
    (copy / "config.pbtxt").write_text(config.replace('string_value: "32"', f'string_value: "{WAITING}"'), "utf-8")
    options = ServerOptions(repository=copy.parent, run_dir=folder / "run", precision="f32")
    with start(options.with_ports(*free_ports(3))) as server:
        yield server


def answered(server: RunningServer) -> NDArray[np.uint8]:
    with Upscaler(server.options.http_url) as upscaler:
        return upscaler.upscale(PICTURE)


def test_what_finds_the_queue_full_is_refused_and_the_rest_is_answered_rightly(server: RunningServer) -> None:
    expected = answered(server)
    upscalers = [Upscaler(server.options.http_url, retries=0) for _ in range(12)]

    def one(upscaler: Upscaler) -> str:
        try:
            np.testing.assert_array_equal(upscaler.upscale(PICTURE), expected)
        except ServerBusyError as error:
            return "refused" if "Exceeds maximum queue size: 3" in str(error) else str(error)
        return "answered"

    with ThreadPoolExecutor(12) as pool:
        found = Counter(pool.map(one, upscalers))
    for upscaler in upscalers:
        upscaler.close()
    assert found["answered"] >= WAITING + 1
    assert found["refused"] >= 1
    assert found.total() == 12
    np.testing.assert_array_equal(answered(server), expected)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.options.metrics_port}/metrics") as response:
        counted = metrics_of(response.read().decode(), MODEL)
    assert counted["edsr_queue_full_count"] == found["refused"]
    # the first that waited did so for about one inference, the second for two, the third for three
    mean_us = counted["edsr_compute_duration_us"] / counted["nv_inference_request_success"]
    assert counted["edsr_queue_duration_us"] > 2 * mean_us


def test_a_client_that_tries_again_gets_everything(server: RunningServer) -> None:
    expected = answered(server)

    def one(_: int) -> NDArray[np.uint8]:
        with Upscaler(server.options.http_url, retries=12) as upscaler:
            return upscaler.upscale(PICTURE)

    with ThreadPoolExecutor(10) as pool:
        for answer in pool.map(one, range(10)):
            np.testing.assert_array_equal(answer, expected)


def test_the_refusal_is_503(server: RunningServer) -> None:
    host, port = server.options.http_url.split(":")
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1, *PICTURE.shape],
                    "datatype": "UINT8",
                    "parameters": {"binary_data_size": PICTURE.nbytes},
                }
            ],
            "outputs": [{"name": "upscaled", "parameters": {"binary_data": True}}],
        }
    ).encode()
    body = header + PICTURE.tobytes()

    def one(_: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        path = f"/v2/models/{MODEL}/infer"
        connection.request("POST", path, body, {"Inference-Header-Content-Length": str(len(header))})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(one, range(12)))
    assert {status for status, _ in found} == {200, 503}
    assert all(b"maximum queue size" in content for status, content in found if status == 503)


def test_a_server_that_is_stopped_answers_what_waits(root: Path, server: RunningServer, tmp_path: Path) -> None:
    expected = answered(server)
    repository = server.options.repository
    options = ServerOptions(repository=repository, run_dir=tmp_path / "run", precision="f32")
    with start(options.with_ports(*free_ports(3))) as other, ThreadPoolExecutor(3) as pool:

        def one(_: int) -> NDArray[np.uint8]:
            with Upscaler(other.options.http_url, retries=0) as upscaler:
                return upscaler.upscale(PICTURE)

        first = pool.submit(one, 0)
        first.result()
        waiting = [pool.submit(one, index) for index in range(3)]
        log = other.log
        end = time.monotonic() + 20
        while log.read_text("utf-8", errors="replace").count("request ") < 1 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.05)
        other.stop()
        answers = [each.result() for each in waiting if each.exception() is None]
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)
    assert "Traceback" not in log.read_text("utf-8", errors="replace")
