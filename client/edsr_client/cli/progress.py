"""Progress in tiles or frames: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

LINE_EVERY_S = 10.0


class TileProgress:
    """Called with (tiles done, tiles in all). Writes on standard error; a picture of one tile needs no progress."""

    def __init__(self, label: str, quiet: bool = False) -> None:
        self._label, self._quiet = label, quiet
        self._bar: Any = None
        self._next_line = time.monotonic() + LINE_EVERY_S

    def __enter__(self) -> TileProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        if self._quiet or total < 2:
            return
        if not sys.stderr.isatty():
            self._line(done, total)
            return
        if self._bar is None:
            self._bar = tqdm(desc=self._label, unit=" tiles", leave=False, dynamic_ncols=True)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def _line(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next_line and done < total:
            self._next_line = time.monotonic() + LINE_EVERY_S
            print(f"{self._label}: {done} of {total} tiles", file=sys.stderr, flush=True)


class FrameProgress:
    """Called with (frames done, frames in all or None): done, frames a second, time left. Writes on standard error."""

    def __init__(self, label: str, quiet: bool = False) -> None:
        self._label, self._quiet = label, quiet
        self._bar: Any = None
        self._first: tuple[float, int] | None = None
        self._next_line = time.monotonic() + LINE_EVERY_S

    def __enter__(self) -> FrameProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int | None) -> None:
        if self._quiet:
            return
        if not sys.stderr.isatty():
            self._line(done, total)
            return
        if self._bar is None:
            # What an earlier run has done is no measure of this one's speed.
            self._bar = tqdm(
                desc=self._label, total=total, initial=done, unit=" frames", leave=False, dynamic_ncols=True
            )
        self._bar.total = max(total, done) if total else None
        self._bar.update(done - self._bar.n)

    def _line(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        if now < self._next_line:
            return
        self._next_line = now + LINE_EVERY_S
        rate = (done - self._first[1]) / (now - self._first[0])
        of = f" of {max(total, done)}" if total else ""
        left = f", {(max(total, done) - done) / rate:.0f} s left" if total and rate else ""
        print(f"{self._label}: {done}{of} frames, {rate:.2f} a second{left}", file=sys.stderr, flush=True)
