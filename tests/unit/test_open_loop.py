"""An open loop: when requests are sent, and what is counted of them."""

from __future__ import annotations

import numpy as np
import pytest
from edsr_perf.analyzer.open_loop import Sent, reached_per_s, schedule, window_of
from edsr_perf.analyzer.results import entry_reached, measurement, reached
from edsr_perf.analyzer.scenarios import Load

LOAD = Load("a", 8, 8, request_rate=200, requests=200)


def answers(took_s: float, each_s: float = 0.0) -> list[Sent]:
    """Every request of LOAD sent in time; answered after `took_s`, and one every `each_s` at most."""
    found, free = [], 0.0
    for at in schedule(LOAD.requests, LOAD.request_rate):
        free = max(free + each_s, at + took_s)
        found.append(Sent(at, at, free))
    return found


@pytest.mark.parametrize(("requests", "rate"), [(1, 5.0), (2, 5.0), (50, 7.5), (2000, 200.0)])
def test_a_schedule_has_exactly_the_rate_and_is_poisson(requests: int, rate: float) -> None:
    times = schedule(requests, rate)
    assert (len(times), times[0]) == (requests, 0.0)
    assert times == sorted(times)
    assert times[-1] == pytest.approx((requests - 1) / rate)
    if requests > 100:
        gaps = np.diff(times)
        assert gaps.std() == pytest.approx(gaps.mean(), rel=0.15)


@pytest.mark.parametrize("took_s", [0.001, 0.05, 3.0])
def test_a_server_that_keeps_up_reaches_the_rate_however_long_an_answer_takes(took_s: float) -> None:
    assert reached_per_s(LOAD, answers(took_s)) == pytest.approx(200, rel=0.02)


def test_a_server_that_falls_behind_has_its_own_rate_and_the_wait_in_its_latencies() -> None:
    """22 a second, as 200 are asked for: the last request waits for eight seconds."""
    window = window_of(LOAD, answers(0.045, 1 / 22), {"queue": 0.0, "compute": 45.0})
    assert window.throughput == pytest.approx(22, rel=0.03)
    assert window.latency["p50"] > 3000
    assert window.latency["max"] == pytest.approx(1000 * (200 / 22 - 1), rel=0.05)
    assert not reached(200, window.throughput)


def test_what_is_refused_is_not_reached() -> None:
    kept = answers(0.01)[::2]
    window = window_of(LOAD, kept, {"queue": 0.0, "compute": 1.0})
    assert (window.requests, window.refused) == (100, 100)
    assert window.throughput == pytest.approx(100, rel=0.05)


def test_sending_late_counts_as_latency() -> None:
    late = [Sent(one.intended, one.intended + 0.2, one.answered + 0.2) for one in answers(0.01)]
    window = window_of(LOAD, late, {"queue": 0.0, "compute": 1.0})
    assert window.latency["p50"] == pytest.approx(210)
    assert window.split["client"] == pytest.approx(200)


def test_one_window_that_fell_behind_is_enough_to_say_so() -> None:
    good = window_of(LOAD, answers(0.01), {"queue": 0.0, "compute": 1.0})
    bad = window_of(LOAD, answers(0.01, 1 / 22), {"queue": 0.0, "compute": 1.0})
    assert entry_reached(measurement(LOAD, [good, good, good], {}))
    assert not entry_reached(measurement(LOAD, [good, bad, good], {}))
    old = {key: value for key, value in measurement(LOAD, [bad], {}).items() if key != "window_per_s"}
    assert not entry_reached(old)  # of files written before windows had their rate
