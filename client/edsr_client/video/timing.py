"""Decoding times of packets from when they are shown; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def reorder_delay(shown: Sequence[int]) -> int:
    """By how many frames decoding must run ahead of showing: `shown` are times in the order of decoding."""
    rank = {pts: index for index, pts in enumerate(sorted(shown))}
    return max((index - rank[pts] for index, pts in enumerate(shown)), default=0)


def decoding_times(shown: Sequence[int], delay: int) -> Iterator[int]:
    """A decoding time for each packet: strictly rising, none later than when the packet is shown.

    Every segment ends with all its frames out, so encoders give each the times of a video of its own, and where two
    meet those of variable frame rates may run backwards. Here the order of showing alone decides: the n-th packet is
    decoded when the frame `delay` places before the n-th is shown.
    """
    ordered = sorted(shown)
    if not ordered:
        return
    step = max(1, ordered[1] - ordered[0]) if len(ordered) > 1 else 1
    for index in range(len(ordered)):
        yield ordered[index - delay] if index >= delay else ordered[0] - (delay - index) * step


def merged(first: Iterable[tuple[float, object]], second: Iterable[tuple[float, object]]) -> Iterator[object]:
    """Two series of (seconds, thing) by time; each keeps its own order, and is read one ahead."""
    ours, theirs = iter(first), iter(second)
    a, b = next(ours, None), next(theirs, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] <= b[0]):
            assert a is not None  # noqa: S101
            yield a[1]
            a = next(ours, None)
        else:
            yield b[1]
            b = next(theirs, None)
