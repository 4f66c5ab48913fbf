"""The pure parts of keeping a server: whose request is abandoned, when it is started again, what stands in the log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from edsr_serving.answers import fitting_pixels
from edsr_serving.heartbeat import SUFFIX, VARIABLE, read_beats
from edsr_serving.keeper import FIRST_DELAY_S, LONGEST_DELAY_S, MAX_RESTARTS, WELL_AFTER_S, Restarts
from edsr_serving.log import KEPT_LOGS, readable, rotate, stamped
from edsr_serving.peers import Connection, is_abandoned
from edsr_serving.processes import GONE, cpu_ticks, state_of
from edsr_serving.repository import ServableModel, find_models, lay_out_view
from edsr_serving.watch import Counters, failure_lines, how_it_ended, queue_lines


def waits(is_open: bool, waited_ms: int, received: int = 1_200, is_fresh: bool = True) -> Connection:
    return Connection(is_open, waited_ms, received, is_fresh)


@pytest.mark.parametrize(
    ("connections", "gone"),
    [
        (None, False),  # the kernel says nothing
        ([], False),
        ([waits(True, 50)], False),
        ([waits(False, 50)], True),
        ([waits(False, 50), waits(True, 20)], True),  # the closed one came first, and is first in the queue
        ([waits(False, 20), waits(True, 50)], False),
        ([waits(False, 52), waits(True, 50)], False),  # too close to be sure
        ([waits(False, 50, received=900)], False),  # it has not even received as much as this request's body
        ([waits(False, 50, received=99_000)], False),  # or far more, and this is its only request
        ([waits(False, 50, received=99_000, is_fresh=False)], True),
        ([waits(False, 50), waits(True, 90, received=99_000)], True),  # of another request
    ],
)
def test_a_request_is_abandoned_only_where_there_is_no_doubt(connections: list[Connection] | None, gone: bool) -> None:
    assert is_abandoned(connections, 1_000) is gone


def test_with_several_queues_only_a_request_nobody_can_wait_for_is_abandoned() -> None:
    assert not is_abandoned([waits(False, 50), waits(True, 20)], 1_000, one_queue=False)
    assert is_abandoned([waits(False, 50), waits(False, 20)], 1_000, one_queue=False)
    assert is_abandoned([waits(False, 50, received=7)], None)  # of unknown length


def test_restarts_come_slower_and_end() -> None:
    restarts = Restarts()
    delays = [restarts.delay_s(lived_s=1.0) for _ in range(MAX_RESTARTS + 1)]
    assert delays[:3] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S]
    assert delays[-2:] == [LONGEST_DELAY_S, None]
    assert restarts.delay_s(lived_s=WELL_AFTER_S) == FIRST_DELAY_S


METRICS = """\
nv_inference_pending_request_count{model="m",version="1"} 3
nv_inference_request_failure{model="m",reason="REJECTED",version="1"} 2
nv_inference_request_failure{model="m",reason="BACKEND",version="1"} 0
"""


def test_what_triton_counts_and_does_not_log_becomes_lines() -> None:
    counted = Counters(METRICS)
    assert counted.pending == {"m": 3}
    (line,) = failure_lines({}, counted.failures)
    assert line.startswith("2 request(s) for m refused or failed: they waited longer")
    assert failure_lines(counted.failures, counted.failures) == []
    assert "is full (3 requests wait)" in queue_lines({"m": 3}, {}, counted.pending)[0]
    assert queue_lines({"m": 3}, counted.pending, counted.pending) == []
    assert queue_lines({"m": 3}, counted.pending, {"m": 1}) == ["the queue of m has room again"]


def test_an_end_is_told_in_words() -> None:
    assert how_it_ended(1) == "ended with exit code 1"
    assert how_it_ended(-9) == "was ended by SIGKILL"
    assert how_it_ended(-77) == "was ended by signal 77"


def test_the_last_logs_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    for number in range(KEPT_LOGS + 3):
        rotate(log)
        log.write_text(str(number), "utf-8")
    kept = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert kept == {"triton.log": "7", **{f"triton.log.{n}": str(7 - n) for n in range(1, KEPT_LOGS + 1)}}


def test_a_line_of_ours_reads_like_tritons() -> None:
    assert (readable(stamped("said", "W")) or "").endswith(" warning: said")


def model_of(folder: Path, text: str) -> ServableModel:
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "config.pbtxt").write_text(text, "utf-8")
    return find_models(folder)[0]


CONFIG = """\
name: "m"
max_batch_size: 8
instance_group {
  count: 1
  kind: KIND_CPU
}
parameters {
  key: "max_lr_pixels"
  value {
    string_value: "1000000"
  }
}
parameters {
  key: "max_queue_size"
  value {
    string_value: "7"
  }
}
"""


def test_the_view_has_a_bounded_queue_and_instances_that_take_turns(tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    model = model_of(tmp_path / "repository", CONFIG)
    assert (model.instances, model.processes, model.queue_size) == (1, 2, 7)
    lay_out_view({model: {"concurrency": "1", "max_lr_pixels": "5"}}, tmp_path / "view")
    config = text_format.Parse((tmp_path / "view" / "m" / "config.pbtxt").read_text("utf-8"), ModelConfig())
    (group,) = config.instance_group
    assert group.count == 2
    assert [(each.name, each.count) for each in group.rate_limiter.resources] == [("turn-m", 1)]
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert list(config.dynamic_batching.preferred_batch_size) == [1]  # no request is joined with another
    assert config.parameters["max_lr_pixels"].string_value == "5"


def test_a_configuration_with_a_queue_of_its_own_is_left_as_it_is(tmp_path: Path) -> None:
    model = model_of(tmp_path / "repository", CONFIG + "dynamic_batching {\n}\n")
    assert (model.processes, model.queue_size) == (1, 0)


def test_requests_are_limited_to_what_shared_memory_holds(tmp_path: Path) -> None:
    model = model_of(tmp_path, CONFIG)
    # 30 bytes a pixel in each of two processes, and 4 MiB beside
    assert fitting_pixels([model], 60_000_000 + (8 << 20)) == {}
    assert fitting_pixels([model], 30_000_000 + (8 << 20)) == {model: 500_000}
    assert fitting_pixels([model], 0) == {model: 1}


BEATING = """
import time
from edsr_serving.heartbeat import Heartbeat
heart = Heartbeat("m")
with heart.working(12):
    print("working", flush=True)
    input()
print("idle", flush=True)
input()
"""


def test_a_backend_says_what_it_does(tmp_path: Path) -> None:
    environment = {**os.environ, VARIABLE: str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", BEATING], stdin=pipe, stdout=pipe, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        (beat,) = read_beats(tmp_path)
        assert (beat.pid, beat.model, beat.is_busy, beat.lr_pixels, beat.done) == (process.pid, "m", True, 12, 0)
        assert state_of(process.pid) not in (GONE, "T")
        assert cpu_ticks(process.pid) > 0
        while read_beats(tmp_path)[0].at_s == beat.at_s:  # it goes on while the work lasts
            Event().wait(0.05)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "idle\n"
        (beat,) = read_beats(tmp_path)
        assert (beat.is_busy, beat.done) == (False, 1)
        process.stdin.write("\n")
        process.stdin.close()
    assert state_of(process.pid) == GONE
    (tmp_path / f"77{SUFFIX}").write_bytes(b"torn")
    assert len(read_beats(tmp_path)) == 1
