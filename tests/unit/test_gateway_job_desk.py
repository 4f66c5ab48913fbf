"""Whose jobs are whose, and what is refused before anything is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from edsr_gateway.errors import Problem
from edsr_gateway.jobs.desk import JobDesk
from edsr_gateway.jobs.stores import store_for
from edsr_gateway.limits.limits import Limits
from edsr_gateway.limits.scratch import Scratch
from edsr_gateway.routes.accepting import container_of
from edsr_gateway.settings import Settings
from edsr_gateway.workers.pool import WorkerPool
from edsr_gateway.workers.work import Work

pytestmark = pytest.mark.anyio
WORK = Work(b"picture", Path())


@asynccontextmanager
async def desk_of(folder: Path, **settings: Any) -> AsyncIterator[JobDesk]:
    """A desk whose jobs are not worked on: it is not started."""
    told = Settings(folder=folder, **settings)
    scratch = Scratch(folder / "scratch")
    desk = JobDesk(told, store_for(told), WorkerPool(told.urls, None, 1, 1), scratch)
    yield desk
    await desk.close()
    scratch.close()


async def status_of(asked: Any) -> int:
    with pytest.raises(Problem) as caught:
        await asked
    return caught.value.status


async def enter(desk: JobDesk, client: str, announced: int | None = None) -> int:
    """Ask for room for an upload of at most 1000 bytes, and give it back."""
    async with desk.room(client, announced, 1000) as most:
        return most


async def test_with_keys_a_job_is_its_owners_alone(tmp_path: Path) -> None:
    async with desk_of(tmp_path, keys=tmp_path / "keys") as desk:
        own, other = await desk.accept(WORK, "key:anna", "a.png"), await desk.accept(WORK, "key:bert", "b.png")
        assert await status_of(desk.find(own.id, "key:bert")) == 404
        assert await status_of(desk.cancel(own.id, "key:bert")) == 404
        assert desk.files.source(own.id).is_file()
        assert [job.id for job in await desk.of("key:anna")] == [own.id]
        assert [job.id for job in await desk.of("key:bert")] == [other.id]
        await desk.cancel(own.id, "key:anna")
        assert not desk.files.folder(own.id).exists()
        assert await desk.of("key:anna") == []
        assert await status_of(desk.find(own.id, "key:bert")) == 404
        assert (await desk.find(own.id, "key:anna")).status == "cancelled"


async def test_without_keys_the_id_opens_a_job_from_everywhere(tmp_path: Path) -> None:
    async with desk_of(tmp_path) as desk:
        job = await desk.accept(WORK, "ip:192.0.2.1", "a.png")
        assert (await desk.find(job.id, "ip:192.0.2.2")).name == "a.png"
        assert await status_of(desk.of("ip:192.0.2.1")) == 403


@pytest.mark.parametrize(
    ("limits", "client", "status"),
    [
        (Limits(jobs=1), "ip:192.0.2.2", 429),
        (Limits(jobs_per_client=1), "ip:192.0.2.1", 429),
        (Limits(job_bytes=len(b"picture")), "ip:192.0.2.2", 507),
    ],
)
async def test_a_full_desk_refuses_before_the_upload_and_after(
    tmp_path: Path, limits: Limits, client: str, status: int
) -> None:
    async with desk_of(tmp_path, limits=limits) as desk:
        job = await desk.accept(WORK, "ip:192.0.2.1", "")
        assert await status_of(enter(desk, client)) == status
        assert await status_of(desk.accept(WORK, client, "")) == status
        assert [path.name for path in desk.files.parent.iterdir()] == [job.id]
        await desk.cancel(job.id, client)
        await enter(desk, client)
        await desk.accept(WORK, client, "")


async def test_uploads_that_come_in_at_once_take_no_more_than_there_is(tmp_path: Path) -> None:
    async with desk_of(tmp_path, limits=Limits(job_bytes=1500, jobs=3, jobs_per_client=2)) as desk:
        async with desk.room("ip:192.0.2.1", 900, 1000) as most:
            assert most == 1000
            assert await status_of(enter(desk, "ip:192.0.2.1", 601)) == 507
            assert await enter(desk, "ip:192.0.2.1", 600) == 600
            assert await enter(desk, "ip:192.0.2.1") == 600
            async with desk.room("ip:192.0.2.1", None, 1000):
                assert await status_of(enter(desk, "ip:192.0.2.2")) == 507
        async with desk.room("ip:192.0.2.1", 1, 9), desk.room("ip:192.0.2.1", 1, 9):
            assert await status_of(enter(desk, "ip:192.0.2.1", 1)) == 429
            async with desk.room("ip:192.0.2.2", 1, 9):
                assert await status_of(enter(desk, "ip:192.0.2.3", 1)) == 429
        assert await enter(desk, "ip:192.0.2.1", 1500) == 1000


async def test_a_disk_that_cannot_be_written_is_said_and_nothing_is_queued(tmp_path: Path) -> None:
    async with desk_of(tmp_path) as desk:
        desk.files.parent.rmdir()
        assert await status_of(desk.accept(WORK, "ip:192.0.2.1", "")) == 507
        await enter(desk, "ip:192.0.2.1")
        assert [path.name for path in (tmp_path / "scratch").glob("*/*")] == ["lock"]


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"\0\0\0\x14ftypqt  ", "mov"),
        (b"\x1aE\xdf\xa3....webm", "webm"),
        (b"\x1aE\xdf\xa3....matroska", "mkv"),
        (b"RIFF....AVI ", "mp4"),
    ],
)
def test_a_video_keeps_its_container_where_that_is_written(head: bytes, container: str) -> None:
    assert container_of(head) == container
