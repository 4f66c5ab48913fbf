"""Which store a gateway keeps its jobs in."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..settings import Settings
from .files import JobFiles
from .sqlite_store import SqliteStore
from .store import Store, StoreBrokenError

FILE = "jobs.sqlite3"


def jobs_folder(settings: Settings) -> Path:
    """Where the files of jobs are. Those of a shared list are kept apart: each list removes what it does not know."""
    return settings.folder / ("jobs-shared" if settings.redis is not None else "jobs")


def check(settings: Settings) -> None:
    """See that jobs can be kept, before anything is started.

    Raises:
        StoreBrokenError: as `store_for`, or their folder cannot be made.
    """
    asyncio.run(store_for(settings).close())
    try:
        JobFiles(jobs_folder(settings))
    except OSError as error:
        raise StoreBrokenError(f"Cannot keep jobs in {jobs_folder(settings)}: {error.strerror}.") from None


def store_for(settings: Settings) -> Store:
    """Redis where the settings name one, else an SQLite file in the gateway's folder.

    Raises:
        StoreBrokenError: it cannot be used; the message says what to do. A Redis that is away is no error: it may come.
    """
    if settings.redis is None:
        return SqliteStore(settings.folder / FILE)
    try:
        from .redis_store import RedisStore
    except ImportError:
        raise StoreBrokenError("Jobs in Redis need its client library: pip install 'edsr-gateway[redis]'.") from None
    return RedisStore(settings.redis)
