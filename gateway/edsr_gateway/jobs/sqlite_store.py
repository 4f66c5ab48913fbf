"""Jobs in an SQLite file: of one gateway, or of several on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from .job import GONE, LIVE, Job, Status
from .store import LEASE_S, Bounds, Change, FullError, StoreAwayError, StoreBrokenError, When

T = TypeVar("T")
log = logging.getLogger("edsr_gateway")

OLDEST = (3, 35, 0)  # UPDATE ... RETURNING
APPLICATION, VERSION = 0x45445352, 1
BUSY_S = 10.0
COLUMNS = tuple(one.name for one in fields(Job))
JSON = frozenset({"work", "result", "problem"})
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, client TEXT NOT NULL, created REAL NOT NULL,"
    " work TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, due REAL NOT NULL, holder TEXT NOT NULL,"
    " attempts INTEGER NOT NULL, waits INTEGER NOT NULL, bytes INTEGER NOT NULL, done INTEGER NOT NULL, total INTEGER,"
    " result TEXT, problem TEXT, note TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS turns (client TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, due)",
    "CREATE INDEX IF NOT EXISTS jobs_by_client ON jobs (client, status)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


class SqliteStore:
    """The store in the file at `path`, which is made if it is not there.

    Raises:
        StoreBrokenError: it is no such file, is damaged, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "jobs")
        self._connection = self._thread.submit(_opened, path).result()

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.submit(self._connection.close).result)
        self._thread.shutdown()

    async def add(self, job: Job, bounds: Bounds) -> None:
        await self._do(lambda: self._add(job, bounds))

    async def get(self, job_id: str) -> Job | None:
        found = await self._do(lambda: self._rows("SELECT * FROM jobs WHERE id = ?", [job_id]))
        return found[0] if found else None

    async def jobs(
        self, status: Sequence[Status] = LIVE, *, client: str | None = None, overdue: bool = False
    ) -> list[Job]:
        where, values = f"status IN ({_marks(status)})", [*map(str, status)]
        if client is not None:
            where, values = f"{where} AND client = ?", [*values, client]
        if overdue:
            where, values = f"{where} AND due <= {time.time()!r}", values
        return await self._do(lambda: self._rows(f"SELECT * FROM jobs WHERE {where} ORDER BY due", values))  # noqa: S608

    async def claim(self, holder: str) -> Job | None:
        return await self._do(lambda: self._claim(holder))

    async def change(self, job_id: str, when: When, change: Change) -> Job | None:
        now = time.time()
        new = {name: _to_column(name, value) for name, value in change.fields.items()}
        if change.status is not None:
            new["status"] = change.status
        if change.due_in is not None:
            new["due"] = now + change.due_in
        where, values = f"id = ? AND status IN ({_marks(when.status)})", [job_id, *when.status]
        if when.holder is not None:
            where, values = f"{where} AND holder = ?", [*values, when.holder]
        if when.overdue:
            where = f"{where} AND due <= {now!r}"
        names = ", ".join(f"{name} = ?" for name in new)
        text = f"UPDATE jobs SET {names} WHERE {where} RETURNING *"  # noqa: S608 - names of Job's fields
        found = await self._do(lambda: self._rows(text, [*new.values(), *values]))
        return found[0] if found else None

    async def size(self) -> int:
        return int(await self._do(lambda: self._number("SELECT TOTAL(bytes) FROM jobs")))

    async def forget(self, most: int) -> None:
        await self._do(
            lambda: self._rows(
                f"DELETE FROM jobs WHERE status IN ({_marks(GONE)}) AND (due <= ? OR id IN (SELECT id FROM jobs"  # noqa: S608
                f" WHERE status IN ({_marks(GONE)}) ORDER BY due DESC LIMIT -1 OFFSET ?)) RETURNING *",
                [*GONE, time.time(), *GONE, most],
            )
        )
        unknown = "DELETE FROM turns WHERE client NOT IN (SELECT client FROM jobs)"
        await self._do(lambda: self._connection.execute(unknown))

    def _add(self, job: Job, bounds: Bounds) -> None:
        is_live = f"status IN ({_marks(LIVE)})"
        values = {one: _to_column(one, getattr(job, one)) for one in COLUMNS} | {"status": "queued", "due": time.time()}
        with self._at_once():
            if self._number(f"SELECT COUNT(*) FROM jobs WHERE {is_live}", [*LIVE]) >= bounds.jobs:  # noqa: S608
                raise FullError("jobs")
            count = f"SELECT COUNT(*) FROM jobs WHERE {is_live} AND client = ?"  # noqa: S608
            if self._number(count, [*LIVE, job.client]) >= bounds.jobs_per_client:
                raise FullError("jobs_per_client")
            if self._number("SELECT TOTAL(bytes) FROM jobs") + job.bytes > bounds.job_bytes:
                raise FullError("job_bytes")
            names = ", ".join(values)
            text = f"INSERT INTO jobs ({names}) VALUES ({_marks(COLUMNS)})"  # noqa: S608
            self._connection.execute(text, list(values.values()))

    def _claim(self, holder: str) -> Job | None:
        now = time.time()
        with self._at_once():
            found = self._rows(
                "UPDATE jobs SET status = 'running', holder = ?, attempts = attempts + 1, note = '', due = ? WHERE id ="
                " (SELECT id FROM jobs LEFT JOIN turns USING (client) WHERE status = 'queued' AND due <= ?"
                " ORDER BY done > 0 DESC, at, due LIMIT 1) RETURNING *",  # who had no turn yet comes first: NULL
                [holder, now + LEASE_S, now],
            )
            for job in found:
                self._connection.execute("INSERT OR REPLACE INTO turns VALUES (?, ?)", [job.client, now])
        return found[0] if found else None

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _rows(self, text: str, values: Sequence[Any]) -> list[Job]:
        rows = self._connection.execute(text, values).fetchall()
        return [Job(**{one: _from_column(one, row[one]) for one in COLUMNS}) for row in rows]

    def _number(self, text: str, values: Sequence[Any] = ()) -> float:
        return float(self._connection.execute(text, values).fetchone()[0])

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, RuntimeError, ValueError) as error:
            log.error("%s: %s", self._path, error)
            raise StoreAwayError(f"{self._path} cannot be used: {error}") from None


def _opened(path: Path) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < OLDEST:
        raise StoreBrokenError(
            f"Jobs need SQLite {'.'.join(map(str, OLDEST))}; this Python has {sqlite3.sqlite_version}. "
            "Take a newer Python, or keep the jobs in Redis."
        )
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        connection.row_factory = sqlite3.Row
        _prepare(connection, path)
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreBrokenError(
            f"Cannot use {path}, the list of jobs: {why}. If it is damaged, move it away; the gateway begins a "
            "new one, and the files of the jobs in it are removed."
        ) from None
    except StoreBrokenError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the table, or check what is there. Another program's file is not touched."""
    application, version, tables = (
        connection.execute(text).fetchone()[0]
        for text in ("PRAGMA application_id", "PRAGMA user_version", "SELECT COUNT(*) FROM sqlite_master")
    )
    if tables and application != APPLICATION:
        raise StoreBrokenError(f"{path} belongs to another program. Move it away, or choose another folder.")
    if tables and version != VERSION:
        raise StoreBrokenError(
            f"{path} was made by a newer edsr-gateway (version {version} of the list; this one knows {VERSION}). "
            "Start that one, or move the file away."
        )
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what was promised is on the disk
    connection.execute("PRAGMA secure_delete = ON")  # a name that was removed is gone from the file too
    connection.execute("BEGIN IMMEDIATE")  # of two that come at once, one makes the tables
    try:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _to_column(name: str, value: Any) -> Any:
    if name in JSON and value is not None:
        return json.dumps(dict(value))
    return value


def _from_column(name: str, value: Any) -> Any:
    return json.loads(value) if name in JSON and value is not None else value
