"""Steps of a measurement one after the other: each gives a result, or the reason why it was skipped; none stops the
others, and none is begun when the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

DONE, SKIPPED, FAILED = "done", "skipped", "failed"


class SkipStep(Exception):  # noqa: N818  not an error
    """The step cannot be done here; the message says why."""


@dataclass(frozen=True)
class Clock:
    """Time that a measurement may take in all.

    Attributes:
        limit_s: seconds.
        now: for tests.
    """

    limit_s: float
    now: Callable[[], float] = time.monotonic
    started: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started.append(self.now())

    def elapsed_s(self) -> float:
        return self.now() - self.started[0]

    def left_s(self) -> float:
        return max(0.0, self.limit_s - self.elapsed_s())


@dataclass(frozen=True)
class Step:
    """`run` gives JSON, and may raise SkipStep; it is begun if `needs_s` seconds are left."""

    name: str
    run: Callable[[], dict[str, Any]]
    needs_s: float = 5.0


def run_steps(steps: Iterable[Step], clock: Clock, tell: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Each step's outcome by name: {"status", "seconds", "result" or "reason"}.

    Args:
        steps: in their order.
        clock: what is left of the time.
        tell: called with a line per step.
    """
    outcomes: dict[str, dict[str, Any]] = {}
    for step in steps:
        started = clock.elapsed_s()
        outcome: dict[str, Any]
        if clock.left_s() < step.needs_s:
            outcome = {"status": SKIPPED, "reason": f"{clock.left_s():.0f} s were left, {step.needs_s:.0f} are needed"}
        else:
            tell(f"{step.name} ...")
            try:
                outcome = {"status": DONE, "result": step.run()}
            except SkipStep as reason:
                outcome = {"status": SKIPPED, "reason": str(reason)}
            except Exception as error:  # minutes on a card are dear: what the other steps found is kept
                words = " ".join(str(error).split())[:400]
                outcome = {"status": FAILED, "reason": f"{type(error).__name__}: {words}"}
        outcome["seconds"] = round(clock.elapsed_s() - started, 2)
        outcomes[step.name] = outcome
        tell(f"{step.name}: {outcome['status']}" + (f": {outcome['reason']}" if "reason" in outcome else ""))
    return outcomes
