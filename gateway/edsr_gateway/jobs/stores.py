"""Which store a gateway keeps its jobs in."""

from __future__ import annotations

from ..settings import Settings
from .sqlite_store import SqliteStore
from .store import Store, StoreBrokenError

FILE = "jobs.sqlite3"


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
