"""The baselines as they run: OpenCV in an environment of its own, our server, the service that was replaced."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import Run
from edsr_perf.baselines import service
from edsr_perf.baselines.environments import STAMP, folder, python_of
from edsr_perf.baselines.pictures import decoded, encoded, photograph
from edsr_perf.baselines.workers import Worker
from edsr_perf.errors import BaselineFailed, EnvironmentFailed
from edsr_serving import free_ports

MODEL = "edsr_baseline_x3"


@pytest.fixture(scope="module")
def opencv(root: Path) -> Path:
    """The interpreter of OpenCV 4's environment, which is made if it is not there."""
    try:
        return python_of(root, "opencv_dnn", lambda _: None)
    except EnvironmentFailed as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("opencv")
def test_opencv_openvino_and_our_server_agree_and_are_measured(run: Run, root: Path, tmp_path: Path) -> None:
    result = run(
        *("edsr_perf", "baselines", "--root", root, "--results", tmp_path, "--shapes", "64x64", "--rounds", "1"),
        *("--without", "flask", "--without", "onnxruntime"),
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / f"baselines-{MODEL}.json").read_text("utf-8"))
    rows = {(row["key"], row["level"]): row for row in found["rows"]}
    assert {
        ("opencv", "array"),
        ("openvino-f32", "array"),
        ("ours", "array"),
        ("ours", "png"),
        ("bicubic", "array"),
    } <= {*rows}
    assert rows["opencv", "array"]["max_levels"] <= 1
    assert rows["bicubic", "array"]["max_levels"] > 1
    assert rows["ours", "png"]["of_ours"] == 1
    assert all(len(row["rounds_s"]) == 1 and row["median_s"] > 0 for row in rows.values())
    assert found["environments"]["opencv_dnn"]["opencv-contrib-python-headless"].startswith("4.11.")
    assert found["machine"]["cores"] >= 1


def test_the_replaced_service_takes_a_form_and_gives_a_picture(root: Path, tmp_path: Path) -> None:
    if not (folder(root, os.environ) / "flask_opencv" / STAMP).exists():
        pytest.skip("its environment is not there: `make perf-baselines` makes it")
    python = python_of(root, "flask_opencv", lambda _: None)
    (port,) = free_ports(1)
    picture = photograph(root, 24, 32)
    graph = root / "models" / f"{MODEL}.pb"
    with (tmp_path / "log").open("wb") as log:
        with service.running(python, root / "perf", graph, 3, 1, port, log) as versions:
            assert versions["opencv-contrib-python-headless"].startswith("4.11.")
            answer = service.enhance(port, encoded(picture, "png"), "image/png")
            assert answer.startswith(b"\x89PNG")
            assert decoded(answer).shape == (72, 96, 3)
            assert service.enhance(port, encoded(picture, "jpeg"), "image/jpeg").startswith(b"\xff\xd8")
            with pytest.raises(BaselineFailed, match="answered 400: that is no picture"):
                service.enhance(port, b"text", "image/png")
        with pytest.raises(BaselineFailed, match="did not answer"):
            service.enhance(port, b"", "image/png")
        with pytest.raises(BaselineFailed, match="ended with exit code"):
            with service.running(python, root / "perf", tmp_path / "none.pb", 3, 1, port, log):
                pass


def test_a_worker_says_what_went_wrong_and_goes_on(root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", photograph(root, 8, 8))
    given, answer = tmp_path / "in.npy", tmp_path / "out.npy"
    with (
        (tmp_path / "log").open("wb") as log,
        Worker(Path(sys.executable), "openvino_cpu", root / "perf", log) as worker,
    ):
        with pytest.raises(BaselineFailed, match="nothing is loaded"):
            worker.run(given, 1)
        with pytest.raises(BaselineFailed, match="openvino_cpu failed"):
            worker.load(onnx=str(tmp_path / "none.onnx"), threads=1, precision="f32")
        onnx = root / "model_repository" / MODEL / "1" / "model.onnx"
        loaded = worker.load(onnx=str(onnx), threads=1, precision="f32")
        assert loaded["facts"] == {"precision": "f32", "threads": 1}
        assert len(worker.run(given, 3, answer)) == 3
        assert np.load(answer).shape == (24, 24, 3)
    with pytest.raises(BaselineFailed, match="cannot be started"), (tmp_path / "log").open("wb") as log:
        Worker(tmp_path / "no-python", "bicubic", root / "perf", log)
    with (tmp_path / "log").open("wb") as log, Worker(Path(sys.executable), "none", root / "perf", log) as worker:
        with pytest.raises(BaselineFailed, match="ended with exit code 1; see "):
            worker.run(given, 1)
