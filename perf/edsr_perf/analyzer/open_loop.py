"""Requests that come when they come: sent on a schedule that does not wait for answers, as users do not.

perf_analyzer sends at a rate with a few workers, each of which waits for its answer: a server that falls behind slows
its load down, and the latencies that are then counted hide the wait (coordinated omission). Here every request has its
time in advance, any number are in flight, and a latency is counted from the time at which it should have been sent.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ToolError
from .runner import PERCENTILES, Window, percentile
from .scenarios import Load

if TYPE_CHECKING:
    from edsr_client.transports import Transport

# Answers of the slowest requests do not decide about the rate that was reached.
COUNTED = 0.95
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Sent:
    """One answered request; seconds since the start of the schedule."""

    intended: float
    sent: float
    answered: float


def schedule(requests: int, rate: float, seed: int = 0) -> list[float]:
    """Poisson arrivals, seconds from the first; stretched so that the rate is exactly the one asked for."""
    gaps = np.random.default_rng(seed).exponential(size=requests - 1) if requests > 1 else np.zeros(0)
    if requests > 1:
        gaps *= (requests - 1) / rate / gaps.sum()
    return [0.0, *np.cumsum(gaps).tolist()]


def open_window(load: Load, model: str, url: str, scale: int) -> Window:
    """Send a load once, at its `request_rate`.

    Raises:
        ToolError: a request failed, or the server refused all of them.
    """
    from edsr_client import EdsrError

    try:
        answers, statistics_ms = asyncio.run(_run(load, model, url, scale))
    except EdsrError as error:
        raise ToolError(f"A request failed at {load.label}: {error}") from None
    if not answers:
        raise ToolError(f"{url} refused all {load.requests} requests at {load.label}.")
    return window_of(load, answers, statistics_ms)


def window_of(load: Load, answers: Sequence[Sent], split_ms: dict[str, float]) -> Window:
    """The window: latencies from the intended start, and the rate of answers that was reached.

    Args:
        split_ms: means of "queue" and "compute" as the server counts them.
    """
    times = tuple((one.answered - one.intended) * 1000 for one in sorted(answers, key=lambda one: one.intended))
    late = statistics.fmean((one.sent - one.intended) * 1000 for one in answers)
    mean = statistics.fmean(times)
    latency = {f"p{p}": percentile(times, p) for p in PERCENTILES} | {
        "mean": mean,
        "min": min(times),
        "max": max(times),
    }
    network = max(0.0, mean - late - sum(split_ms.values()))
    split = {"client": late, "network": network, **split_ms}
    return Window(len(answers), reached_per_s(load, answers), latency, split, times, load.requests - len(answers))


def reached_per_s(load: Load, answers: Sequence[Sent]) -> float:
    """Answers a second: the rate asked for, less what was refused, less what the answers fell behind the schedule.

    Between the same ranks of schedule and answers, so that the length of an answer does not count, and of the first
    COUNTED of them, so that a single slow one does not.
    """
    done = sorted(one.answered for one in answers)
    planned = sorted(one.intended for one in answers)
    last = max(0, int(len(done) * COUNTED) - 1)
    planned_s, took_s = planned[last] - planned[0], done[last] - done[0]
    kept_up = min(1.0, planned_s / took_s) if took_s > 0 else 1.0
    return load.request_rate * kept_up * len(answers) / load.requests


async def _run(load: Load, model: str, url: str, scale: int) -> tuple[list[Sent], dict[str, float]]:
    from edsr_client.addresses import address
    from edsr_client.transports import Credentials, connect

    transport = connect(address(url, load.protocol), Credentials(), load.shared_memory)
    picture = np.random.default_rng(0).integers(0, 256, (1, load.height, load.width, 3), dtype=np.uint8)

    async def ask(at: float, began: float) -> Sent | None:
        await asyncio.sleep(began + at - time.perf_counter())
        sent = time.perf_counter() - began
        answered = await _answered(transport, model, picture, scale)
        return Sent(at, sent, time.perf_counter() - began) if answered else None

    try:
        await _answered(transport, model, picture, scale)  # connections and keys, before the clock runs
        before = await _counted(transport, model)
        began = time.perf_counter() + 0.05
        found = await asyncio.gather(*(ask(at, began) for at in schedule(load.requests, load.request_rate)))
        after = await _counted(transport, model)
    finally:
        await transport.close()
    requests = after["count"] - before["count"]
    means = {key: (after[key] - before[key]) / requests if requests else 0.0 for key in ("queue", "compute")}
    return [one for one in found if one is not None], means


async def _answered(transport: Transport, model: str, picture: Any, scale: int) -> bool:
    """Whether the server took a request; it says no when it has too many."""
    from edsr_client import ServerBusyError

    try:
        await transport.infer(model, picture, scale=scale, request_id="edsr-perf", timeout_s=PATIENCE_S)
    except ServerBusyError:
        return False
    return True


async def _counted(transport: Transport, model: str) -> dict[str, float]:
    """Triton's own counters: requests, milliseconds in its queue and in the backend; zeros where they are closed."""
    from edsr_client import AccessDeniedError

    try:
        found = (await transport.model_statistics(model)).get("inference_stats") or {}
    except AccessDeniedError:
        found = {}

    def total(key: str, value: str = "ns") -> float:
        return float((found.get(key) or {}).get(value, 0))

    compute = sum(total(key) for key in ("compute_input", "compute_infer", "compute_output"))
    return {"count": total("success", "count"), "queue": total("queue") / 1e6, "compute": compute / 1e6}
