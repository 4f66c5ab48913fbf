"""Retries, several servers, cancelling, threads: against servers in memory that misbehave on purpose."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import edsr_client.servers
import numpy as np
import pytest
from edsr_client import (
    AccessDeniedError,
    AsyncUpscaler,
    BadImageError,
    EdsrError,
    MockTransport,
    ModelContractError,
    ModelNotFoundError,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
    Upscaler,
)
from edsr_client.retrying import RetryPolicy, is_transient
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.picture_files import encoded

TILED = {"tile": "32x32", "halo_px": "2"}
IMAGE = np.random.default_rng(0).integers(0, 256, (150, 90, 3), dtype=np.uint8)
EXPECTED = IMAGE.repeat(3, axis=0).repeat(3, axis=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are a hundredth of what they are."""
    whole = RetryPolicy.delay_s
    monkeypatch.setattr(RetryPolicy, "delay_s", lambda self, attempt: whole(self, attempt) / 100)


class Failing:
    """A handler that raises what it is told, in turn, and answers when there is nothing left to raise."""

    def __init__(self, *errors: EdsrError | None) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self, images: Any) -> Any:
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error
        return images.repeat(3, axis=1).repeat(3, axis=2)


def always(error: EdsrError) -> Any:
    def handler(images: Any) -> Any:
        raise error

    return handler


@pytest.mark.parametrize("error", [ServerUnreachableError, ServerNotReadyError, ServerBusyError])
def test_a_tile_that_failed_for_a_passing_reason_is_sent_again_and_only_that_one(error: type[EdsrError]) -> None:
    server = MockTransport(Failing(None, error("gone"), error("gone")), parameters=TILED)
    with Upscaler(transport=server) as upscaler:
        tiles: list[int] = []
        np.testing.assert_array_equal(upscaler.upscale(IMAGE, progress=lambda _, n: tiles.append(n)), EXPECTED)
    assert len(server.requests) == tiles[0] + 2
    assert len({name for name, _ in server.requests}) == tiles[0]


@pytest.mark.parametrize(
    "error", [RequestRefusedError, ModelNotFoundError, AccessDeniedError, ServerTimeoutError, BadImageError]
)
def test_what_will_fail_again_is_not_sent_again(error: type[EdsrError]) -> None:
    server = MockTransport(always(error("no")))
    with Upscaler(transport=server) as upscaler, pytest.raises(error):
        upscaler.upscale(IMAGE)
    assert len(server.requests) == 1


def test_retries_are_bounded() -> None:
    server = MockTransport(always(ServerBusyError("full")))
    with Upscaler(transport=server, retries=3) as upscaler, pytest.raises(ServerBusyError):
        upscaler.upscale(IMAGE)
    assert len(server.requests) == 4


@given(st.integers(1, 200))
def test_pauses_grow_to_a_limit_and_differ(attempt: int) -> None:
    policy = RetryPolicy(first_delay_s=1.0, longest_delay_s=10.0)
    delays = [inspect.unwrap(RetryPolicy.delay_s)(policy, attempt) for _ in range(20)]
    assert all(0 < delay <= 10 for delay in delays)
    assert len(set(delays)) > 1


def test_a_timeout_is_repeated_only_elsewhere() -> None:
    assert not is_transient(ServerTimeoutError("late"), other_servers=False)
    assert is_transient(ServerTimeoutError("late"), other_servers=True)


def test_tiles_are_spread_over_all_servers() -> None:
    servers = [MockTransport(parameters=TILED, url=f"s{n}", delay_s=0.002) for n in range(3)]
    with Upscaler(transport=servers) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(IMAGE), EXPECTED)
    counts = [len(server.requests) for server in servers]
    assert min(counts) >= 2
    assert sum(counts) == len({name for server in servers for name, _ in server.requests})


def test_a_result_names_the_servers_that_had_a_part_in_it() -> None:
    tiled = TILED | {"tile": "64x64"}
    servers = [MockTransport(parameters=tiled, url=f"s{n}", delay_s=0.002) for n in range(2)]
    servers.append(MockTransport(parameters=tiled | {"source_sha256": "other"}, url="left out"))
    large, small = (encoded(IMAGE[:side, :side], "PNG") for side in (None, 64))
    with Upscaler(transport=servers) as upscaler:
        assert upscaler.upscale_bytes(large)[1].servers == ["s0", "s1"]
        assert upscaler.upscale_bytes(small)[1].servers == ["s0"]


def test_verbosity_says_what_is_sent_and_what_is_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    server = MockTransport(Failing(None, ServerBusyError("busy")), parameters=TILED, url="box")
    with caplog.at_level("INFO", "edsr_client"), Upscaler(transport=server) as upscaler:
        upscaler.upscale(IMAGE)
    count, (_, height, width, _) = len(server.requests) - 1, server.requests[0][1]
    assert f"{count} requests of {width}x{height} px" in caplog.text
    assert caplog.text.count(f": {width}x{height} px by box in ") == count
    assert caplog.text.count("failed, attempt 1: busy") == 1


def test_the_tiles_in_flight_are_bounded_by_the_instances() -> None:
    server = MockTransport(parameters=TILED, instances=2, delay_s=0.002)
    with Upscaler(transport=server) as upscaler:
        upscaler.upscale(IMAGE)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(upscaler.upscale, [IMAGE] * 4))
    assert server.most_in_flight == 3


def test_a_server_that_dies_in_mid_image_costs_only_its_tiles() -> None:
    dying = MockTransport(Failing(None, None, *[ServerUnreachableError("dead")] * 1000), parameters=TILED, url="a")
    well = MockTransport(parameters=TILED, url="b", delay_s=0.001)
    with Upscaler(transport=[dying, well]) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(IMAGE), EXPECTED)
    assert len(well.requests) > len(dying.requests)


def test_a_server_that_comes_back_is_used_again() -> None:
    weak = MockTransport(Failing(ServerUnreachableError("dead")), parameters=TILED, url="a", delay_s=0.002)
    well = MockTransport(parameters=TILED, url="b", delay_s=0.002)
    with Upscaler(transport=[weak, well]) as upscaler:
        for _ in range(10):
            upscaler.upscale(IMAGE)
    assert len(weak.requests) > 5


class Unreachable(MockTransport):
    async def server_metadata(self) -> dict[str, Any]:
        raise ServerUnreachableError(f"{self.url} is off")


def test_a_server_that_is_off_from_the_start_is_done_without() -> None:
    well = MockTransport(parameters=TILED)
    with Upscaler(transport=[Unreachable(url="off"), well]) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(IMAGE), EXPECTED)
        assert [bool(server["error"]) for server in upscaler.server_info()] == [True, False]
    with Upscaler(transport=[Unreachable(url="x"), Unreachable(url="y")]) as upscaler:
        with pytest.raises(ServerUnreachableError, match="x is off"):
            upscaler.upscale(IMAGE)


def test_a_server_with_other_weights_gets_no_tile(caplog: pytest.LogCaptureFixture) -> None:
    right = MockTransport(parameters={**TILED, "source_sha256": "a" * 64}, url="right")
    wrong = MockTransport(parameters={**TILED, "source_sha256": "b" * 64}, url="wrong")
    with Upscaler(transport=[right, wrong]) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(IMAGE), EXPECTED)
    assert not wrong.requests
    assert "wrong is left out" in caplog.text
    assert "other weights" in caplog.text


def test_the_limits_of_the_smallest_server_hold_for_all() -> None:
    large = MockTransport(parameters={"tile": "512x512", "halo_px": "2", "max_lr_pixels": "262144"})
    small = MockTransport(parameters={"tile": "32x40", "halo_px": "2", "max_lr_pixels": "1280"}, url="small")
    with Upscaler(transport=[large, small]) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(IMAGE), EXPECTED)
    shapes = {shape for server in (large, small) for _, shape in server.requests}
    assert all(shape[1] * shape[2] <= 1280 for shape in shapes)


class Starting(MockTransport):
    """Not ready the first times it is asked."""

    asked = 0

    async def model_ready(self, model: str) -> bool:
        self.asked += 1
        if self.asked < 4:
            raise ServerNotReadyError("loading")
        return await super().model_ready(model)


def test_a_server_that_starts_is_waited_for() -> None:
    with Upscaler(transport=Starting()) as upscaler:
        assert upscaler.upscale(IMAGE).shape == EXPECTED.shape


class Silent(MockTransport):
    """Takes requests and never answers, as a machine does that lost its power."""

    async def infer(self, *args: Any, **kwargs: Any) -> Any:
        await super().infer(*args, **kwargs)
        await asyncio.sleep(3600)

    async def server_live(self) -> bool:
        raise ServerTimeoutError("no answer")


def test_a_server_that_falls_silent_is_given_up_long_before_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edsr_client.servers, "HEARTBEAT_S", 0.01)
    well = MockTransport(parameters=TILED, url="well")
    with Upscaler(transport=[Silent(parameters=TILED, url="silent"), well]) as upscaler:
        np.testing.assert_array_equal(upscaler.upscale(IMAGE), EXPECTED)
    with Upscaler(transport=Silent(), retries=1) as upscaler:
        with pytest.raises(ServerUnreachableError, match="stopped answering"):
            upscaler.upscale(IMAGE)


def test_an_answer_of_another_shape_is_refused() -> None:
    with Upscaler(transport=MockTransport(lambda images: images)) as upscaler:
        with pytest.raises(RequestRefusedError, match="answered uint8"):
            upscaler.upscale(IMAGE)


def test_a_model_of_another_contract_is_named_with_what_differs() -> None:
    server = MockTransport()
    server.config["input"][0] |= {"name": "pixels", "data_type": "TYPE_FP32"}
    with Upscaler(transport=server) as upscaler, pytest.raises(ModelContractError, match="input is pixels, not image"):
        upscaler.upscale(IMAGE)
    server = MockTransport()
    server.config["output"][0]["data_type"] = "TYPE_FP32"
    with Upscaler(transport=server) as upscaler, pytest.raises(ModelContractError, match="upscaled is FP32"):
        upscaler.upscale(IMAGE)


@pytest.mark.anyio
async def test_cancelling_leaves_nothing_running() -> None:
    before = asyncio.all_tasks()
    server = MockTransport(parameters=TILED, delay_s=3600)
    async with AsyncUpscaler(transport=server) as upscaler:
        task = asyncio.ensure_future(upscaler.upscale(IMAGE))
        while server.in_flight < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.in_flight == 0
        assert asyncio.all_tasks() == before
        server._delay_s = 0
        np.testing.assert_array_equal(await upscaler.upscale(IMAGE), EXPECTED)  # no slot was lost


@pytest.mark.anyio
async def test_a_failure_ends_the_other_tiles() -> None:
    before = asyncio.all_tasks()
    server = MockTransport(Failing(None, RequestRefusedError("no")), parameters=TILED, instances=4)
    async with AsyncUpscaler(transport=server) as upscaler:
        with pytest.raises(RequestRefusedError):
            await upscaler.upscale(IMAGE)
        assert server.in_flight == 0
        assert asyncio.all_tasks() == before


@pytest.mark.anyio
async def test_many_tasks_share_one_upscaler() -> None:
    server = MockTransport(parameters=TILED, delay_s=0.001)
    async with AsyncUpscaler(transport=server) as upscaler:
        for answer in await asyncio.gather(*(upscaler.upscale(IMAGE) for _ in range(8))):
            np.testing.assert_array_equal(answer, EXPECTED)
    assert server.most_in_flight == 2


def test_many_threads_share_one_upscaler() -> None:
    pictures = [np.full((20 + n, 30, 3), n, np.uint8) for n in range(24)]
    with Upscaler(transport=MockTransport(parameters=TILED, delay_s=0.001)) as upscaler, ThreadPoolExecutor(8) as pool:
        for number, answer in enumerate(pool.map(upscaler.upscale, pictures)):
            assert answer.shape == (3 * (20 + number), 90, 3)
            assert (answer == number).all()


def test_progress_counts_every_tile_once() -> None:
    seen: list[tuple[int, int]] = []
    with Upscaler(transport=MockTransport(parameters=TILED)) as upscaler:
        upscaler.upscale(IMAGE, progress=lambda done, total: seen.append((done, total)))
    total = seen[0][1]
    assert seen == [(done, total) for done in range(total + 1)]
    assert total > 4


def test_a_closed_upscaler_says_so_and_its_thread_is_gone() -> None:
    with Upscaler(transport=MockTransport()) as upscaler:
        upscaler.upscale(IMAGE)
    assert not [thread for thread in threading.enumerate() if thread.name == "edsr-client"]
    upscaler.close()
    with pytest.raises(RuntimeError, match="closed"):
        upscaler.upscale(IMAGE)


def test_both_upscalers_have_the_same_methods_and_arguments() -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_") or name == "__init__"}
        return {name: list(inspect.signature(one).parameters) for name, one in found.items() if callable(one)}

    assert surface(Upscaler) == surface(AsyncUpscaler)


def test_every_error_of_a_server_is_a_server_error_with_an_exit_code() -> None:
    kinds: list[type[ServerError]] = [
        ServerError,
        *ServerError.__subclasses__(),
        *ServerUnreachableError.__subclasses__(),
    ]
    assert all(kind.exit_code >= 5 for kind in kinds)


@pytest.mark.parametrize(
    ("tile", "halo", "words"),
    [
        (0, None, "tile must be"),
        (16, "exact", None),
        (8, 4, "larger tile"),
        (4096, None, "over what"),
        (16, -1, "halo"),
    ],
)
def test_tiles_and_halos_that_cannot_be_are_refused(tile: int, halo: Any, words: str | None) -> None:
    server = MockTransport(parameters={**TILED, "max_lr_pixels": "10000"})
    with Upscaler(transport=server) as upscaler:
        if words is None:
            np.testing.assert_array_equal(upscaler.upscale(IMAGE, tile=tile, halo=halo), EXPECTED)
        else:
            with pytest.raises(ValueError, match=words):
                upscaler.upscale(IMAGE, tile=tile, halo=halo)
            assert not server.requests


def test_a_model_that_says_no_halo_is_not_guessed_about() -> None:
    server = MockTransport(parameters={"tile": "32x32"})
    del server.config["parameters"]["halo_px"]
    with Upscaler(transport=server) as upscaler:
        with pytest.raises(EdsrError, match="does not say its halo"):
            upscaler.upscale(IMAGE)
        np.testing.assert_array_equal(upscaler.upscale(IMAGE, halo=0), EXPECTED)
