"""Jobs of a real gateway in front of a real Triton: their life, their end, kill -9 and what is left after it."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_client import Finishing, Upscaler
from edsr_gateway.jobs.files import ORPHAN_S
from edsr_gateway.jobs.stores import FILE
from edsr_gateway.limits.keys import create
from edsr_gateway.routes.jobs import MOST_LISTENERS_EACH
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from gateway_processes import Gateway, eventually
from PIL import Image
from proxies import Gate
from video_files import frames_of, make_video, moving, packets_of

# It looks like one until it is opened.
NO_VIDEO = b"\0\0\0\x18ftypisom" + b"\0" * 100


def picture(width: int = 40, height: int = 30, seed: int = 0, kind: str = "PNG") -> bytes:
    """A file of noise."""
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def url(embedded_server: RunningServer) -> str:
    return f"http://{embedded_server.options.http_url}"


@pytest.fixture(scope="module")
def open_gate(embedded_server: RunningServer) -> Iterator[Gate]:
    with Gate(embedded_server.options.http_url, math.inf) as gate:
        yield gate


@pytest.fixture
def gate(open_gate: Gate) -> Iterator[Gate]:
    """Stands between gateways and Triton, open before and after each test."""
    yield open_gate
    open_gate.left = math.inf


@pytest.fixture(scope="module")
def gateway(open_gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests that leave it as it was."""
    with Gateway(open_gate.url, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def own(gate: Gate, tmp_path: Path) -> Gateway:
    """One for this test alone, not started."""
    return Gateway(gate.url, tmp_path)


@pytest.fixture(scope="module")
def upscaled(url: str) -> bytes:
    """What the client itself makes of `picture()`."""
    with Upscaler(url, model="auto") as upscaler:
        content, _ = upscaler.upscale_bytes(picture(), finishing=Finishing(format="png"))
        return content


def told(gateway: Gateway, job_id: str) -> list[dict[str, Any]]:
    """All events of a job, until their end."""
    with gateway.http.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "7"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = list(answer.iter_lines())
    assert [line for line in lines if line.startswith("event:")] == ["event: status"] * sum(
        line.startswith("data:") for line in lines
    )
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def test_a_job_from_its_coming_to_its_end(gateway: Gateway, upscaled: bytes) -> None:
    answer = gateway.http.post(
        "/v1/jobs?format=png",
        files={"file": ("../größe 猫.png", picture())},
        headers={"Prefer": "respond-async, wait=9"},
    )
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    receipt = answer.json()
    job_id = receipt["id"]
    assert answer.headers["location"] == receipt["status_url"] == f"/v1/jobs/{job_id}"
    assert len(job_id) == 32
    events = told(gateway, job_id)
    assert events[-1]["status"] == "done"
    assert [event["status"] for event in events if event["status"] != "running"][-1:] == ["done"]
    job = gateway.job(job_id)
    assert job == events[-1]
    assert (job["done"], job["total"], job["unit"]) == (1, 1, "tiles")
    assert (job["result"]["width"], job["result"]["lr_height"], job["result"]["bytes"]) == (120, 30, len(upscaled))
    assert (job["problem"], job["expires"] > job["created"]) == (None, True)

    result = gateway.result(job_id)
    assert result.content == upscaled
    assert result.headers["content-type"] == "image/png"
    assert "_x3.png" in result.headers["content-disposition"]
    assert ".." not in result.headers["content-disposition"]
    head = gateway.http.head(f"/v1/jobs/{job_id}/result")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(upscaled)), b"")
    part = gateway.http.get(f"/v1/jobs/{job_id}/result", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, upscaled[5:10])
    beyond = gateway.http.get(f"/v1/jobs/{job_id}/result", headers={"Range": f"bytes={len(upscaled)}-"})
    assert beyond.status_code == 416
    same = gateway.http.get(f"/v1/jobs/{job_id}/result", headers={"If-None-Match": result.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert gateway.files() == [f"jobs/{job_id}", f"jobs/{job_id}/result"], "the input is kept no longer"

    for _ in range(2):
        assert gateway.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert gateway.files() == []
    gone = gateway.result(job_id)
    assert (gone.status_code, gone.headers["content-type"]) == (410, "application/problem+json")
    job = gateway.job(job_id)
    assert (job["status"], job["name"], job["result"]) == ("cancelled", "", None)
    assert [event["status"] for event in told(gateway, job_id)] == ["cancelled"]


def test_a_running_job_is_cancelled_and_leaves_nothing(gateway: Gateway, gate: Gate, upscaled: bytes) -> None:
    gate.left = 0
    job_id = gateway.post(picture(seed=1))
    gateway.until(job_id, "running")
    unfinished = gateway.result(job_id)
    assert (unfinished.status_code, unfinished.headers["retry-after"].isdigit()) == (409, True)
    assert gateway.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert gateway.files() == []
    gate.left = math.inf
    assert gateway.result(job_id).status_code == 410
    following = gateway.post(picture())
    gateway.until(following, "done")
    assert gateway.result(following).content == upscaled
    gateway.http.delete(f"/v1/jobs/{following}")


def test_a_queued_job_that_is_cancelled_is_never_begun(gateway: Gateway, gate: Gate) -> None:
    gate.left = 0
    first, second = gateway.post(picture()), gateway.post(picture(seed=1))
    gateway.until(first, "running")
    assert gateway.job(second)["status"] == "queued"
    assert gateway.http.delete(f"/v1/jobs/{second}").status_code == 204
    assert not any(second in path for path in gateway.files())
    gate.left = math.inf
    gateway.until(first, "done")
    assert gateway.job(second)["status"] == "cancelled"
    assert not any(second in path for path in gateway.files())
    gateway.http.delete(f"/v1/jobs/{first}")


def test_a_picture_that_prefers_a_job_gets_one(gateway: Gateway) -> None:
    headers = {"Prefer": "respond-async", "Accept": "image/webp"}
    answer = gateway.http.post("/v1/upscale?max_side=50", files={"image": ("a.png", picture())}, headers=headers)
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    job = gateway.until(answer.json()["id"], "done")
    assert (job["result"]["format"], job["result"]["width"]) == ("webp", 50)
    result = gateway.result(job["id"])
    assert result.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(result.content)) as image:
        assert (image.format, image.width) == ("WEBP", 50)
    gateway.http.delete(f"/v1/jobs/{job['id']}")


@pytest.mark.parametrize(
    ("content", "options", "status"),
    [
        (b"", "", 400),
        (b"not a picture", "", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "", 415),
        (picture(), "?quality=101", 400),
        (picture(), "?speed=9", 400),
        (picture(), "?format=mp4", 400),
        (picture(), "?model=nobodys", 404),
        (NO_VIDEO, "?quality=5", 400),
        (NO_VIDEO, "?format=png", 400),
        (NO_VIDEO, "?metadata=strip", 400),
        (NO_VIDEO, "?png_effort=fast", 400),
    ],
)
def test_what_is_no_job_is_refused_at_once(gateway: Gateway, content: bytes, options: str, status: int) -> None:
    answer = gateway.http.post(f"/v1/jobs{options}", content=content, headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert gateway.files() == []


@pytest.mark.parametrize("content", [picture(kind="JPEG")[:900], NO_VIDEO])
def test_what_cannot_be_decoded_fails_with_a_problem_and_leaves_no_file(gateway: Gateway, content: bytes) -> None:
    job_id = gateway.post(content, "/v1/jobs")
    job = gateway.until(job_id, "failed")
    assert (job["problem"]["status"], job["result"]) == (415, None)
    assert str(gateway.folder) not in json.dumps(job)
    result = gateway.result(job_id)
    assert (result.status_code, result.json()) == (415, job["problem"])
    assert result.headers["content-type"] == "application/problem+json"
    assert gateway.files() == []
    gateway.http.delete(f"/v1/jobs/{job_id}")


@pytest.mark.parametrize("job_id", ["0" * 32, "f" * 31, "A" * 32, "..%2F..%2Fjobs.sqlite3", "%00", "猫", "' OR 1=1 --"])
def test_a_job_that_there_is_not_is_not_found(gateway: Gateway, job_id: str) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/result"), ("HEAD", "/result"), ("DELETE", "")):
        assert gateway.http.request(method, f"/v1/jobs/{job_id}{path}").status_code == 404


def test_listeners_that_go_away_cost_nothing_and_too_many_are_refused(gateway: Gateway, gate: Gate) -> None:
    gate.left = 0
    job_id = gateway.post(picture())
    address = f"/v1/jobs/{job_id}/events"
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(gateway.http.stream("GET", address)) for _ in range(MOST_LISTENERS_EACH)]
        assert {stream.status_code for stream in streams} == {200}
        assert gateway.http.get(address).status_code == 429
    gate.left = math.inf

    def is_heard() -> bool:
        with gateway.http.stream("GET", address) as answer:
            return answer.status_code == 200

    eventually(is_heard)
    gateway.until(job_id, "done")
    gateway.http.delete(f"/v1/jobs/{job_id}")


def test_a_worker_that_dies_of_a_job_ends_it(gateway: Gateway, gate: Gate) -> None:
    gate.left = 0
    job_id = gateway.post(picture())
    gateway.until(job_id, "running")
    for worker in gateway.workers():
        os.kill(worker, signal.SIGKILL)
    job = gateway.until(job_id, "failed")
    assert "died" in job["problem"]["detail"]
    assert gateway.files() == []
    gate.left = math.inf
    following = gateway.post(picture())
    gateway.until(following, "done")
    for each in (job_id, following):
        gateway.http.delete(f"/v1/jobs/{each}")


def test_jobs_are_listed_only_where_somebody_owns_them(gateway: Gateway) -> None:
    assert gateway.http.get("/v1/jobs").status_code == 403


def test_with_keys_nobody_sees_the_jobs_of_another(url: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    tokens = {name: create(name, file) for name in ("anna", "bert")}
    anna, bert = ({"Authorization": f"Bearer {tokens[name]}"} for name in ("anna", "bert"))
    with Gateway(url, tmp_path, keys=str(file)) as gateway:
        assert gateway.http.post("/v1/jobs", content=picture()).status_code == 401
        answer = gateway.http.post("/v1/jobs", content=picture(), headers={**anna, "Content-Type": "image/png"})
        address = answer.headers["location"]
        for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/result"), ("DELETE", "")):
            assert gateway.http.request(method, f"{address}{path}", headers=bert).status_code == 404
            assert gateway.http.request(method, f"{address}{path}").status_code == 401
        assert gateway.http.get("/v1/jobs", headers=bert).json() == {"jobs": []}
        assert [job["id"] for job in gateway.http.get("/v1/jobs", headers=anna).json()["jobs"]] == [address[9:]]
        eventually(lambda: gateway.http.get(address, headers=anna).json()["status"] == "done")
        assert gateway.http.get(f"{address}/result", headers=anna).status_code == 200
        assert gateway.http.delete(address, headers=anna).status_code == 204


def test_jobs_are_bounded_in_number(url: str, tmp_path: Path) -> None:
    with Gateway(url, tmp_path, limits={"jobs": 3, "jobs_per_client": 2}) as gateway:
        jobs = [gateway.post(picture()), gateway.post(picture())]
        answer = gateway.http.post("/v1/jobs", content=picture(), headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.json()["limit"]) == (429, "jobs_per_client")
        assert answer.headers["retry-after"].isdigit()
        gateway.http.delete(f"/v1/jobs/{jobs[0]}")
        jobs[0] = gateway.post(picture())
        for each in jobs:
            gateway.until(each, "done")


def test_jobs_are_bounded_on_disk_results_too(url: str, tmp_path: Path, upscaled: bytes) -> None:
    most = len(upscaled) + 3000
    with Gateway(url, tmp_path, limits={"job_bytes": most}) as gateway:
        answer = gateway.http.post("/v1/jobs", content=picture() + bytes(most), headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.json()["limit_bytes"]) == (507, most)
        assert gateway.files() == []
        job_id = gateway.post(picture())
        gateway.until(job_id, "done")
        refused = gateway.post(picture(20, 20, seed=3))
        assert gateway.until(refused, "failed")["problem"]["status"] == 507
        assert sum(path.stat().st_size for path in tmp_path.glob("jobs/*/*")) == len(upscaled)
        assert not any(refused in path for path in gateway.files())
        gateway.http.delete(f"/v1/jobs/{job_id}")
        gateway.until(gateway.post(picture(20, 20, seed=3)), "done")


def test_finished_jobs_expire_with_their_files(url: str, tmp_path: Path) -> None:
    orphan = tmp_path / "jobs" / "0123456789abcdef0123456789abcdef"
    orphan.mkdir(parents=True)
    (orphan / "source").write_bytes(b"left by a gateway that was killed")
    os.utime(orphan, (time.time() - 2 * ORPHAN_S,) * 2)
    with Gateway(url, tmp_path, limits={"job_expiry_s": 3}) as gateway:
        done, failed = gateway.post(picture()), gateway.post(NO_VIDEO, "/v1/jobs")
        gateway.until(done, "done")
        gateway.until(failed, "failed")
        for job_id in (done, failed):
            eventually(lambda job_id=job_id: gateway.http.get(f"/v1/jobs/{job_id}").status_code == 410)  # type: ignore[misc]
            answers = [gateway.http.get(f"/v1/jobs/{job_id}{path}") for path in ("/result", "/events")]
            assert [answer.status_code for answer in answers] == [410, 410]
            assert gateway.http.delete(f"/v1/jobs/{job_id}").status_code == 204
        eventually(lambda: gateway.files() == [])


def test_after_kill_9_results_are_kept_and_interrupted_work_goes_on(own: Gateway, gate: Gate, upscaled: bytes) -> None:
    with own as gateway:
        finished = gateway.post(picture())
        gateway.until(finished, "done")
        gate.left = 0
        interrupted, waiting, hopeless = (gateway.post(picture()) for _ in range(3))
        gateway.until(interrupted, "running")
        gateway.kill()
        with contextlib.closing(sqlite3.connect(gateway.folder / FILE)) as connection, connection:
            asked = "UPDATE jobs SET status = 'running', holder = 'x', attempts = 3, due = due + 10 WHERE id = ?"
            connection.execute(asked, [hopeless])
        gate.left = math.inf
        gateway.start()
        assert gateway.result(finished).content == upscaled
        lost = gateway.until(hopeless, "lost")
        assert lost["problem"]["title"] == "The job was lost"
        assert gateway.result(hopeless).status_code == 500
        for job_id in (interrupted, waiting):
            gateway.until(job_id, "done")
            assert gateway.result(job_id).content == upscaled
        for job_id in (finished, interrupted, waiting, hopeless):
            gateway.http.delete(f"/v1/jobs/{job_id}")
        assert gateway.files() == []
        assert [path for path in (gateway.folder / "scratch").glob("*/*") if path.name != "lock"] == []


def test_a_gateway_that_is_stopped_puts_its_work_back_and_ends_streams(
    own: Gateway, gate: Gate, upscaled: bytes
) -> None:
    with own as gateway:
        gate.left = 0
        job_id = gateway.post(picture())
        gateway.until(job_id, "running")
        with gateway.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            for worker in gateway.workers():  # as a service manager does, which tells all processes at once
                os.kill(worker, signal.SIGTERM)
            assert gateway.stop() in (0, -signal.SIGTERM)
            assert '"status": "done"' not in "".join(lines)
        with contextlib.closing(sqlite3.connect(gateway.folder / FILE)) as connection:
            row = connection.execute("SELECT status, holder, attempts FROM jobs").fetchone()
        assert row == ("queued", "", 0)
        gate.left = math.inf
        gateway.start()
        gateway.until(job_id, "done")
        assert gateway.result(job_id).content == upscaled


def test_a_video_goes_on_where_kill_9_has_stopped_it(own: Gateway, gate: Gate, tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 40, moving(), rate=1, sound="aac")
    with own as gateway:
        gate.left = 25
        job_id = gateway.post(source.read_bytes(), "/v1/jobs")
        eventually(lambda: any(".result.mp4.edsr-video/000001.json" in path for path in gateway.files()))
        gateway.kill()
        gate.left = 20
        gateway.start()
        job = gateway.until(job_id, "done")
        assert gate.left == 0, "the first twenty frames are not done again"
        assert (job["unit"], job["done"], job["result"]["frames"]) == ("frames", 40, 40)
        result = gateway.result(job_id)
        assert result.headers["content-type"] == "video/mp4"
        (tmp_path / "out.mp4").write_bytes(result.content)
        assert [frame.time for frame in frames_of(tmp_path / "out.mp4")] == list(range(40))
        assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(source, "audio")


def test_a_job_waits_for_a_triton_that_is_away(root: Path, tmp_path: Path) -> None:
    options = ServerOptions(
        repository=root / "model_repository", run_dir=tmp_path / "run", models=("edsr_baseline_x3",)
    ).with_ports(*free_ports(3))
    with Gateway(f"http://{options.http_url}", tmp_path) as gateway:
        job_id = gateway.post(picture())
        eventually(lambda: "not ready" in gateway.job(job_id)["note"])
        assert gateway.job(job_id)["status"] in ("queued", "running")
        with start(options):
            assert gateway.until(job_id, "done")["note"] == ""
