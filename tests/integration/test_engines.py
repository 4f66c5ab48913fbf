"""Engines really built by TensorRT for RTX, on a machine that needs no GPU, through the command line."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import Run, assert_one_line_error
from edsr_conversion import convert, load_models, random_network, read_graph
from edsr_conversion.convert import MODEL_FILE, NETWORK_FACTS, write_pair
from edsr_conversion.derive import derive
from edsr_conversion.errors import EngineError, ParityError
from edsr_conversion.gpu.builder import Build, build
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.engine import build_engine, describe
from edsr_conversion.gpu.flavours import RTX, RTX_COMPUTE_CAPABILITIES, version
from edsr_conversion.gpu.planner import MIB, NetworkSize, make_plan, profiles_of
from edsr_conversion.network import Conv, Edsr
from edsr_conversion.parity import Parity
from edsr_conversion.precisions import to_fp16
from edsr_conversion.repository import network_size
from edsr_conversion.serving_graph import body_model, serving_model

TINY = NetworkSize(2, 16, 3)


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the catalogues and two converted models: the embedded one, and a small one of the user's own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "models").mkdir()
    for name in ("gpus.toml", "models/models.toml"):
        shutil.copy2(root / name, folder / name)
    ignored = shutil.ignore_patterns("*.plan", "edsr_photo_x3")  # which has the size of the other
    shutil.copytree(root / "model_repository", folder / "model_repository", ignore=ignored)
    from edsr_conversion import graph_def

    graph = folder / "models" / "tiny.pb"
    graph.write_bytes(
        graph_def(random_network(TINY.blocks, TINY.filters, TINY.scale), quantized=True).SerializeToString()
    )
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    (folder / "models" / "models.local.toml").write_text(
        f'[tiny]\ngraph = "tiny.pb"\nsha256 = "{digest}"\nblocks = 2\nfilters = 16\nscale = 3\nmax_lr_pixels = 10000\n',
        "utf-8",
    )
    convert(read_graph(graph), folder / "model_repository" / "tiny" / "1", "tiny")
    return folder


@pytest.fixture
def engines(run: Run, project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `engines` in the project: engines("--gpu", "t4")."""

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run("edsr_conversion", "engines", *arguments, cwd=project)

    return command


def sidecar(project: Path, model: str, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        (project / "model_repository" / model / "1" / f"{name}.json").read_text("utf-8")
    )
    return loaded


@pytest.mark.parametrize("gpu", ["t4", "a10g", "l4", "rtx-4090", "rtx-5090", "a100-40gb"])
def test_an_engine_is_built_for_the_card_with_its_configuration_and_built_once(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path, gpu: str
) -> None:
    first = engines("--gpu", gpu)
    assert first.returncode == 0, first.stderr
    assert f"make engines-container GPU={gpu}" in first.stdout
    card = load_cards(project)[gpu]
    for model in ("edsr_baseline_x3", "tiny"):
        folder = project / "model_repository" / model
        plan = folder / "1" / f"{gpu}-rtx.plan"
        said = sidecar(project, model, f"{gpu}-rtx")
        assert said["engine"]["sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
        assert said["card"]["compute_capability"] == card.compute_capability
        assert said["parity"]["psnr_db"] >= 60
        assert said["parity"]["finite"]
        assert said["plan"]["total_bytes"] <= said["plan"]["budget_bytes"]
        assert f'default_model_filename: "{gpu}-rtx.plan"' in (folder / "configs" / f"{gpu}-rtx.pbtxt").read_text(
            "utf-8"
        )
        assert (folder / "configs" / f"{gpu}.pbtxt").exists()
    stamps = {path: path.stat().st_mtime_ns for path in (project / "model_repository").glob("*/1/*.plan")}
    second = engines("--gpu", gpu)
    assert second.returncode == 0
    assert second.stdout.count("up to date") == 2
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_the_builder_needs_the_memory_that_was_planned(project: Path) -> None:
    """The builder says what a context takes; the planner said it before. Never more; for these channels, exactly."""
    folder = project / "model_repository" / "edsr_baseline_x3" / "1"
    network = network_size(load_models(project)["edsr_baseline_x3"])
    for precision in ("fp16", "fp32"):
        model = derive(folder, precision).path.read_bytes()
        for side in (48, 480, 1440):
            for profiles in (profiles_of(side, wide=False), profiles_of(side, wide=True)):
                planned = network.activations(side * side, precision)
                built = build(Build(model, profiles, planned, 256 * MIB, RTX, "8.6"))
                assert built.context_bytes == (planned,) * len(profiles)
                assert built.weights_bytes == pytest.approx(network.weights_bytes(precision), rel=0.01)


def test_a_small_profile_has_a_context_of_its_own_size_and_kernels_of_its_own(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path
) -> None:
    model, cards = load_models(project)["edsr_baseline_x3"], load_cards(project)
    plan = make_plan(cards["rtx-5090"], network_size(model), "fp16", RTX)
    done = engines("--gpu", "rtx-5090", "--model", "edsr_baseline_x3", "--tuned-for", "1080x1920")
    assert done.returncode == 0, done.stderr
    said = sidecar(project, "edsr_baseline_x3", "rtx-5090-rtx")
    assert said["plan"]["profiles"][0]["opt"] == [1, 1080, 1920, 3]
    assert said["plan"]["profiles"][-1]["opt"] == [1, 512, 512, 3]
    assert said["builder"]["context_bytes"] == [size - plan.workspace_bytes for size in plan.context_sizes]
    assert said["builder"]["convolutions"] == {"Half": 35}
    assert_one_line_error(engines("--gpu", "t4", "--tuned-for", "4000x3000"), 11, "cannot be tuned for 4000x3000")


@pytest.mark.parametrize("capability", RTX_COMPUTE_CAPABILITIES)
def test_no_architecture_needs_more_than_was_planned(project: Path, capability: str) -> None:
    folder = project / "model_repository" / "tiny" / "1"
    for precision in ("fp16", "fp32"):
        planned = TINY.activations(960 * 960, precision)
        request = Build(
            derive(folder, precision).path.read_bytes(), profiles_of(960, wide=False), planned, 0, RTX, capability
        )
        (needed,) = build(request).context_bytes
        assert 0.8 * planned < needed <= planned


def test_the_builder_may_not_take_more_than_the_plan_counted(project: Path) -> None:
    model = derive(project / "model_repository" / "tiny" / "1", "fp16").path.read_bytes()
    planned = TINY.activations(960 * 960, "fp16")
    with pytest.raises(EngineError, match="wanted more memory than the plan allows"):
        build(Build(model, profiles_of(960, wide=False), planned // 2, 0, RTX, "8.9"))


def test_what_is_no_onnx_file_is_refused_with_the_parsers_words() -> None:
    with pytest.raises(EngineError, match="cannot read the ONNX file"):
        build(Build(b"no model", profiles_of(96, wide=False), MIB, MIB, RTX, "8.9"))


def test_a_card_that_is_unknown_or_out_of_reach_is_explained(
    engines: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert_one_line_error(engines("--gpu", "a10gg"), 10, "Did you mean a10g")
    for gpu in ("h100", "h200", "b200"):
        result = engines("--gpu", gpu)
        assert_one_line_error(result, 12, "cannot be built here")
        assert f"make engines-container GPU={gpu}" in result.stderr
    assert_one_line_error(engines("--gpu", "t4", "--flavour", "tensorrt"), 12, "on the card itself")
    assert_one_line_error(engines("--gpu", "t4", "--version-compatible"), 12, "FLAVOUR=tensorrt")
    assert_one_line_error(engines("--gpu", "auto"), 10, "no NVIDIA GPU")
    assert_one_line_error(engines("--gpu", "t4", "--model", "edsr_x3"), 13, "make onnx MODEL=edsr_x3")
    assert_one_line_error(engines("--gpu", "t4", "--model", "other"), 3, "There are:")


def test_all_builds_what_can_be_built_and_lists_the_rest(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path
) -> None:
    result = engines("--gpu", "all", "--model", "tiny")
    assert result.returncode == 0, result.stderr
    built = {path.name for path in (project / "model_repository" / "tiny" / "1").glob("*.plan")}
    cards = load_cards(project).values()
    assert built >= {f"{card.key}-rtx.plan" for card in cards if card.compute_capability in RTX_COMPUTE_CAPABILITIES}
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    for card in cards:
        if card.compute_capability in RTX_COMPUTE_CAPABILITIES:
            words = rf"{card.key} +tiny +{card.key}-rtx.plan +\d+\.\d  (built in \d+\.\d s|up to date)"
            words += "; 7 of 7 convolutions in fp16"
        else:
            words = rf"{card.key} +- +- +-  not here: TensorRT for RTX does not know {card.compute_capability}"
        assert re.fullmatch(words, lines[card.key])
    known = sum(card.compute_capability in RTX_COMPUTE_CAPABILITIES for card in cards)
    assert f"failed: 0; cards not here: {len(cards) - known};" in result.stdout
    assert "make engines-container GPU=CARD" in result.stdout
    assert result.stdout.count("\n") == len(cards) + 5
    again = engines("--gpu", "all", "--model", "tiny")
    assert again.returncode == 0
    assert f"engines built: 0, up to date: {known}, failed: 0;" in again.stdout
    nothing = engines("--gpu", "all", "--model", "tiny", "--flavour", "tensorrt")
    assert nothing.returncode == 12
    assert nothing.stdout.count("not here: TensorRT needs the card itself") == len(cards)
    assert_one_line_error(nothing, 12, "on the card itself")


def test_a_card_or_model_that_fails_is_no_reason_not_to_build_the_others(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path
) -> None:
    broken = project / "model_repository" / "broken" / "1"
    shutil.copytree(project / "model_repository" / "tiny" / "1", broken, ignore=shutil.ignore_patterns("*.plan"))
    (broken / "model.json").write_text("{", "utf-8")
    listed = project / "models" / "models.local.toml"
    before = listed.read_text("utf-8")
    (project / "models" / "broken.pb").write_bytes(b"")
    listed.write_text(before + before.replace("[tiny]", "[broken]"), "utf-8")
    models = ("--model", "broken", "--model", "tiny")
    try:
        result = engines("--gpu", "h100,T4,l4", *models)
        alone = engines("--gpu", "t4", *models)
    finally:
        listed.write_text(before, "utf-8")
        shutil.rmtree(broken.parent)
    assert result.returncode == 12  # of the first failure
    table, _, below = result.stdout.partition("\n\n")
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        *(["h100", "-", "-"], ["t4", "broken", "-"], ["t4", "tiny", "t4-rtx.plan"]),
        *(["l4", "broken", "-"], ["l4", "tiny", "l4-rtx.plan"]),
    ]
    assert "failed: 2; cards not here: 1;" in below
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 2
    assert "H100" in errors[0]
    assert "make onnx MODEL=broken" in errors[1]
    assert_one_line_error(alone, 13, "make onnx MODEL=broken")
    assert "tiny: " in alone.stdout


def test_another_precision_is_another_file_with_a_configuration_of_its_own(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path
) -> None:
    result = engines("--gpu", "t4", "--model", "tiny", "--precision", "fp32")
    assert result.returncode == 0, result.stderr
    assert sidecar(project, "tiny", "t4-fp32-rtx")["onnx"]["file"] == MODEL_FILE
    config = (project / "model_repository" / "tiny" / "configs" / "t4-fp32-rtx.pbtxt").read_text("utf-8")
    assert 'default_model_filename: "t4-fp32-rtx.plan"' in config


@pytest.mark.parametrize(
    ("file", "content"),
    [("l4-rtx.plan", b"half a pl"), ("l4-rtx.plan", None), ("l4-rtx.json", b'{"identity": '), ("l4-rtx.json", None)],
)
def test_a_damaged_engine_is_built_again(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path, file: str, content: bytes | None
) -> None:
    assert engines("--gpu", "l4", "--model", "tiny").returncode == 0
    path = project / "model_repository" / "tiny" / "1" / file
    path.write_bytes(content) if content is not None else path.unlink()
    again = engines("--gpu", "l4", "--model", "tiny")
    assert "built" in again.stdout
    said = sidecar(project, "tiny", "l4-rtx")
    plan = project / "model_repository" / "tiny" / "1" / "l4-rtx.plan"
    assert said["engine"]["sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()


def test_two_builds_of_one_engine_at_a_time_build_it_once(project: Path) -> None:
    folder = project / "model_repository" / "tiny" / "1"
    for path in folder.glob("rtx-3060-rtx.*"):
        path.unlink()
    command = [sys.executable, "-m", "edsr_conversion", "engines", "--gpu", "rtx-3060", "--model", "tiny"]
    both = [subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(("built" in text, "up to date" in text) for text in told) == [(False, True), (True, False)]


def test_what_a_killed_build_left_half_written_is_removed(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path
) -> None:
    folder = project / "model_repository" / "tiny" / "1"
    for name in (".l4-rtx.plan.k3x_9qzz", ".h100.json.abcd1234", ".model.fp16.onnx.00000000", ".mine"):
        (folder / name).write_bytes(b"half")
    assert engines("--gpu", "l4", "--model", "tiny").returncode == 0
    assert [path.name for path in folder.glob(".*")] == [".mine"]
    (folder / ".mine").unlink()


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    """A change that takes a key out of a sidecar: without("card", "name")."""

    def change(said: dict[str, Any]) -> None:
        for key in path[:-1]:
            said = said[key]
        del said[path[-1]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["card"].update(driver_names=["another name"]),
        lambda said: said["plan"].update(instances=7, total_bytes=1),
        lambda said: said["parity"].update(psnr_db=1.0),
        without("card", "driver_names"),
        without("version"),
    ],
)
def test_a_sidecar_that_says_something_else_is_written_anew_without_a_build(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    assert engines("--gpu", "l4", "--model", "tiny").returncode == 0
    plan = project / "model_repository" / "tiny" / "1" / "l4-rtx.plan"
    before, stamp = sidecar(project, "tiny", "l4-rtx"), plan.stat().st_mtime_ns
    changed = json.loads(json.dumps(before))
    change(changed)
    plan.with_suffix(".json").write_text(json.dumps(changed), "utf-8")
    again = engines("--gpu", "l4", "--model", "tiny")
    assert again.returncode == 0, again.stderr
    assert "up to date, described anew" in again.stdout
    assert sidecar(project, "tiny", "l4-rtx") == before
    assert plan.stat().st_mtime_ns == stamp
    assert "anew" not in engines("--gpu", "l4", "--model", "tiny").stdout


@pytest.mark.parametrize(
    "change",
    [
        *(without("identity"), without("engine", "sha256"), without("engine"), without("builder", "seconds")),
        *(without("builder"), lambda said: said.update(builder=[])),
    ],
)
def test_an_engine_whose_sidecar_lacks_what_only_a_build_tells_is_built_again(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    assert engines("--gpu", "l4", "--model", "tiny").returncode == 0
    path = project / "model_repository" / "tiny" / "1" / "l4-rtx.json"
    before = sidecar(project, "tiny", "l4-rtx")
    changed = json.loads(json.dumps(before))
    change(changed)
    path.write_text(json.dumps(changed), "utf-8")
    assert "built" in engines("--gpu", "l4", "--model", "tiny").stdout
    assert {**sidecar(project, "tiny", "l4-rtx"), "builder": 0, "engine": 0} == {**before, "builder": 0, "engine": 0}


@pytest.mark.parametrize(
    "change",
    [
        *(lambda said: said["parity"].update(psnr_db=59.9), lambda said: said["parity"].update(finite=False)),
        *(lambda said: said["parity"].update(psnr_db=math.inf), lambda said: said["parity"].update(psnr_db=math.nan)),
        *(without("parity", "psnr_db"), without("parity"), without("network"), without("source")),
    ],
)
def test_a_precision_below_its_parity_or_incompletely_described_is_made_again(
    project: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    folder = project / "model_repository" / "tiny" / "1"
    before = derive(folder, "fp16").sidecar
    assert not derive(folder, "fp16").built
    changed = json.loads(json.dumps(before))
    change(changed)
    (folder / "model.fp16.json").write_text(json.dumps(changed), "utf-8")
    again = derive(folder, "fp16")
    assert again.built
    assert again.sidecar == before == json.loads((folder / "model.fp16.json").read_text("utf-8"))


def test_a_newer_onnx_or_another_option_is_another_engine(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "1"
    shutil.copytree(project / "model_repository" / "tiny" / "1", folder, ignore=shutil.ignore_patterns("*.plan"))
    plan = make_plan(load_cards(project)["t4"], TINY, "fp16")
    here = str(version(RTX))
    first = build_engine(derive(folder, "fp16"), plan, RTX, here)
    assert first.built
    assert not build_engine(derive(folder, "fp16"), plan, RTX, here).built
    smaller = replace(plan, profiles=profiles_of(96, wide=False))
    assert build_engine(derive(folder, "fp16"), smaller, RTX, here).built
    graph = tmp_path / "other.pb"
    from edsr_conversion import graph_def

    graph.write_bytes(graph_def(random_network(2, 16, 3, seed=1), quantized=True).SerializeToString())
    convert(read_graph(graph), folder, "tiny")
    newer = build_engine(derive(folder, "fp16"), smaller, RTX, here)
    assert newer.built
    assert newer.sidecar["onnx"]["sha256"] != first.sidecar["onnx"]["sha256"]


def test_a_full_disk_leaves_what_was_there(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path
) -> None:
    assert engines("--gpu", "a10", "--model", "tiny").returncode == 0
    folder = project / "model_repository" / "tiny" / "1"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "a10-rtx.json").write_bytes(b"")  # it must be built again
    command = [sys.executable, "-m", "edsr_conversion", "engines", "--gpu", "a10", "--model", "tiny"]
    # No file may grow over 64 KiB: the plan is larger, and writing it fails as on a full disk.
    limited = subprocess.run(
        ["bash", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "-", *command],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert_one_line_error(limited, 1, "Cannot write to")
    assert {path.name for path in folder.iterdir()} == before.keys()
    assert (folder / "a10-rtx.plan").read_bytes() == before["a10-rtx.plan"]
    assert engines("--gpu", "a10", "--model", "tiny").returncode == 0


def heed_interruptions() -> None:
    """For a child: where these tests run in the background, a shell has interruptions ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(
    engines: Callable[..., subprocess.CompletedProcess[str]], project: Path
) -> None:
    """Every card is built for; the interruption comes in the middle, wherever that is."""
    folder = project / "model_repository" / "edsr_baseline_x3" / "1"
    for path in folder.glob("*-rtx.*"):
        path.unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "edsr_conversion", "engines", "--gpu", "all", "--model", "edsr_baseline_x3"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=heed_interruptions,
    )
    deadline = time.monotonic() + 60
    while not list(folder.glob("*-rtx.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not list(folder.glob(".*"))
    for plan in folder.glob("*-rtx.plan"):
        said = plan.with_suffix(".json")
        if said.exists():
            digest = hashlib.sha256(plan.read_bytes()).hexdigest()
            assert json.loads(said.read_text("utf-8"))["engine"]["sha256"] == digest
    assert engines("--gpu", "t4", "--model", "edsr_baseline_x3").returncode == 0


def test_a_precision_that_overflows_or_is_too_far_off_is_never_written(tmp_path: Path) -> None:
    network = random_network(2, 16, 3)
    kernel = network.tail.kernel
    cases = {
        # Activations a thousand times larger: they leave float16's range.
        "loud": (replace(network, head=network.head.scaled(1e3)), r"overflows: .*not finite.*Use fp32"),
        "heavy": (replace(network, head=network.head.scaled(1e7)), r"Weights .* do not fit float16.*Use fp32"),
        # A large constant that the tail cancels: of what is left, float16 keeps few bits.
        "coarse": (
            replace(
                network,
                head=Conv(network.head.kernel, network.head.bias + np.float32(2000)),
                tail=Conv(kernel - kernel.mean(axis=(0, 1, 2), keepdims=True), network.tail.bias),
            ),
            r"too far from float32: 5\d\.\d dB",
        ),
    }
    for name, (changed, words) in cases.items():
        folder = tmp_path / name / "1"
        place(changed, folder)
        with pytest.raises(ParityError, match=words):
            derive(folder, "fp16")
        assert not (folder / "model.fp16.onnx").exists()


def place(network: Edsr, folder: Path) -> None:
    """model.onnx and a sidecar without the check against TensorFlow, which such networks do not pass."""
    raw = serving_model(body_model(network), network.scale, folder.parent.name).SerializeToString()
    digest = hashlib.sha256(raw).hexdigest()
    said = {
        **{"name": folder.parent.name, "precision": "fp32", "versions": {}},
        "model": {"file": MODEL_FILE, "sha256": digest},
        "source": {"file": "x.pb", "sha256": "00", "quantized": False},
        "network": dict.fromkeys(NETWORK_FACTS, 1),
        "parity": asdict(Parity(1, 1, 0.0, 0, 0.0)),
    }
    write_pair(folder / MODEL_FILE, raw, folder / "model.json", json.dumps(said).encode())


def test_an_fp16_graph_is_float16_in_the_body_and_float32_around_it(project: Path) -> None:
    fp32 = onnx.load(project / "model_repository" / "tiny" / "1" / MODEL_FILE)
    inferred = onnx.shape_inference.infer_shapes(to_fp16(fp32))
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    for node in inferred.graph.node:
        expected = onnx.TensorProto.FLOAT16 if node.op_type in ("Conv", "Relu", "DepthToSpace") else None
        if node.op_type in ("Sub", "Round", "Clip"):
            expected = onnx.TensorProto.FLOAT
        if expected is not None and node.output[0] in types:
            assert types[node.output[0]] == expected, node.op_type
    assert [node.op_type for node in inferred.graph.node[:4]] == ["Cast", "Transpose", "Sub", "Cast"]
    assert inferred.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert inferred.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def as_by_tensorrt(project: Path, name: str, precision: str) -> dict[str, Any]:
    """The sidecar of an engine for a T4, with the plan that TensorRT would have been given."""
    network = network_size(load_models(project)["edsr_baseline_x3"])
    plan = make_plan(load_cards(project)["t4"], network, precision)
    return sidecar(project, "edsr_baseline_x3", name) | {"plan": describe(plan)}


def test_verify_and_the_container_check_refuse_what_they_cannot_do(run: Run, project: Path) -> None:
    assert_one_line_error(run("edsr_conversion", "verify", "--gpu", "t4", cwd=project), 10, "needs NVIDIA T4 itself")
    check = ("edsr_conversion", "container-check", "--release", "26.07", "--gpu", "t4")
    folder = project / "model_repository" / "edsr_baseline_x3" / "1"
    assert_one_line_error(run(*check, cwd=project), 13, "make engines-container GPU=t4")
    # A TensorRT engine as its container would leave it; only its sidecar is looked at.
    assert run("edsr_conversion", "engines", "--gpu", "t4", "--model", "edsr_baseline_x3", cwd=project).returncode == 0
    said = as_by_tensorrt(project, "t4-rtx", "fp16")
    shutil.copy2(folder / "t4-rtx.plan", folder / "t4.plan")
    for built_with, code in (("11.1.0.106", 0), ("10.13.0.35", 13)):
        (folder / "t4.json").write_text(json.dumps(said | {"version": built_with}), "utf-8")
        result = run(*check, cwd=project)
        assert result.returncode == code, result.stderr
        assert result.stdout == ("" if code else "t4\n")
    assert_one_line_error(result, 13, "the container 26.07 has 11.1.0.106")


@pytest.fixture
def make(project: Path, root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `make` with the Makefile in the project: make("engines", "GPU=t4")."""

    def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        installed = ("-f", root / "Makefile", "--old-file=setup", f"VENV={sys.prefix}")
        return subprocess.run(
            ["make", *installed, *arguments],
            cwd=project,
            # Without what a `make test` around this one says to its children.
            env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


def test_the_container_is_started_with_the_configuration_of_card_and_precision(
    make: Callable[..., subprocess.CompletedProcess[str]], run: Run, project: Path, tmp_path: Path
) -> None:
    """`make up` with a `docker` that only says what it was asked."""
    (tmp_path / "docker").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', "utf-8")
    (tmp_path / "docker").chmod(0o755)
    folder = project / "model_repository" / "edsr_baseline_x3" / "1"
    arguments = ("--gpu", "t4", "--model", "edsr_baseline_x3", "--precision", "fp32")
    assert run("edsr_conversion", "engines", *arguments, cwd=project).returncode == 0
    said = as_by_tensorrt(project, "t4-fp32-rtx", "fp32") | {"version": "11.1.0.106"}
    (folder / "t4-fp32.json").write_text(json.dumps(said), "utf-8")
    shutil.copy2(folder / "t4-fp32-rtx.plan", folder / "t4-fp32.plan")

    def up(*variables: str) -> subprocess.CompletedProcess[str]:
        return make("up", *variables, PATH=f"{tmp_path}:{os.environ['PATH']}")

    for name in ("T4", "Tesla T4"):
        started = up(f"GPU={name}", "PRECISION=fp32")
        assert "CONFIG_NAME=t4-fp32" in started.stdout.splitlines(), started.stdout + started.stderr
    for name, words in (("all", "means several cards"), ("l4", "make engines-container GPU=l4 PRECISION=fp32")):
        refused = up(f"GPU={name}", "PRECISION=fp32")
        assert refused.returncode != 0
        assert words in refused.stderr
        assert not refused.stdout
    assert "CONFIG_NAME" not in up().stdout


@pytest.mark.parametrize("target", ["engines", "verify", "engines-container"])
def test_an_unknown_card_is_refused_before_a_model_is_converted(
    make: Callable[..., subprocess.CompletedProcess[str]], target: str
) -> None:
    for variables, words in (((), f"make {target} GPU=t4"), (("GPU=t44",), "Did you mean t4")):
        refused = make(target, *variables)
        assert refused.returncode != 0
        assert words in refused.stderr
        assert not refused.stdout  # `make onnx` says something for every model
