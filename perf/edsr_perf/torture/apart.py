"""A process in which other decoders may die: it is given limits, and started anew."""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as LateError
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
MEMORY_BYTES, SECONDS = 3_000_000_000, 120.0


class Apart:
    """Calls functions in a process of its own."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def call(self, work: Callable[..., T], *arguments: object) -> T | None:
        """What it returns; None if the process died of it, or did not answer in time."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare)
        try:
            return self._pool.submit(work, *arguments).result(SECONDS)
        except (BrokenProcessPool, LateError, MemoryError):
            self._end()
            return None

    def _end(self) -> None:
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _prepare() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    os.environ |= {"OPENCV_LOG_LEVEL": "SILENT", "VIPS_WARNING": "0"}
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say of damaged files
