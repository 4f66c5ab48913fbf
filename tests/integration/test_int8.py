"""8 bits: what they are in the file, what they cost in quality, and that OpenVINO and the real builder take them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest
from edsr_conversion import ParityError, load_models, random_network
from edsr_conversion.cli import main
from edsr_conversion.derive import derive
from edsr_conversion.gpu.builder import Build, build
from edsr_conversion.gpu.flavours import RTX, RTX_COMPUTE_CAPABILITIES, RTX_WITHOUT_INT8
from edsr_conversion.gpu.layers import layers
from edsr_conversion.gpu.planner import MIB, profiles_of
from edsr_conversion.int8 import MAX_DROP_DB, Quality, activation_ranges, convolutions, sensitivity, with_qdq
from edsr_conversion.pictures import CALIBRATION, held_out_pairs, pictures
from edsr_conversion.repository import network_size
from edsr_conversion.runtimes import openvino_runner
from edsr_conversion.serving_graph import body_model, serving_model
from edsr_serving import InstallationError, NothingToServeError, ServerOptions, free_ports, start
from edsr_serving.cli import main as server_main
from edsr_serving.gpu.devices import devices
from edsr_serving.repository import choose, find_models
from onnx import ModelProto, numpy_helper

MODEL = "edsr_baseline_x3"


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model alone, in a folder of its own."""
    built = root / "model_repository" / MODEL / "1"
    copy: Path = tmp_path_factory.mktemp("int8") / MODEL / "1"
    copy.mkdir(parents=True)
    for name in ("model.onnx", "model.json"):
        shutil.copy2(built / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def tiny() -> ModelProto:
    return serving_model(body_model(random_network(2, 16, 2, 3).swap_red_and_blue()), 2, "tiny")


def test_photographs_lose_no_more_than_is_allowed_and_the_sidecar_says_what_graphics_lose(folder: Path) -> None:
    made = derive(folder, "int8")
    assert made.built
    quality = Quality(**made.sidecar["quality"])
    assert quality.pictures == 10
    assert quality.drop_db <= MAX_DROP_DB
    assert quality.psnr_y_db == pytest.approx(quality.fp32_psnr_y_db - quality.drop_db, abs=2e-4)
    assert 20 < quality.graphics_psnr_db < 60
    assert made.sidecar["quantization"]["calibration_pictures"] == 24
    assert made.sidecar["parity"]["psnr_db"] >= 40
    assert not derive(folder, "int8").built


def test_weights_and_activations_are_signed_and_symmetric(folder: Path) -> None:
    model = onnx.load(derive(folder, "int8").path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {constants[n.input[2]].dtype for n in quantizers} == {np.dtype(np.int8)}
    assert not any(constants[n.input[2]].any() for n in quantizers)
    kernels = [n for n in quantizers if n.input[0] in constants]
    assert len(kernels) == 33
    for node in kernels:
        values, scales = constants[node.input[0]], constants[node.input[1]]
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max(axis=(1, 2, 3)).min() >= 126, "every channel uses its range"
        assert scales.shape == (64,)
    first, *_, last = convolutions(model)
    assert {constants[n.input[1]].dtype for n in (first, last)} == {np.dtype(np.float16)}


def test_the_file_weighs_a_quarter_of_float32(folder: Path) -> None:
    assert derive(folder, "int8").path.stat().st_size < (folder / "model.onnx").stat().st_size * 0.3


def test_a_sidecar_that_loses_too_much_is_made_again(folder: Path) -> None:
    before = derive(folder, "int8").sidecar
    changed = {**before, "quality": {**before["quality"], "drop_db": 0.2}}
    (folder / "model.int8.json").write_text(json.dumps(changed), "utf-8")
    again = derive(folder, "int8")
    assert again.built
    assert again.sidecar["quality"] == before["quality"]


def test_layers_go_back_to_floating_point_until_the_quality_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edsr_conversion import int8

    few = list(islice(held_out_pairs(3), 2))
    monkeypatch.setattr(int8, "held_out_pairs", lambda _scale: few)
    monkeypatch.setattr(int8, "SENSITIVITY_PICTURES", 1)
    fp32 = onnx.load(folder / "model.onnx")
    plain = int8.quantize(fp32)
    assert len(plain.float_layers) == 2
    monkeypatch.setattr(int8, "MAX_DROP_DB", plain.quality.drop_db - 0.01)
    told: list[str] = []
    found = int8.quantize(fp32, told.append)
    assert found.quality.drop_db <= plain.quality.drop_db - 0.01
    assert len(found.float_layers) > 2
    assert "measuring what each convolution costs" in told
    monkeypatch.setattr(int8, "MAX_DROP_DB", -1.0)
    with pytest.raises(ParityError, match=r"8 bits lose .* dB on the held-out photographs"):
        int8.quantize(fp32)


def test_the_cost_of_every_layer_is_found(tiny: ModelProto) -> None:
    inputs = [np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)]
    ranges = activation_ranges(tiny, inputs)
    names = [node.name for node in convolutions(tiny)]
    errors = sensitivity(tiny, ranges, inputs)
    assert list(errors) == names
    assert min(errors.values()) > 0
    coarse = {name: value * 40 for name, value in ranges.items()}
    assert sum(sensitivity(tiny, coarse, inputs).values()) > 4 * sum(errors.values())


def test_with_every_layer_in_floating_point_it_is_float16(tiny: ModelProto) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 21, 17, 3), dtype=np.uint8)
    ranges = activation_ranges(tiny, [image])
    model = with_qdq(tiny, ranges, [node.name for node in convolutions(tiny)])
    assert not [node for node in model.graph.node if "Quantize" in node.op_type]
    assert np.abs(openvino_runner(model)(image).astype(int) - openvino_runner(tiny)(image)).max() <= 1


def test_zero_weights_and_activations_divide_by_nothing(tiny: ModelProto) -> None:
    zeroed = ModelProto()
    zeroed.CopyFrom(tiny)
    for tensor in zeroed.graph.initializer:
        if tensor.name.startswith("resFilter0"):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    image = np.random.default_rng(1).integers(0, 256, (1, 9, 8, 3), dtype=np.uint8)
    ranges = activation_ranges(zeroed, [image])
    answer = openvino_runner(with_qdq(zeroed, ranges, []))(image)
    assert np.abs(answer.astype(int) - openvino_runner(zeroed)(image)).mean() < 3


def test_calibration_and_judgement_share_no_photograph() -> None:
    names = {name for name, _ in pictures(CALIBRATION)}
    held_out = {name for name, _ in pictures("held_out_pictures")}
    assert len(names) == 24
    assert not names & held_out


@pytest.mark.parametrize("capability", RTX_COMPUTE_CAPABILITIES)
def test_the_builders_own_log_says_how_many_convolutions_run_in_8_bits(
    folder: Path, root: Path, tmp_path: Path, capability: str
) -> None:
    """All but the first and last where the hardware has them; none on 7.5, whose 8 bits are only simulated."""
    network, log = network_size(load_models(root)[MODEL]), tmp_path / "builder.log"
    moved, kernels = {}, {}
    for precision in ("fp16", "int8"):
        model = derive(folder, precision).path.read_bytes()
        planned = network.activations(480 * 480, precision)
        request = Build(model, profiles_of(480, wide=True), planned, 256 * MIB, RTX, capability)
        formats = build(request, log=log).convolutions
        runs_in_8_bits = precision == "int8" and capability not in RTX_WITHOUT_INT8
        assert formats == ({"Int8": 33, "Half": 2} if runs_in_8_bits else {"Half": 35})
        found = layers(log.read_text("utf-8"))
        moved[precision], kernels[precision] = sum(layer.bytes_per_px for layer in found), len(found)
    assert moved["fp16"] == pytest.approx(network.traffic_per_px("fp16", RTX), rel=0.02)
    assert moved["int8"] > 1.7 * moved["fp16"]
    if capability not in RTX_WITHOUT_INT8:
        assert moved["int8"] == pytest.approx(network.traffic_per_px("int8", RTX), rel=0.02)
        assert kernels == {precision: network.kernels(precision, RTX) for precision in kernels}


@pytest.mark.parametrize("capability", RTX_COMPUTE_CAPABILITIES)
def test_the_real_builder_takes_it_and_needs_no_more_than_was_planned(
    folder: Path, root: Path, capability: str
) -> None:
    network = network_size(load_models(root)[MODEL])
    planned = network.activations(480 * 480, "int8")
    model = derive(folder, "int8").path.read_bytes()
    built = build(Build(model, profiles_of(480, wide=False), planned, 256 * MIB, RTX, capability))
    assert 0.7 * planned < built.context_bytes[0] <= planned
    assert built.weights_bytes is not None
    assert built.weights_bytes <= network.weights_bytes("int8")


def test_an_engine_and_its_configuration_bear_the_precision_in_their_names(
    folder: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = folder.parents[2] / "project"
    (project / "models").mkdir(parents=True)
    for name in ("gpus.toml", "models/models.toml"):
        shutil.copy2(root / name, project / name)
    shutil.copytree(folder.parent, project / "model_repository" / MODEL)
    shutil.copy2(root / "model_repository" / MODEL / "config.pbtxt", project / "model_repository" / MODEL)
    arguments = ["--root", str(project), "engines", "--gpu", "l4", "--model", MODEL, "--precision", "int8"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "warning: 8 bits are no gain with TensorRT for RTX on NVIDIA L4" in told.err
    assert "33 of 35 convolutions in int8, 2 in fp16" in told.out
    made = project / "model_repository" / MODEL
    assert (made / "1" / "l4-int8-rtx.plan").stat().st_size > 1e6
    said = json.loads((made / "1" / "l4-int8-rtx.json").read_text("utf-8"))
    assert said["plan"]["precision"] == "int8"
    assert 'default_model_filename: "l4-int8-rtx.plan"' in (made / "configs" / "l4-int8-rtx.pbtxt").read_text("utf-8")
    # Whoever built it can serve it: the name is read as it was written, up to the card that this machine lacks.
    asked = ServerOptions(project / "model_repository", gpu="l4", precision="int8", models=(MODEL,))
    (model,) = choose(find_models(asked.repository, asked.variant), asked.models)
    assert (model.problem, model.config.name) == ("", "l4-int8-rtx.pbtxt")
    if not devices():
        with pytest.raises(InstallationError, match="no NVIDIA GPU"):
            start(asked.with_ports(*free_ports(3)))
        assert server_main(["run", "--repository", str(asked.repository), "--gpu", "l4", "--precision", "int8"]) == 4
    with pytest.raises(NothingToServeError, match="make engines GPU=l4 PRECISION=fp32 FLAVOUR=tensorrt-rtx"):
        start(replace(asked, precision="f32").with_ports(*free_ports(3)))


@pytest.mark.parametrize("flavour", ["auto", RTX])
def test_8_bits_that_would_only_be_simulated_are_refused_with_what_builds_them(
    root: Path, capsys: pytest.CaptureFixture[str], flavour: str
) -> None:
    arguments = ["--root", str(root), "engines", "--gpu", "t4", "--model", MODEL, "--precision", "int8"]
    assert main([*arguments, "--flavour", flavour]) == 12
    said = capsys.readouterr().err
    assert "does not compute in 8 bits on NVIDIA T4 (compute capability 7.5)" in said
    assert "make engines-container GPU=t4 PRECISION=int8" in said
