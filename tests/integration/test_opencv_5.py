"""The ONNX for OpenCV 5.1, in the real wheels of 4.11 and 5.1; and docs/opencv-5.md, which says what they do."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Run, assert_one_line_error
from edsr_conversion import ParityError, convert_for_opencv, random_network, read_graph
from edsr_conversion.cli import main
from edsr_perf.baselines.environments import python_of
from edsr_perf.baselines.pictures import photograph
from edsr_perf.baselines.workers import Worker
from edsr_perf.errors import BaselineFailed
from PIL import Image

WriteGraph = Callable[..., Path]
MODEL = "edsr_baseline_x3"
# Of one loaded network, one after the other: from a pixel, odd ones, back to one it has had.
SIZES = ((1, 1), (1, 23), (29, 2), (37, 53), (64, 48), (13, 11), (37, 53))
# Loads a model and calls it with what services call it with; says what comes of each.
CALLS = """
import sys, cv2, numpy as np
model, scale = sys.argv[1], int(sys.argv[2])
def call(name, function):
    try:
        print(name, function())
    except Exception as error:
        print(name, type(error).__name__, " ".join(str(error).split()))
def loaded(path=model):
    upscaler = cv2.dnn_superres.DnnSuperResImpl_create()
    upscaler.readModel(path)
    upscaler.setModel("edsr", scale)
    return upscaler
def plain(reader, path=model):
    network = getattr(cv2.dnn, reader)(path)
    network.setInput(np.zeros((1, 3, 7, 5), np.float32))
    return network.forward().shape
picture = np.full((7, 5, 3), 90, np.uint8)
call("alone", lambda: plain("readNetFromTensorflow"))
call("bgr", lambda: loaded().upsample(picture).shape)
call("float", lambda: loaded().upsample(picture.astype(np.float32)).shape)
call("grey", lambda: loaded().upsample(picture[..., 0].copy()).shape)
call("bgra", lambda: loaded().upsample(cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)).shape)
call("none", lambda: loaded().upsample(None).shape)
call("missing", lambda: loaded("none.onnx"))
call("readNet", lambda: plain("readNet"))
call("readNetFromONNX", lambda: plain("readNetFromONNX"))
call("readNetFromTensorflow", lambda: plain("readNetFromTensorflow"))
"""


@pytest.fixture(scope="module")
def opencv_4(root: Path) -> Path:
    """The interpreter of OpenCV 4.11's environment."""
    return python_of(root, "opencv_dnn", print)


@pytest.fixture(scope="module")
def opencv_5(root: Path) -> Path:
    """The interpreter of OpenCV 5.1's environment. Its wheel shows windows, too, and needs the system's libGL."""
    python = python_of(root, "opencv_5", print)
    done = subprocess.run([python, "-c", "import cv2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nsudo apt-get install libgl1 libglib2.0-0"
    return python


@pytest.fixture(scope="module")
def embedded(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model for OpenCV."""
    out = tmp_path_factory.mktemp("opencv") / "EDSR_x3.onnx"
    return convert_for_opencv(read_graph(root / "models" / f"{MODEL}.pb"), out).model


def upscaled(python: Path, root: Path, model: Path, scale: int, pictures: Path) -> Iterator[np.ndarray]:
    """What dnn_superres makes of each .npy file of a folder, with one loaded model."""
    with (pictures / "log").open("wb") as log, Worker(python, "opencv_dnn", root / "perf", log) as worker:
        worker.load(graph=str(model), scale=scale, threads=2)
        for picture in sorted(pictures.glob("in*.npy")):
            worker.run(picture, 1, pictures / "out.npy")
            yield np.load(pictures / "out.npy")


def assert_same(
    root: Path, graph: Path, converted: Path, scale: int, folder: Path, opencv_4: Path, opencv_5: Path
) -> None:
    folder.mkdir()
    random = np.random.default_rng(scale)
    for index, (height, width) in enumerate(SIZES):
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        np.save(folder / f"in{index}.npy", noise if index % 2 else photograph(root, height, width))
    before = list(upscaled(opencv_4, root, graph, scale, folder))
    after = list(upscaled(opencv_5, root, converted, scale, folder))
    assert [picture.shape for picture in after] == [(height * scale, width * scale, 3) for height, width in SIZES]
    differences = np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in zip(before, after, strict=True)])
    assert differences.max() <= 1
    assert (differences > 0).mean() < 1e-3


def test_opencv_5_answers_as_opencv_4_does(
    root: Path, embedded: Path, tmp_path: Path, opencv_4: Path, opencv_5: Path
) -> None:
    assert_same(root, root / "models" / f"{MODEL}.pb", embedded, 3, tmp_path / "x3", opencv_4, opencv_5)


@pytest.mark.parametrize(("scale", "quantized"), [(2, False), (4, True)])
def test_the_other_scales_do_too(
    root: Path, tmp_path: Path, write_graph: WriteGraph, opencv_4: Path, opencv_5: Path, scale: int, quantized: bool
) -> None:
    graph = write_graph(random_network(3, 24, scale, seed=scale), quantized, name=f"EDSR_x{scale}")
    converted = convert_for_opencv(read_graph(graph), tmp_path / f"EDSR_x{scale}.onnx").model
    assert_same(root, graph, converted, scale, tmp_path / "pictures", opencv_4, opencv_5)


def calls(python: Path, model: Path, scale: int = 3) -> dict[str, str]:
    command = [str(python), "-c", CALLS, str(model), str(scale)]
    environment = {**os.environ, "OPENCV_LOG_LEVEL": "SILENT"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_calls_answer_in_5_as_the_page_says(root: Path, embedded: Path, opencv_4: Path, opencv_5: Path) -> None:
    page = " ".join((root / "docs" / "opencv-5.md").read_text("utf-8").split())
    graph = root / "models" / f"{MODEL}.pb"
    before, after, refused = calls(opencv_4, graph), calls(opencv_5, embedded), calls(opencv_5, graph)
    for call in ("bgr", "float"):
        assert before[call] == after[call] == "(21, 15, 3)"
    for call in ("grey", "bgra", "none", "missing"):  # never a wrong picture instead
        assert before[call].startswith("error OpenCV(4.11.0)"), before
        assert after[call].startswith("error OpenCV(5.1.0)"), after
    assert after["readNet"] == after["readNetFromONNX"] == "(1, 3, 21, 15)"
    for call in ("bgr", "readNet", "readNetFromTensorflow"):  # the symptoms that people search for
        words = refused[call].split(" error: ")[-1].removeprefix("AttributeError ")
        assert words in page, words
    for words in ("DepthSpaceLayer: blocksize is required:", """'params.has("blocksize")' must be 'true'"""):
        assert words in before["alone"], before
        assert words in page
    # Version 4 reads the new file, too, but not by dnn_superres.
    both = calls(opencv_4, embedded)
    assert both["readNetFromONNX"] == "(1, 3, 21, 15)"
    assert re.search("Failed to parse GraphDef file|Model not specified", both["bgr"]), both


def test_the_lines_of_the_page_run_in_both(
    root: Path, embedded: Path, tmp_path: Path, opencv_4: Path, opencv_5: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "docs" / "opencv-5.md").read_text("utf-8"), re.M | re.S)
    Image.fromarray(photograph(root, 24, 33)).save(tmp_path / "photo.png")
    (tmp_path / "EDSR_x3.pb").symlink_to(root / "models" / f"{MODEL}.pb")
    (tmp_path / "EDSR_x3.onnx").symlink_to(embedded)
    assert blocks
    for block in blocks:
        answers = []
        for python in (opencv_4, opencv_5):
            subprocess.run([python, "-c", block], cwd=tmp_path, check=True, timeout=120)
            answers.append(np.asarray(Image.open(tmp_path / "large.png")).astype(int))
            (tmp_path / "large.png").unlink()
        assert answers[0].shape == (72, 99, 3)
        assert np.abs(answers[0] - answers[1]).max() <= 1


def test_the_onnx_is_float_with_any_size_and_few_operations(embedded: Path) -> None:
    model = onnx.load(embedded)
    assert [node.op_type for node in model.graph.node[:3]] == ["Split", "Concat", "Conv"]
    operations = {"Split", "Concat", "Conv", "Relu", "Add", "DepthToSpace"}
    assert {node.op_type for node in model.graph.node} == operations
    assert model.graph.node[-1].op_type == "DepthToSpace"
    for value, sizes in ((model.graph.input[0], ["N", "", "H", "W"]), (model.graph.output[0], ["N", "", "3*H", "3*W"])):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert [axis.dim_param for axis in value.type.tensor_type.shape.dim] == sizes
        assert value.type.tensor_type.shape.dim[1].dim_value == 3


def test_the_command_converts_once_and_again_what_was_damaged(
    run: Run, tmp_path: Path, write_graph: WriteGraph, opencv_5: Path
) -> None:
    graph = write_graph(random_network(1, 8, 2), name="EDSR_x2")
    out = tmp_path / "deep" / "EDSR_x2.onnx"
    first = run("edsr_conversion", "opencv", graph, "-o", out)
    assert first.returncode == 0, first.stderr
    assert "parity with TensorFlow on 10 inputs" in first.stdout
    assert f'readModel("{out}"), setModel("edsr", 2)' in first.stdout
    assert sorted(path.name for path in out.parent.iterdir()) == ["EDSR_x2.onnx", "EDSR_x2.onnx.json"]
    sidecar = json.loads(out.with_name("EDSR_x2.onnx.json").read_text("utf-8"))
    assert (sidecar["model"]["file"], sidecar["source"]["file"]) == ("EDSR_x2.onnx", "EDSR_x2.pb")
    assert "is up to date" in run("edsr_conversion", "opencv", graph, "-o", out).stdout
    good = out.read_bytes()
    out.write_bytes(good[:-1])
    # What a killed process leaves, and what another program does.
    left, others = (out.with_name(name) for name in (".EDSR_x2.onnx.abcd1234", ".other.json.abcd1234"))
    left.touch()
    others.touch()
    assert convert_for_opencv(read_graph(graph), out).built
    assert out.read_bytes() == good
    assert (left.exists(), others.exists()) == (False, True)
    assert calls(opencv_5, out, 2)["bgr"] == "(14, 10, 3)"


def test_errors_are_one_line_with_an_exit_code_and_leave_nothing(
    run: Run,
    root: Path,
    tmp_path: Path,
    write_graph: WriteGraph,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph = root / "models" / f"{MODEL}.pb"
    (tmp_path / "bad.pb").write_bytes(b"hello")
    another = write_graph(random_network(1, 8), name="another")
    another.write_bytes(another.read_bytes().replace(b"Relu", b"Tanh"))
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.iterdir())
    assert_one_line_error(run("edsr_conversion", "opencv", "none.pb", "-o", "a.onnx"), 4, "There is no graph")
    assert run("edsr_conversion", "opencv", graph).returncode == 2
    monkeypatch.chdir(tmp_path)
    for source, out, code, words in (  # without a process of its own, which would load TensorFlow again
        ("bad.pb", "out/a.onnx", 5, "not a frozen TensorFlow graph"),
        ("another.pb", "out/a.onnx", 6, "Tanh where Relu"),
        (graph, "a.pb", 3, "does not end in .onnx"),
        (graph, "folder.onnx", 3, "is a folder"),
        (graph, "bad.pb/a.onnx", 1, "Cannot write to bad.pb"),
    ):
        told = main(["opencv", str(source), "-o", out]), *capsys.readouterr()
        assert_one_line_error(subprocess.CompletedProcess([], told[0], told[1], told[2]), code, words)
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_that_does_not_match_is_not_written(tmp_path: Path, write_graph: WriteGraph) -> None:
    graph = read_graph(write_graph(random_network(1, 8)))
    other = dataclasses.replace(graph, network=random_network(1, 8, seed=99))
    with pytest.raises(ParityError, match="Nothing was written"):
        convert_for_opencv(other, tmp_path / "out" / "a.onnx")
    swapped = dataclasses.replace(graph, network=graph.network.swap_red_and_blue())
    with pytest.raises(ParityError):
        convert_for_opencv(swapped, tmp_path / "out" / "a.onnx")
    assert not (tmp_path / "out").exists()


def test_the_served_model_is_not_one_that_opencv_takes(root: Path, tmp_path: Path, opencv_5: Path) -> None:
    """Why there is a second ONNX."""
    np.save(tmp_path / "in.npy", photograph(root, 7, 5))
    served = root / "model_repository" / MODEL / "1" / "model.onnx"
    with pytest.raises(BaselineFailed, match="CV_32F"):
        list(upscaled(opencv_5, root, served, 3, tmp_path))
