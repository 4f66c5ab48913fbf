"""More requests than a server can answer: refused at once and clearly, and nothing else suffers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from commands import Run, assert_one_line_error
from edsr_client import ServerBusyError, Upscaler
from edsr_perf.analyzer.metrics import metrics_of
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from edsr_serving.heartbeat import read_beats
from edsr_serving.probe import state_of_model
from edsr_serving.processes import backends_of, wait_for
from edsr_serving.watch import counters
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
            return "refused" if "Exceeds maximum queue size" in str(error) else str(error)
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
    assert counted["nv_inference_pending_request_count"] == 0
    # the first that waited did so for about one inference, the second for two, the third for three
    mean_us = counted["nv_inference_compute_infer_duration_us"] / counted["nv_inference_request_success"]
    assert counted["nv_inference_queue_duration_us"] > 2 * mean_us


def test_tritons_durations_are_those_of_a_client(server: RunningServer) -> None:
    """Of requests one after the other, and of many at once: what is neither queue nor computing is next to nothing."""

    def counted() -> dict[str, float]:
        url = f"http://127.0.0.1:{server.options.metrics_port}/metrics"
        with urllib.request.urlopen(url) as response:
            return metrics_of(response.read().decode(), MODEL)

    body, headers = request_of(PICTURE)

    def timed(connection: http.client.HTTPConnection) -> float:
        started = time.perf_counter()
        connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
        assert connection.getresponse().read()
        return time.perf_counter() - started

    connections = [http.client.HTTPConnection(server.options.http_url) for _ in range(3)]
    timed(connections[0])
    time.sleep(0.5)  # Triton counts a request when it is released, which may be a moment after its answer
    for at_once in (1, 3):
        before = counted()
        with ThreadPoolExecutor(at_once) as pool:
            client_s = sum(pool.map(timed, connections[:at_once] * 3 if at_once == 1 else connections))
        time.sleep(0.5)
        grown = {name: value - before.get(name, 0.0) for name, value in counted().items()}
        assert grown["nv_inference_request_success"] == 3
        whole_s = grown["nv_inference_request_duration_us"] / 1e6
        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        parts_s = sum(grown[f"nv_inference_{part}_duration_us"] for part in parts) / 1e6
        assert 0.8 * client_s < whole_s < 1.05 * client_s  # within 5% on a quiet machine
        assert 0.95 * whole_s < parts_s <= 1.001 * whole_s


def test_what_waits_is_counted_and_a_full_queue_is_in_the_log(server: RunningServer) -> None:
    body, headers = request_of(np.zeros((700, 700, 3), np.uint8))
    connections = [http.client.HTTPConnection(server.options.http_url) for _ in range(8)]
    for connection in connections:
        connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
    assert wait_for(lambda: pending(server) >= WAITING, 60)
    assert wait_for(lambda: f"the queue of {MODEL} is full" in server.log.read_text("utf-8"), 60)
    for connection in connections:
        connection.close()
    assert wait_for(lambda: pending(server) == 0, 60)


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_requests_whose_clients_have_gone_are_not_computed(server: RunningServer, pause_s: float) -> None:
    """HTTP, whose clients Triton does not watch: seven connections closed at once, and then one that waits."""
    body, headers = request_of(PICTURE)
    before = server.log.read_text("utf-8").count("client has gone")
    for _ in range(2):
        connections = [http.client.HTTPConnection(server.options.http_url) for _ in range(4)]
        for connection in connections:
            connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
        time.sleep(0.02)
        for connection in connections:
            connection.close()
        time.sleep(pause_s)
        assert answered(server).shape == (480, 480, 3)
    assert server.log.read_text("utf-8").count("client has gone") - before >= 6


def test_a_grpc_request_that_is_cancelled_is_not_computed(server: RunningServer) -> None:
    import tritonclient.grpc as triton

    tensor = triton.InferInput("image", [1, *PICTURE.shape], "UINT8")
    tensor.set_data_from_numpy(PICTURE[None])
    with triton.InferenceServerClient(server.options.grpc_url) as client:
        calls = [
            client.async_infer(MODEL, [tensor], lambda result, error: None, request_id=f"cancelled-{n}")
            for n in range(3)
        ]
        assert wait_for(lambda: pending(server) >= 1, 60)
        for call in calls:
            call.cancel()
        assert wait_for(lambda: pending(server) == 0, 60)
    assert answered(server).shape == (480, 480, 3)
    assert "request cancelled-2: 1x160x160x3, done" not in server.log.read_text("utf-8")


def test_a_client_that_still_waits_is_never_taken_for_gone(server: RunningServer) -> None:
    """Many that close, and many that do not, over the same server: each of these is answered, or told to try again."""
    body, headers = request_of(PICTURE[:40, :40])
    end = time.monotonic() + 4

    def leaving(_: int) -> None:
        while time.monotonic() < end:
            connection = http.client.HTTPConnection(server.options.http_url)
            connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
            time.sleep(0.01)
            connection.close()

    def waiting(_: int) -> set[int]:
        seen = set()
        connection = http.client.HTTPConnection(server.options.http_url, timeout=60)
        while time.monotonic() < end:
            connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
            response = connection.getresponse()
            response.read()
            seen.add(response.status)
        return seen

    with ThreadPoolExecutor(4) as pool:
        gone = [pool.submit(leaving, index) for index in range(2)]
        statuses = [pool.submit(waiting, index) for index in range(2)]
        assert set.union(*(each.result() for each in statuses)) <= {200, 503}
        for each in gone:
            each.result()


def test_a_large_request_nobody_waits_for_is_given_up(server: RunningServer) -> None:
    expected = answered(server)
    body, headers = request_of(np.zeros((1200, 1200, 3), np.uint8))
    connection = http.client.HTTPConnection(server.options.http_url)
    connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
    beats = server.options.run_dir / "heartbeats"
    assert wait_for(lambda: any(beat.lr_pixels == 1200 * 1200 for beat in read_beats(beats)), 60)
    is_well, text = state_of_model(server.options, MODEL, beats, timeout_s=0.5)
    assert is_well
    assert "busy with a request of 1,440,000 pixels" in text
    connection.close()
    assert wait_for(lambda: not any(beat.is_busy for beat in read_beats(beats)), 60)
    assert "given up, the client has gone" in server.log.read_text("utf-8")
    for _ in range(2):  # each instance
        np.testing.assert_array_equal(answered(server), expected)


def pending(server: RunningServer) -> int:
    """Requests that wait, as Triton says; -1 if it does not say."""
    found = counters(server.options)
    return -1 if found is None else found.pending[MODEL]


def request_of(image: NDArray[np.uint8]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a bare request, as any HTTP client would send it."""
    tensor = {"name": "image", "shape": [1, *image.shape], "datatype": "UINT8"}
    header = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": image.nbytes}}]}).encode()
    return header + image.tobytes(), {"Inference-Header-Content-Length": str(len(header))}


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


def test_the_doctor_names_a_full_queue(run: Run, server: RunningServer) -> None:
    body, headers = request_of(np.zeros((1500, 1500, 3), np.uint8))
    connections = [http.client.HTTPConnection(server.options.http_url) for _ in range(8)]
    for connection in connections:
        connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
    assert wait_for(lambda: pending(server) >= WAITING, 60)
    told = run("edsr_client", "doctor", "--url", server.options.http_url)
    for connection in connections:
        connection.close()
    assert (told.returncode, "its queue is full" in told.stdout) == (6, True), told.stdout
    assert wait_for(lambda: pending(server) == 0, 60)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_the_doctor_names_a_dead_or_stopped_backend(
    run: Run, server: RunningServer, tmp_path: Path, number: signal.Signals
) -> None:
    """Of a server that nobody watches over: Triton says that it is ready."""
    options = ServerOptions(repository=server.options.repository, run_dir=tmp_path / "run", precision="f32")
    with start(options.with_ports(*free_ports(3))) as other:
        other.guard.close()
        for pid in backends_of(other.process.pid):
            os.kill(pid, number)
        told = run("edsr_client", "doctor", "--url", other.options.http_url)
        assert told.returncode in (5, 6), told.stdout
        assert "FAIL answer: one pixel is not answered" in told.stdout
        assert not state_of_model(other.options, MODEL, tmp_path / "run" / "heartbeats", timeout_s=1.0)[0]
        other.end()


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


def test_a_stop_says_how_many_requests_it_cut_off(run: Run, server: RunningServer, tmp_path: Path) -> None:
    options = ServerOptions(repository=server.options.repository, run_dir=tmp_path / "run").with_ports(*free_ports(3))
    ports = sum(((f"--{name.lower()}-port", port) for name, port in options.ports.items()), ())
    places = ("--repository", options.repository, "--run-dir", options.run_dir)
    assert run("edsr_serving", "start", *places, *ports).returncode == 0
    body, headers = request_of(np.zeros((1800, 1800, 3), np.uint8))
    connections = [http.client.HTTPConnection(options.http_url) for _ in range(2)]
    for connection in connections:
        connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
    assert wait_for(lambda: any(beat.is_busy for beat in read_beats(options.run_dir / "heartbeats")), 60)
    stopped = run("edsr_serving", "stop", "--run-dir", options.run_dir, "--exit-timeout", "0.5")
    assert_one_line_error(stopped, 9, "2 request(s) were cut off")
    assert "--exit-timeout" in stopped.stderr
    for connection in connections:
        connection.close()
    assert run("edsr_serving", "status", *places).returncode == 3
