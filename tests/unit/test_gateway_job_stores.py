"""Lists of jobs: what every store does, and what an SQLite file says when it is none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edsr_gateway.jobs.job import Job
from edsr_gateway.jobs.sqlite_store import SqliteStore
from edsr_gateway.jobs.store import Bounds, Store

WIDE = Bounds(100, 100, 1_000_000)
pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = SqliteStore(tmp_path / "jobs.sqlite3")
    yield opened
    await opened.close()


def job(number: int, client: str = "anna", size: int = 10) -> Job:
    return Job(f"{number:032x}", client, time.time(), {"kind": "picture", "format": "png"}, "größe.png", bytes=size)


@pytest.mark.parametrize("one", [job(1), job(2, "", 0)])
async def test_a_job_comes_out_as_it_went_in(store: Store, one: Job) -> None:
    await store.add(one, WIDE)
    found = await store.get(one.id)
    assert found is not None
    assert (found.work, found.name, found.client, found.bytes, found.status) == (
        one.work,
        one.name,
        one.client,
        one.bytes,
        "queued",
    )
