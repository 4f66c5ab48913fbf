"""Clients that leave or stall, workers that die or hang, gateways that are killed: each costs itself, and no more."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from gateway_processes import Gateway, alive, eventually

from tests.unit.picture_files import encoded, photo

JPEG = encoded(photo(), "JPEG", quality=90)
# Some seconds of work.
LARGE = encoded(np.random.default_rng(7).integers(0, 256, (600, 600, 3), dtype=np.uint8), "PNG")
# Little work, and a result that no buffer of a socket holds.
SMALL = encoded(photo(300, 300), "PNG")
BULKY, BULKY_BYTES = "?format=bmp&scale=9", 2700 * 2700 * 3
UPLOAD_BYTES = 5_000_000
STALL_S = 2


@pytest.fixture(scope="module")
def gateway(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One worker, and little patience."""
    limits = {"stall_s": STALL_S, "upload_s": 20}
    with Gateway(server_url, tmp_path_factory.mktemp("gateway"), limits=limits) as running:
        yield running


@pytest.fixture(autouse=True)
def _all_is_well_afterwards(gateway: Gateway) -> Iterator[None]:
    yield
    eventually(gateway.is_at_rest)
    assert gateway.http.post("/v1/upscale", content=JPEG).status_code == 200


def connected(gateway: Gateway, head: bytes = b"", body: bytes = b"") -> socket.socket:
    """A connection over which something went."""
    connection = socket.create_connection((gateway.http.base_url.host, gateway.http.base_url.port or 0), timeout=60)
    connection.sendall(head + body)
    return connection


def head(length: int, query: str = "") -> bytes:
    """Of a request with a picture."""
    return f"POST /v1/upscale{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def count(gateway: Gateway, name: str) -> float:
    """A figure of /metrics."""
    lines = gateway.http.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"edsr_gateway_{name} ")).split()[1])


def test_a_client_that_leaves_while_it_uploads_leaves_no_file(gateway: Gateway) -> None:
    with connected(gateway, head(UPLOAD_BYTES), bytes(UPLOAD_BYTES // 2)):
        eventually(lambda: bool(gateway.under_way()))
        assert count(gateway, "uploads_in_flight") == 1
    eventually(lambda: gateway.under_way() == [])


def test_a_client_that_leaves_while_it_waits_or_is_worked_for_frees_its_place(gateway: Gateway) -> None:
    with connected(gateway, head(len(LARGE)), LARGE) as first:
        eventually(lambda: count(gateway, "pictures_busy") == 1)
        with connected(gateway, head(len(JPEG)), JPEG):
            eventually(lambda: count(gateway, "pictures_waiting") == 1)
        eventually(lambda: count(gateway, "pictures_waiting") == 0)
        assert count(gateway, "pictures_busy") == 1
        replaced = count(gateway, "pictures_replaced")
        first.close()
    eventually(lambda: count(gateway, "pictures_busy") == 0)
    assert count(gateway, "pictures_replaced") == replaced + 1


def test_a_client_that_leaves_while_it_receives_leaves_no_file(gateway: Gateway) -> None:
    with connected(gateway, head(len(SMALL), BULKY), SMALL) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert gateway.under_way()
    eventually(lambda: gateway.under_way() == [])


def test_a_client_that_does_not_read_is_cut_off(gateway: Gateway) -> None:
    with connected(gateway, head(len(SMALL), BULKY), SMALL) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        eventually(lambda: count(gateway, "results_in_flight") == 0)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1 << 20):
                pass


def test_a_client_that_reads_slowly_gets_all_of_it(gateway: Gateway) -> None:
    with connected(gateway, head(len(SMALL), BULKY), SMALL) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        got = 0
        pauses = 0
        while got < BULKY_BYTES:
            piece = connection.recv(1 << 20)
            assert piece, f"it ended after {got:,} bytes"
            got += len(piece)
            if got > 6_000_000 * (pauses + 1):
                pauses += 1
                time.sleep(STALL_S * 0.7)
    assert pauses == 3


@pytest.mark.parametrize("sent", [0, 1000, 2_500_000])
def test_an_upload_that_stalls_is_a_408(gateway: Gateway, sent: int) -> None:
    with connected(gateway, head(UPLOAD_BYTES), bytes(sent)) as connection:
        answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"application/problem+json" in answer


@pytest.mark.parametrize("sent", [b"", b"POST /v1/ups", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_header_that_does_not_end_is_cut_off(gateway: Gateway, sent: bytes) -> None:
    with connected(gateway, sent) as connection, contextlib.suppress(ConnectionResetError):
        assert connection.recv(100) == b""


def test_two_hundred_stalled_uploads_keep_nobody_out(gateway: Gateway) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(200):
            held.enter_context(connected(gateway, head(100_000), b"x"))
        assert gateway.http.get("/healthz").status_code == 200
        assert gateway.http.post("/v1/upscale", content=JPEG).status_code in (200, 429)
        assert count(gateway, "pictures_busy") == 0


def test_a_worker_that_is_killed_costs_its_own_request(gateway: Gateway) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gateway.http.post, "/v1/upscale?format=png", content=LARGE)
        eventually(lambda: count(gateway, "pictures_busy") == 1)
        second = pool.submit(gateway.http.post, "/v1/upscale", content=JPEG)
        eventually(lambda: count(gateway, "pictures_waiting") == 1)
        for worker in gateway.workers():
            os.kill(worker, signal.SIGKILL)
        assert (first.result().status_code, second.result().status_code) == (422, 200)
        assert "died" in first.result().json()["detail"]
    eventually(lambda: len(gateway.workers()) >= 2)


def test_workers_that_die_at_rest_are_missed_by_nobody(gateway: Gateway) -> None:
    for _ in range(3):
        for worker in gateway.workers():
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: not any(map(alive, gateway.workers())))
        assert gateway.http.post("/v1/upscale", content=JPEG).status_code == 200


def test_a_worker_that_hangs_is_given_up_and_replaced(server_url: str, tmp_path: Path) -> None:
    with Gateway(server_url, tmp_path / "gateway", limits={"picture_s": 5}) as own, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(own.http.post, "/v1/upscale?format=png", content=LARGE)
        eventually(lambda: count(own, "pictures_busy") == 1)
        stopped = own.workers()
        for worker in stopped:
            os.kill(worker, signal.SIGSTOP)
        answer = hanging.result()
        for worker in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        assert answer.status_code == 504
        assert answer.headers["retry-after"]
        assert own.http.post("/v1/upscale", content=JPEG).status_code == 200
        eventually(own.is_at_rest)


def test_a_gateway_that_is_killed_leaves_no_worker_and_the_next_one_no_file(server_url: str, tmp_path: Path) -> None:
    own = Gateway(server_url, tmp_path / "gateway")
    with own:

        def send() -> None:
            with contextlib.suppress(httpx.TransportError):
                own.http.post("/v1/upscale?format=png", content=LARGE)

        sending = threading.Thread(target=send)
        sending.start()
        eventually(lambda: count(own, "pictures_busy") == 1)
        workers = own.workers()
        assert len(workers) == 3
        assert own.under_way()
        own.kill()
        assert not any(map(alive, workers))
        sending.join()
        assert own.under_way(), "it cannot tidy up any more"
        own.start()
        assert own.under_way() == []
        assert len(list((own.folder / "scratch").glob("*/lock"))) == 1
        assert own.http.post("/v1/upscale", content=JPEG).status_code == 200


def test_a_gateway_that_is_told_to_end_answers_first(server_url: str, tmp_path: Path) -> None:
    with Gateway(server_url, tmp_path / "gateway") as own, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(own.http.post, "/v1/upscale", content=LARGE)
        eventually(lambda: count(own, "pictures_busy") == 1)
        workers = own.workers()
        assert own.stop() in (0, -signal.SIGTERM)
        assert answer.result().status_code == 200
        assert not any(map(alive, workers))
        assert not list((own.folder / "scratch").glob("*/*"))
