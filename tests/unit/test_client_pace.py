"""When the next request is sent to a server that is at work: soon enough, and not sooner."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from edsr_client import AsyncUpscaler, MockTransport
from edsr_client.pace import LEAD_S, Pace
from numpy.typing import NDArray

TILE = {"tile": "64x64", "halo_px": "0"}
IMAGE = np.random.default_rng(0).integers(0, 256, (256, 128, 3), dtype=np.uint8)
SETTLED = 200  # turns of the event loop after which nothing more will happen by itself


class Hesitant(MockTransport):
    """Answers when it is told to, in the order in which requests came."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.waiting: list[asyncio.Event] = []

    async def infer(self, model: str, images: NDArray[np.uint8], **options: Any) -> NDArray[np.uint8]:
        self.waiting.append(asyncio.Event())
        await self.waiting[-1].wait()
        return await super().infer(model, images, **options)


async def settle() -> None:
    for _ in range(SETTLED):
        await asyncio.sleep(0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pixels_per_s", "instances", "at_a_time"), [(1, 1, 1), (1, 3, 3), (10**9, 1, 2), (10**9, 3, 4)]
)
async def test_a_tile_waits_at_a_server_only_when_it_will_soon_be_wanted(
    pixels_per_s: int, instances: int, at_a_time: int
) -> None:
    """At a pixel a second a tile takes an hour: none is sent before the one that is computed is answered."""
    transport = Hesitant(parameters=TILE | {"lr_pixels_per_second": str(pixels_per_s)}, instances=instances)
    async with AsyncUpscaler(transport=transport) as upscaler:
        work = asyncio.ensure_future(upscaler.upscale(IMAGE))
        for answered in range(8):
            await settle()
            assert len(transport.waiting) == min(8, answered + at_a_time)
            transport.waiting[answered].set()
            if pixels_per_s == 1:
                await settle()
                upscaler._servers._servers[0].pace.pixels_per_s = 1  # what the mock has shown is faster
        np.testing.assert_array_equal(await work, IMAGE.repeat(3, 0).repeat(3, 1))


@pytest.mark.anyio
async def test_a_small_picture_is_not_kept_waiting_by_a_large_one_of_the_same_client() -> None:
    transport = Hesitant(parameters=TILE | {"lr_pixels_per_second": "1"})
    async with AsyncUpscaler(transport=transport) as upscaler:
        large = asyncio.ensure_future(upscaler.upscale(IMAGE))
        await settle()
        small = asyncio.ensure_future(upscaler.upscale(IMAGE[:64, :64]))
        for answered in range(3):
            await settle()
            transport.waiting[answered].set()
        await settle()
        assert small.done()
        assert not large.done()
        large.cancel()


@pytest.mark.anyio
async def test_a_server_that_says_nothing_is_known_by_its_answers() -> None:
    transport = MockTransport(parameters={"tile": "128x128", "halo_px": "0"}, delay_s=0.01)
    async with AsyncUpscaler(transport=transport) as upscaler:
        assert upscaler.pixels_per_s is None
        await upscaler.upscale(np.zeros((128, 512, 3), np.uint8))
        assert upscaler.pixels_per_s is not None


def test_the_pace_of_a_server_by_the_times_of_its_answers() -> None:
    pace = Pace(instances=1)
    pace.sent(0, 100_000, now=10.0)
    assert pace.wait_s(10.0) == 0, "of a server that is not known nothing is expected"
    pace.sent(1, 100_000, now=10.0)
    pace.answered(0, 100_000, sent=10.0, now=11.0)
    assert pace.pixels_per_s == 100_000
    pace.answered(1, 100_000, sent=10.0, now=12.0)
    assert pace.pixels_per_s == 100_000, "the second one has waited for the first"
    pace.sent(2, 100_000, now=20.0)
    assert pace.wait_s(20.0) == pytest.approx(1 - LEAD_S)
    pace.sent(3, 100_000, now=20.9)
    assert pace.wait_s(20.9) == pytest.approx(1.1 - LEAD_S), "it begins when the other one ends"
    pace.ended(2)
    pace.ended(3)
    assert pace.wait_s(20.9) == 0
    pace.answered(4, 7000, sent=30.0, now=40.0)
    assert pace.pixels_per_s == 100_000, "small requests say nothing of tiles"
