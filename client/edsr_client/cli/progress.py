"""Progress: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tqdm import tqdm

from ..batch import Summary
from ..texts import visible

# After the first line, the next ones come less often.
FIRST_LINE_S, LINE_EVERY_S = 10.0, 30.0
BATCH_LINE_EVERY_S = 60.0


class TileProgress:
    """Called with (tiles done, tiles in all). Writes on standard error; a picture of one tile needs no progress."""

    def __init__(self, label: str, quiet: bool = False) -> None:
        self._label, self._quiet = visible(label), quiet
        self._bar: Any = None
        self._expected = 0
        self._started: float | None = None
        self._next_line = 0.0

    def expect(self, tiles: int) -> None:
        """How many there will be in all frames; what is called with `total` knows of one frame after the other."""
        self._expected = tiles

    def __enter__(self) -> TileProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        total = max(total, self._expected)
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
        now = time.monotonic()
        if self._started is None:
            self._started, self._next_line = now, now + FIRST_LINE_S
        if now >= self._next_line and 0 < done < total:
            self._next_line = now + LINE_EVERY_S
            left = (total - done) * (now - self._started) / done
            print(f"{self._label}: {done} of {total} tiles, {duration(left)} left", file=sys.stderr, flush=True)


class FrameProgress:
    """Called with (frames done, frames in all or None): done, frames a second, time left. Writes on standard error."""

    def __init__(self, label: str, quiet: bool = False) -> None:
        self._label, self._quiet = visible(label), quiet
        self._bar: Any = None
        self._first: tuple[float, int] | None = None
        self._next_line = time.monotonic() + FIRST_LINE_S

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


class BatchProgress:
    """Pictures of a run. `count` says how many there are; it runs in a thread beside the work."""

    def __init__(self, count: Callable[[], int], summary: Summary, quiet: bool = False) -> None:
        self._summary, self._quiet, self._count = summary, quiet, count
        self._total: int | None = None
        self._bar: Any = None
        self._started = time.monotonic()
        self._next_line = self._started + BATCH_LINE_EVERY_S

    def __enter__(self) -> BatchProgress:
        if not self._quiet:
            threading.Thread(target=self._counted, name="count", daemon=True).start()
            if sys.stderr.isatty():
                self._bar = tqdm(unit=" pictures", dynamic_ncols=True, leave=False, smoothing=0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, line: str) -> None:
        """A line on standard error, above the bar. Names that are not text are shown with what they are made of."""
        tqdm.write(visible(line), file=sys.stderr)

    def update(self) -> None:
        """Show how far it is."""
        seen, took = self._summary.seen, time.monotonic() - self._started
        rate = f"{self._summary.megapixels / took:.2f} MP/s" if took else ""
        failed = f", {self._summary.failed:,} failed" if self._summary.failed else ""
        if self._bar is not None:
            skipped = self._summary.done_before + self._summary.there_already
            self._bar.total, self._bar.initial = self._total, skipped  # what is skipped says nothing of the time left
            self._bar.set_postfix_str(rate + failed, refresh=False)
            self._bar.update(seen - self._bar.n)
        elif not self._quiet and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + BATCH_LINE_EVERY_S
            of = f" of {self._total:,}" if self._total is not None else ""
            done = self._summary.made + self._summary.failed
            left = (self._total - seen) * took / done if self._total is not None and done else None
            time_left = f", {duration(left)} left" if left is not None else ""
            print(f"{seen:,}{of} pictures, {rate}{failed}{time_left}", file=sys.stderr, flush=True)

    def _counted(self) -> None:
        self._total = self._count()


def duration(seconds: float) -> str:
    """For people: 42 s, 3 min 20 s, 5 h 12 min, 3 days 4 h."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86_400
    if minutes < 60:
        return f"{int(minutes)} min {int(seconds % 60)} s"
    if hours < 24:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(days)} days {int(hours % 24)} h"
