"""Tiles on a real server: the same picture as untiled, over both protocols, over several servers, while they die."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edsr_client import AsyncUpscaler, ServerUnreachableError, Upscaler
from edsr_client.border import BORDERS, MARGIN_PX, Border
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from numpy.typing import NDArray
from PIL import Image
from proxies import TcpProxy

PROTOCOLS = ("http", "grpc")
# One pixel, strips, primes, several tiles.
SIZES = [(1, 1), (1, 401), (397, 1), (2, 307), (101, 103), (211, 97), (127, 251), (300, 200)]


def url_of(server: RunningServer, protocol: str) -> str:
    return server.options.http_url if protocol == "http" else server.options.grpc_url


def noise(*size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_with_the_exact_halo_tiles_give_what_the_whole_picture_gives_bit_for_bit(
    embedded_server: RunningServer, size: tuple[int, int], border: Border
) -> None:
    image = noise(*size)
    with Upscaler(embedded_server.options.http_url) as upscaler:
        assert upscaler.model_info().inference_precision == "f32"
        whole = upscaler.upscale(image, border=border)
        tiles: list[int] = []
        tiled = upscaler.upscale(image, tile=96, halo="exact", border=border, progress=lambda _, n: tiles.append(n))
    np.testing.assert_array_equal(tiled, whole)
    assert (tiles[0] > 1) == (max(size) > 96)


def test_the_mirror_image_beyond_a_picture_is_that_of_the_whole(embedded_server: RunningServer) -> None:
    """As if a picture were sent that has it already."""
    image = noise(70, 80)
    margin = (MARGIN_PX, MARGIN_PX)
    with Upscaler(embedded_server.options.http_url) as upscaler:
        padded = upscaler.upscale(np.pad(image, (margin, margin, (0, 0)), "symmetric"), border="zero")
        result = upscaler.upscale(image, border="symmetric")
    cut = slice(3 * MARGIN_PX, -3 * MARGIN_PX)
    np.testing.assert_array_equal(result, padded[cut, cut])


@pytest.fixture(scope="module")
def second_server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The embedded model in the precision that suits this processor."""
    run_dir = tmp_path_factory.mktemp("second")
    options = ServerOptions(root / "model_repository", run_dir, models=("edsr_baseline_x3",))
    with start(options.with_ports(*free_ports(3))) as server:
        yield server


def photograph(root: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(root / "demo" / "photograph.png").convert("RGB"))


def test_in_the_served_precision_tiles_differ_by_one_level_at_most(second_server: RunningServer, root: Path) -> None:
    """The exact halo, and the default one, on a photograph."""
    picture = photograph(root)[:300, :400]
    with Upscaler(second_server.options.http_url) as upscaler:
        whole = upscaler.upscale(picture, tile=(300, 400)).astype(int)
        for halo in ("exact", None):
            tiled = upscaler.upscale(picture, tile=128, halo=halo)
            assert np.abs(whole - tiled).max() <= (1 if upscaler.model_info().inference_precision == "f32" else 2)


def test_with_the_default_halo_a_photograph_differs_by_one_level_at_most(
    embedded_server: RunningServer, root: Path
) -> None:
    picture = photograph(root)
    with Upscaler(embedded_server.options.http_url) as upscaler:
        model = upscaler.model_info()
        assert model.best_halo_px is not None
        assert model.halo_px is not None
        assert model.best_halo_px < model.halo_px
        whole, tiled = upscaler.upscale(picture), upscaler.upscale(picture, tile=160)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_a_picture_over_the_servers_limit_is_tiled_without_being_asked(embedded_server: RunningServer) -> None:
    """Its first tile is answered; that tiles make the right whole is tested with smaller ones."""

    class Enough(Exception):  # noqa: N818
        pass

    def first(done: int, total: int) -> None:
        assert total >= 2
        if done:
            raise Enough

    with Upscaler(embedded_server.options.http_url) as upscaler:
        limit = upscaler.model_info().max_lr_pixels
        assert limit is not None
        with pytest.raises(Enough):
            upscaler.upscale(np.zeros((8, limit // 8 + 500, 3), np.uint8), progress=first)


@pytest.mark.anyio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_asynchronous_client_gives_the_same(embedded_server: RunningServer, protocol: str) -> None:
    url = url_of(embedded_server, protocol)
    with Upscaler(url, protocol) as upscaler:
        expected = await asyncio.to_thread(upscaler.upscale, noise(150, 140))
    async with AsyncUpscaler(url, protocol) as async_upscaler:
        pictures = [async_upscaler.upscale(noise(150, 140), tile=100, halo="exact") for _ in range(3)]
        for answer in await asyncio.gather(*pictures):
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_upscaler_serves_many_threads(embedded_server: RunningServer, protocol: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Upscaler(url_of(embedded_server, protocol), protocol) as upscaler:
        expected = {n: upscaler.upscale(noise(20 + n, 30)) for n in range(8)}
        with ThreadPoolExecutor(8) as pool:
            for n, answer in zip(list(range(8)) * 3, pool.map(lambda n: upscaler.upscale(noise(20 + n, 30)), list(range(8)) * 3), strict=True):  # fmt: skip # noqa: E501
                np.testing.assert_array_equal(answer, expected[n])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_dies_in_mid_image_costs_only_its_tiles(
    embedded_server: RunningServer, root: Path, tmp_path: Path, protocol: str
) -> None:
    """Killed with SIGKILL while it works, so that nothing says goodbye."""
    options = replace(embedded_server.options, run_dir=tmp_path / "run").with_ports(*free_ports(3))
    picture = noise(400, 400)
    with Upscaler(url_of(embedded_server, protocol), protocol) as upscaler:
        expected = upscaler.upscale(picture, tile=128, halo="exact")
    with start(options) as dying:
        killer = threading.Event()

        def progress(done: int, total: int) -> None:
            if done == total // 3 and not killer.is_set():
                killer.set()
                dying.process.send_signal(signal.SIGKILL)

        urls = [url_of(dying, protocol), url_of(embedded_server, protocol)]
        with Upscaler(urls, protocol) as upscaler:
            answer = upscaler.upscale(picture, tile=128, halo="exact", progress=progress)
            assert killer.is_set()
            np.testing.assert_array_equal(answer, expected)
            states = [bool(server["error"]) for server in upscaler.server_info()]
            assert states == [True, False]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_goes_and_comes_back_is_waited_for(embedded_server: RunningServer, protocol: str) -> None:
    """Every connection is cut, and new ones are refused for a second, in the middle of a picture."""
    with TcpProxy(url_of(embedded_server, protocol)) as proxy:
        picture = noise(300, 300)

        def progress(done: int, total: int) -> None:
            if done == total // 2 and not proxy.refusing:
                proxy.refusing = True
                threading.Thread(target=restore).start()

        def restore() -> None:
            proxy.cut()
            time.sleep(1)
            proxy.refusing = False

        with Upscaler(proxy.url, protocol) as upscaler:
            expected = upscaler.upscale(picture, tile=128, halo="exact")
            answer = upscaler.upscale(picture, tile=128, halo="exact", progress=progress)
        np.testing.assert_array_equal(answer, expected)
        assert proxy.connections > 1


def test_a_server_that_stays_away_is_given_up(embedded_server: RunningServer) -> None:
    with TcpProxy(embedded_server.options.http_url) as proxy:
        with Upscaler(proxy.url, retries=1) as upscaler:
            upscaler.upscale(noise(10, 10))
            proxy.refusing = True
            proxy.cut()
            with pytest.raises(ServerUnreachableError, match="make serve"):
                upscaler.upscale(noise(10, 10))


@pytest.mark.anyio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_cancelled_picture_leaves_no_task_and_the_server_well(
    embedded_server: RunningServer, protocol: str
) -> None:
    async with AsyncUpscaler(url_of(embedded_server, protocol), protocol) as upscaler:
        await upscaler.upscale(noise(8, 8))
        before = asyncio.all_tasks()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(upscaler.upscale(noise(600, 600), tile=96), 0.3)
        assert asyncio.all_tasks() == before
        assert (await upscaler.upscale(noise(8, 8))).shape == (24, 24, 3)
