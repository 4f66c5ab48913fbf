"""Measuring in turns: every contestant once a round, so that a slow minute of the machine slows all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

# So much time of a turn is spent on runs, at least, and no more runs than these.
TURN_S, MAX_RUNS = 0.3, 20
# Threads of the last contestant spin on for a moment.
PAUSE_S = 0.2

Turn = Callable[[int], list[float]]


def runs_for(seconds: float) -> int:
    """How many runs make one turn, if one takes so long."""
    return max(1, min(MAX_RUNS, math.ceil(TURN_S / max(seconds, 1e-6))))


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The names in another order each round: nobody always follows the same one."""
    start = turn % len(names)
    return [*names[start:], *names[:start]]


def take_turns(
    contestants: Mapping[str, Turn], warm_s: Mapping[str, float], rounds: int, pause_s: float = PAUSE_S
) -> dict[str, list[float]]:
    """Seconds of one run by contestant, one value per round (the median of the runs of that turn).

    Args:
        contestants: each does so many runs and returns their seconds.
        warm_s: seconds of a run when warm, which decide how many runs a turn has.
        rounds: turns of each.
        pause_s: between two turns.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name in rotated(list(contestants), turn):
            time.sleep(pause_s)
            found[name].append(statistics.median(contestants[name](runs_for(warm_s[name]))))
    return found


def ratio(seconds: Sequence[float], of: Sequence[float]) -> float:
    """How many times as long as the other, as the median over the rounds."""
    return statistics.median(one / other for one, other in zip(seconds, of, strict=True))
