"""The embedded model in every precision a CPU serves: how far from float32, and what clients are told."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from edsr_client import Upscaler
from edsr_client.border import BORDERS, Border
from edsr_conversion.derive import derive
from edsr_conversion.pictures import held_out_pairs
from edsr_conversion.runtimes import openvino_runner
from edsr_serving import NothingToServeError, RunningServer, ServerOptions, free_ports, start
from edsr_serving.openvino_graph import answer_in_integers
from numpy.typing import NDArray

MODEL = "edsr_baseline_x3"
LEAST_PSNR_DB = {"f32": 100.0, "bf16": 53.0, "int8": 45.0}


@pytest.fixture(scope="module")
def repository(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the embedded model, with its 8-bit file."""
    copy: Path = tmp_path_factory.mktemp("precisions") / "model_repository"
    folder = copy / MODEL / "1"
    folder.mkdir(parents=True)
    for name in ("config.pbtxt", "1/model.onnx", "1/model.json"):
        shutil.copy2(root / "model_repository" / MODEL / name, copy / MODEL / name)
    derive(folder, "int8")
    return copy


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return next(iter(held_out_pairs(3)))[1]


@pytest.fixture(scope="module")
def reference(repository: Path, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    run = openvino_runner(onnx.load(repository / MODEL / "1" / "model.onnx"))
    answer: NDArray[np.uint8] = run(picture[None])[0]
    return answer


@pytest.fixture(params=["int8", "bf16", "f32"], scope="module")
def server(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    run_dir = tmp_path_factory.mktemp("run")
    options = ServerOptions(repository=repository, run_dir=run_dir, precision=request.param)
    with start(options.with_ports(*free_ports(3))) as server:
        yield server


def psnr_db(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    square = float(((picture.astype(float) - reference) ** 2).mean())
    return 10 * math.log10(255**2 / square) if square else math.inf


def test_answers_are_near_float32_and_the_precision_is_said(
    server: RunningServer, picture: NDArray[np.uint8], reference: NDArray[np.uint8]
) -> None:
    precision = server.options.precision
    with Upscaler(server.options.http_url) as upscaler:
        assert upscaler.model_info().inference_precision == precision
        answer = upscaler.upscale(picture)
    assert psnr_db(answer, reference) >= LEAST_PSNR_DB[precision]
    assert (psnr_db(answer, reference) > 60) == (precision == "f32"), "another precision than said"
    assert f", {precision}, " in server.log.read_text("utf-8", errors="replace")


FLAT_SIZES = [(1, 1), (1, 64), (64, 1), (2, 3), (48, 48), (5, 200), (70, 90)]
COLOURS = [
    (255, 255, 255),
    (0, 0, 0),
    (128, 128, 128),
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (3, 90, 201),
]


@pytest.mark.parametrize("border", BORDERS)
def test_flat_pictures_of_every_size_keep_their_colour(server: RunningServer, border: Border) -> None:
    with Upscaler(server.options.http_url) as upscaler:
        for size in FLAT_SIZES:
            for colour in COLOURS:
                flat = np.full((*size, 3), colour, np.uint8)
                result = upscaler.upscale(flat, border=border)
                assert result.shape == (3 * size[0], 3 * size[1], 3)
                assert (result == flat[0, 0]).all(), (size, colour)


@pytest.mark.parametrize("size", [(1, 40), (40, 2), (24, 60)])
def test_small_pictures_have_no_rim(server: RunningServer, size: tuple[int, int]) -> None:
    """Next to flat: one level of noise, so that no rule for flat areas helps. In float32 the network is that exact."""
    image = (128 + np.random.default_rng(0).integers(0, 2, (*size, 3))).astype(np.uint8)
    with Upscaler(server.options.http_url) as upscaler:
        result = upscaler.upscale(image).astype(int)
    assert np.abs(result - 128.5).max() <= 3


def test_white_paper_is_white_up_to_the_letters(server: RunningServer) -> None:
    paper = np.full((90, 100, 3), 255, np.uint8)
    paper[40:50, 30:70] = 0
    with Upscaler(server.options.http_url) as upscaler:
        result = upscaler.upscale(paper)
    outside = np.ones(result.shape[:2], bool)
    outside[3 * 37 : 3 * 53, 3 * 27 : 3 * 73] = False
    assert (result[outside] == 255).all()


def test_8_bits_without_their_file_are_refused_with_the_command(root: Path, repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model_repository"
    shutil.copytree(repository, copy)
    (copy / MODEL / "1" / "model.int8.onnx").unlink()
    options = ServerOptions(repository=copy, run_dir=tmp_path / "run", precision="int8")
    with pytest.raises(NothingToServeError, match=f"make int8 MODEL={MODEL}"):
        start(options.with_ports(*free_ports(3)))


@pytest.mark.parametrize("file", ["model.onnx", "model.int8.onnx"])
def test_the_end_in_integers_computes_the_same(repository: Path, picture: NDArray[np.uint8], file: str) -> None:
    core = ov.Core()
    answers = []
    for change in (False, True):
        model = core.read_model(repository / MODEL / "1" / file)
        assert not change or answer_in_integers(model)
        assert model.outputs[0].get_any_name() == "upscaled"
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        answers.append(np.array(compiled(picture[None])[0]).astype(int))
    difference = np.abs(answers[0] - answers[1])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_another_graph_is_left_as_it_is() -> None:
    from openvino import opset13 as op

    image = op.parameter([1, -1, -1, 3], np.uint8, name="image")
    model = ov.Model([op.transpose(image, op.constant(np.array([0, 1, 2, 3])))], [image])
    before = len(model.get_ops())
    assert not answer_in_integers(model)
    assert len(model.get_ops()) == before
