"""Lists of jobs, in an SQLite file and in a real Redis: both do the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from edsr_gateway.jobs.job import FINISHED, GONE, LIVE, Job
from edsr_gateway.jobs.redis_store import RedisStore
from edsr_gateway.jobs.sqlite_store import SqliteStore
from edsr_gateway.jobs.store import LEASE_S, Bounds, Change, FullError, Store, StoreAwayError, When
from edsr_gateway.settings import Settings
from edsr_serving.server import free_ports
from redis import Redis
from redis_servers import RedisServer

WIDE = Bounds(1000, 1000, 1_000_000)
ENDED = Change("done", 100, {"holder": ""})
pytestmark = pytest.mark.anyio
Opening = Callable[[], Store]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), *free_ports(1))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens the same empty list, as often as it is called."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "jobs.sqlite3")
    url = request.getfixturevalue("redis_server").url
    with Redis.from_url(url) as connection:
        connection.flushall()
    return lambda: RedisStore(url)


@pytest.fixture
async def stores(opening: Opening) -> AsyncIterator[list[Store]]:
    """The same list, as two gateways see it."""
    async with AsyncExitStack() as stack:
        both = [opening(), opening()]
        for one in both:
            stack.push_async_callback(one.close)
        yield both


@pytest.fixture
def store(stores: list[Store]) -> Store:
    return stores[0]


def job(number: int, client: str = "anna", size: int = 10) -> Job:
    return Job(f"{number:032x}", client, time.time(), {"kind": "picture", "scale": 2.5}, "grün, 猫.png", bytes=size)


@pytest.mark.parametrize("one", [job(1), job(2, "", 0), job(3, "2001:db8::1 *,'\"{}")])
async def test_a_job_comes_out_as_it_went_in(stores: list[Store], one: Job) -> None:
    await stores[0].add(one, WIDE)
    found = await stores[1].get(one.id)
    assert found is not None
    assert (found.work, found.name, found.client, found.bytes) == (one.work, one.name, one.client, one.bytes)
    assert (found.status, found.total, found.result, found.attempts) == ("queued", None, None, 0)
    assert await stores[1].jobs(client=one.client) == [found]
    assert await stores[1].get("f" * 32) is None


async def test_jobs_are_begun_in_their_order_and_held(store: Store) -> None:
    for number in range(3):
        await store.add(job(number), WIDE)
    begun = [await store.claim("one"), await store.claim("two")]
    assert [(one.id, one.holder) for one in begun if one] == [(job(0).id, "one"), (job(1).id, "two")]
    assert {(one.status, one.attempts) for one in begun if one} == {("running", 1)}
    assert all(LEASE_S - 10 < one.due - time.time() <= LEASE_S + 1 for one in begun if one)
    assert await store.claim("three") is not None
    assert await store.claim("four") is None


async def test_clients_take_turns_and_what_is_begun_goes_on_first(store: Store) -> None:
    for number, client in enumerate(["anna", "anna", "anna", "bert", "carl", "bert"]):
        await store.add(job(number, client), WIDE)
    begun = [await store.claim("one") for _ in range(4)]
    assert [one.id for one in begun if one] == [job(number).id for number in (0, 3, 4, 1)]
    put_back = When(["running"])
    await store.change(job(0).id, put_back, Change("queued", 0))
    await store.change(job(3).id, put_back, Change("queued", 0, {"done": 1}))
    begun = [await store.claim("one") for _ in range(5)]
    assert [one.id if one else None for one in begun] == [job(number).id for number in (3, 2, 5, 0)] + [None]


async def test_of_many_that_claim_at_once_each_gets_another_job(stores: list[Store]) -> None:
    for number in range(20):
        await stores[0].add(job(number), WIDE)
    begun = await asyncio.gather(*(stores[turn % 2].claim(f"gateway {turn}") for turn in range(30)))
    assert sorted(one.id for one in begun if one is not None) == [job(number).id for number in range(20)]


async def test_a_job_that_waits_is_not_begun_before_its_time(store: Store) -> None:
    for number in range(2):
        await store.add(job(number), WIDE)
    await store.change(job(0).id, When(["queued"]), Change(None, 1000))
    begun = await store.claim("one")
    assert begun is not None
    assert begun.id == job(1).id
    assert await store.claim("one") is None
    await store.change(job(1).id, When(["running"]), Change("queued", -1))
    await store.change(job(0).id, When(["queued"]), Change(None, -100))
    begun = await store.claim("one")
    assert begun is not None
    assert begun.id == job(0).id


async def test_only_the_one_that_holds_a_job_changes_it(stores: list[Store]) -> None:
    await stores[0].add(job(1), WIDE)
    assert await stores[0].change(job(1).id, When(["running"]), ENDED) is None
    await stores[0].claim("one")
    assert await stores[1].change(job(1).id, When(["running"], "two"), ENDED) is None
    assert await stores[1].change(job(1).id, When(["running"], "one", overdue=True), ENDED) is None
    beat = Change(None, 50, {"done": 3, "total": 7, "note": 'a "note"', "result": {"notes": ["ü"]}})
    told = await stores[0].change(job(1).id, When(["running"], "one"), beat)
    assert told is not None
    assert told == await stores[1].get(job(1).id)
    assert (told.done, told.total, told.note, told.result) == (3, 7, 'a "note"', {"notes": ["ü"]})
    assert told.due > time.time() + 40
    await stores[0].change(job(1).id, When(), Change(None, -1, {"total": None}))
    taken = await stores[1].change(job(1).id, When(["running"], "one", overdue=True), Change("queued", 0))
    assert taken is not None
    assert (taken.status, taken.total, taken.done) == ("queued", None, 3)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
async def test_bounds_hold_and_gone_jobs_make_room(store: Store, end: str) -> None:
    bounds = Bounds(jobs=4, jobs_per_client=2, job_bytes=100)
    await store.add(job(1, "anna", 40), bounds)
    await store.add(job(2, "anna", 40), bounds)
    for one, bound in (
        (job(3, "anna", 1), "jobs_per_client"),
        (job(3, "bert", 21), "job_bytes"),
    ):
        with pytest.raises(FullError) as caught:
            await store.add(one, bounds)
        assert caught.value.bound == bound
    await store.add(job(3, "bert", 20), bounds)
    assert await store.size() == 100
    await store.add(job(4, "carl", 0), bounds)
    with pytest.raises(FullError) as caught:
        await store.add(job(5, "dora", 0), bounds)
    assert caught.value.bound == "jobs"
    wiped = Change("cancelled" if end == "cancelled" else "expired", 100, {"bytes": 0})
    assert await store.change(job(1).id, When(LIVE), wiped) is not None
    assert await store.change(job(1).id, When(LIVE), wiped) is None
    assert await store.size() == 60
    await store.add(job(5, "anna", 40), bounds)
    assert [one.id for one in await store.jobs(client="anna")] == [job(2).id, job(5).id]
    assert [one.id for one in await store.jobs(GONE)] == [job(1).id]


async def test_results_count_as_soon_as_they_are_written(store: Store) -> None:
    bounds = Bounds(10, 10, 100)
    await store.add(job(1, size=10), bounds)
    await store.claim("one")
    await store.change(job(1).id, When(["running"]), Change(None, 10, {"bytes": 95}))
    with pytest.raises(FullError):
        await store.add(job(2, size=10), bounds)


async def test_jobs_are_found_by_state_and_time(store: Store) -> None:
    for number in range(4):
        await store.add(job(number), WIDE)
        await store.claim("one")
    await store.change(job(0).id, When(), Change("done", -5))
    await store.change(job(1).id, When(), Change("failed", -9))
    await store.change(job(2).id, When(), Change("done", 9))
    assert [one.id for one in await store.jobs(FINISHED, overdue=True)] == [job(1).id, job(0).id]
    assert [one.id for one in await store.jobs(FINISHED)] == [job(1).id, job(0).id, job(2).id]
    assert [one.id for one in await store.jobs(["running"])] == [job(3).id]
    assert await store.jobs(["running"], overdue=True) == []


async def test_gone_jobs_are_forgotten_by_time_and_by_number(store: Store) -> None:
    for number in range(5):
        await store.add(job(number), WIDE)
        await store.change(job(number).id, When(), Change("cancelled", number * 100 - 50))
    await store.add(job(9), WIDE)
    await store.forget(2)
    assert [await store.get(job(number).id) is None for number in range(5)] == [True, True, True, False, False]
    assert await store.get(job(9).id) is not None


async def test_what_was_written_is_there_after_the_gateway(opening: Opening) -> None:
    first = opening()
    await first.add(job(1), WIDE)
    await first.close()
    second = opening()
    assert (await second.claim("two")) is not None
    await second.close()


async def test_a_redis_that_goes_away_is_said_and_comes_back(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, *free_ports(1))
    store = RedisStore(server.url)
    with pytest.raises(StoreAwayError) as caught:
        await store.get("0" * 32)
    assert "127.0.0.1" in caught.value.why
    assert "127.0.0.1" not in caught.value.detail
    assert (caught.value.status, caught.value.headers["Retry-After"].isdigit()) == (503, True)
    server.start()
    try:
        await store.add(job(1), WIDE)
        server.kill()
        with pytest.raises(StoreAwayError):
            await store.claim("one")
        server.start()
        found = await store.claim("one")
        assert found is not None
        assert found.work == job(1).work
        await store.close()
    finally:
        server.kill()


async def test_a_password_in_the_address_is_never_said() -> None:
    store = RedisStore("redis://user:geheim@127.0.0.1:9/0")
    with pytest.raises(StoreAwayError) as caught:
        await store.size()
    assert "geheim" not in caught.value.detail + caught.value.why
    assert "geheim" not in repr(Settings(redis="redis://user:geheim@127.0.0.1:9/0"))
    await store.close()
