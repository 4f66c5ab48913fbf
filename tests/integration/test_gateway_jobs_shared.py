"""Two gateways that share a real Redis and a folder: one is killed in mid-job, cancels the other's, or loses Redis."""

from __future__ import annotations

import io
import json
import math
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from edsr_client import Finishing, Upscaler
from edsr_serving import RunningServer, free_ports
from gateway_processes import Gateway, eventually
from PIL import Image
from proxies import Gate
from redis_servers import RedisServer


def picture(seed: int = 0) -> bytes:
    """A PNG of noise."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), *free_ports(1))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def gates(embedded_server: RunningServer) -> Iterator[list[Gate]]:
    """Between each gateway and Triton."""
    with ExitStack() as stack:
        yield [stack.enter_context(Gate(embedded_server.options.http_url, math.inf)) for _ in range(2)]


@pytest.fixture(scope="module")
def both(redis: RedisServer, gates: list[Gate], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    folder = tmp_path_factory.mktemp("shared")
    with ExitStack() as stack:
        yield [stack.enter_context(Gateway(gate.url, folder, redis=redis.url)) for gate in gates]


@pytest.fixture(autouse=True)
def opened(gates: list[Gate]) -> Iterator[None]:
    yield
    for gate in gates:
        gate.left = math.inf


def shut(gates: list[Gate]) -> None:
    for gate in gates:
        gate.left = 0


@pytest.fixture(scope="module")
def upscaled(embedded_server: RunningServer) -> bytes:
    """What the client itself makes of `picture()`."""
    with Upscaler(f"http://{embedded_server.options.http_url}", model="auto") as upscaler:
        content, _ = upscaler.upscale_bytes(picture(), finishing=Finishing(format="png"))
        return content


def holder_of(gateways: list[Gateway], gates: list[Gate]) -> int:
    """Which of them works: its gate has a request for inference that waits."""
    found: list[int] = []

    def is_known() -> bool:
        found[:] = [
            number
            for number, gate in enumerate(gates)
            if any(request.path.endswith("/infer") for request in gate.requests)
        ]
        return len(found) == 1

    eventually(is_known)
    return found[0]


def test_a_job_of_one_is_seen_and_cancelled_by_the_other(both: list[Gateway], gates: list[Gate]) -> None:
    shut(gates)
    for gate in gates:
        gate.requests.clear()
    job_id = both[0].post(picture(1))
    number = holder_of(both, gates)
    worker, other = both[number], both[1 - number]
    other.until(job_id, "running")
    with worker.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        assert other.http.delete(f"/v1/jobs/{job_id}").status_code == 204
        told = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    assert told[-1]["status"] == "cancelled"
    assert other.files() == []
    gates[number].left = math.inf
    following = worker.post(picture())
    other.until(following, "done")
    other.http.delete(f"/v1/jobs/{following}")
    assert worker.result(following).status_code == 410
    eventually(lambda: other.files() == [])


def test_when_one_is_killed_in_mid_job_the_other_finishes_it(
    both: list[Gateway], gates: list[Gate], upscaled: bytes
) -> None:
    shut(gates)
    for gate in gates:
        gate.requests.clear()
    job_id = both[0].post(picture())
    number = holder_of(both, gates)
    other = both[1 - number]
    gates[1 - number].left = math.inf
    with other.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        both[number].kill()
        told = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    assert told[-1]["status"] == "done"
    result = other.result(job_id)
    assert result.content == upscaled
    both[number].start()
    assert both[number].result(job_id).content == upscaled
    both[number].http.delete(f"/v1/jobs/{job_id}")
    assert other.job(job_id)["status"] == "cancelled"
    eventually(lambda: other.files() == [])


def test_redis_goes_away_in_mid_work_and_comes_back(
    both: list[Gateway], gates: list[Gate], redis: RedisServer, upscaled: bytes
) -> None:
    shut(gates)
    job_id = both[0].post(picture())
    both[0].until(job_id, "running")
    with both[1].http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        redis.kill()
        for gateway in both:
            for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", ""), ("POST", None)):
                address = "/v1/jobs" if path is None else f"/v1/jobs/{job_id}{path}"
                away = gateway.http.request(method, address, content=picture())
                assert (away.status_code, away.headers["content-type"]) == (503, "application/problem+json")
                assert away.headers["retry-after"].isdigit()
        for gate in gates:
            gate.left = math.inf
        redis.start()
        told = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    assert told[-1]["status"] == "done", "the stream outlives it"
    assert both[0].result(job_id).content == upscaled
    both[0].http.delete(f"/v1/jobs/{job_id}")


def test_a_gateway_starts_without_redis_and_serves_pictures_meanwhile(
    embedded_server: RunningServer, tmp_path: Path, upscaled: bytes
) -> None:
    server = RedisServer(tmp_path, *free_ports(1))
    with Gateway(f"http://{embedded_server.options.http_url}", tmp_path / "own", redis=server.url) as gateway:
        assert gateway.http.post("/v1/jobs", content=picture()).status_code == 503
        assert gateway.http.post("/v1/upscale?format=png", content=picture()).content == upscaled
        server.start()
        try:
            job_id = gateway.post(picture())
            gateway.until(job_id, "done")
            assert gateway.result(job_id).content == upscaled
            assert gateway.stop() in (0, -signal.SIGTERM)
        finally:
            server.kill()
