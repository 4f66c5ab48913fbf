"""Files that hold anything: an answer or one line that says what is wrong, never a traceback and never a crash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Run, assert_one_line_error
from edsr_conversion import (
    ConversionError,
    UnsupportedGraphError,
    convert,
    graph_def,
    load_models,
    random_network,
    read_graph,
)
from edsr_conversion.cli import main
from edsr_conversion.convert import up_to_date
from edsr_conversion.derive import derive
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.engine import paths
from edsr_conversion.gpu.flavours import RTX
from edsr_conversion.gpu.planner import make_plan
from edsr_conversion.gpu.verify import check_artefact
from edsr_conversion.repository import network_size
from edsr_perf.cli import main as perf_main
from edsr_serving import ServingError
from edsr_serving.edge import BUG, unforeseen
from edsr_serving.gpu.card import card_key, check_engines
from edsr_serving.gpu.devices import Device
from edsr_serving.repository import choose, find_models, int8_quality

DEEP = "[" * 100_000
DEEPLY_NAMED = '{"a":' * 100_000
WRONG: tuple[Any, ...] = (None, "text", -1, [], {})


def mutations(value: Any, make: Callable[[Any], Any] = lambda new: new) -> Iterator[Any]:
    """The same JSON with each of its values, at every depth, of another type in turn, or missing."""
    for wrong in WRONG:
        yield make(wrong)
    if isinstance(value, dict):
        for key, each in value.items():
            yield make({other: kept for other, kept in value.items() if other != key})
            yield from mutations(each, lambda new, key=key: make({**value, key: new}))  # type: ignore[misc]
    elif isinstance(value, list):
        for at, each in enumerate(value[:2]):
            yield from mutations(each, lambda new, at=at: make([*value[:at], new, *value[at + 1 :]]))  # type: ignore[misc]


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one small model, converted, and its engine for a t4."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "models").mkdir()
    shutil.copy2(root / "gpus.toml", folder)
    graph = folder / "models" / "tiny.pb"
    graph.write_bytes(graph_def(random_network(2, 16, 3), quantized=True).SerializeToString())
    read = read_graph(graph)
    (folder / "models" / "models.toml").write_text(
        f'[tiny]\ngraph = "tiny.pb"\nsha256 = "{read.sha256}"\nblocks = 2\nfilters = 16\nscale = 3\n'
        "max_lr_pixels = 10000\n",
        "utf-8",
    )
    convert(read, folder / "model_repository" / "tiny" / "1", "tiny")
    for command in (("configs",), ("engines", "--gpu", "t4")):
        assert main(["--root", str(folder), *command]) == 0
    return folder


def recursive_functions(raw: bytes, called: bool) -> bytes:
    """A graph with a function that calls itself, and perhaps a node that calls it."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph = GraphDef.FromString(raw)
    function = graph.library.function.add()
    function.signature.name = "f"
    function.signature.input_arg.add(name="x", type=1)
    function.signature.output_arg.add(name="y", type=1)
    function.node_def.add(name="again", op="f", input=["x"])
    function.ret["y"] = "again:y:0"
    if called:
        graph.node.add(name="call", op="f", input=["IteratorGetNext"])
    return bytes(graph.SerializeToString())


def test_a_graph_with_functions_is_refused(run: Run, tmp_path: Path) -> None:
    """TensorFlow ends the process for one that calls itself: this one looked before."""
    good = graph_def(random_network(1, 4, 2), quantized=False).SerializeToString()
    path = tmp_path / "f.pb"
    for called in (False, True):
        path.write_bytes(recursive_functions(good, called))
        with pytest.raises(UnsupportedGraphError, match=r"holds functions \(f\)"):
            read_graph(path)
    assert_one_line_error(run("edsr_conversion", "onnx", path, "-o", tmp_path / "out"), 6, "holds functions (f)")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", [DEEP, DEEPLY_NAMED, "", "\0", "NaN", "[1e999]", "9" * 5000, '"\\ud800"'])
def test_a_sidecar_that_is_no_json_is_made_again(project: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    sidecar = project / "model_repository" / "tiny" / "1" / "model.json"
    whole = sidecar.read_text("utf-8")
    sidecar.write_text(text, "utf-8")
    (model,) = find_models(project / "model_repository")
    assert "damaged" in model.problem
    with pytest.raises(ConversionError, match="make onnx"):
        derive(sidecar.parent, "fp32")
    assert perf_main(["halo", "--root", str(project), "--model", "tiny"]) == 3
    assert "make onnx MODEL=tiny" in capsys.readouterr().err
    sidecar.write_text(whole, "utf-8")


def test_a_sidecar_may_hold_anything(project: Path) -> None:
    """Every value of every type: whoever reads it goes on with what is right, or says what is not."""
    folder = project / "model_repository" / "tiny" / "1"
    sidecar = folder / "model.json"
    whole = json.loads(sidecar.read_text("utf-8"))
    for said in mutations(whole):
        sidecar.write_text(json.dumps(said), "utf-8")
        assert len(find_models(project / "model_repository")) == 1
        with contextlib.suppress(ConversionError):
            up_to_date(whole["source"]["sha256"], folder, "tiny")
            derive(folder, "fp32")
    sidecar.write_text(json.dumps(whole), "utf-8")


def test_an_engines_sidecar_may_hold_anything(project: Path) -> None:
    folder = project / "model_repository" / "tiny" / "1"
    plan = make_plan(load_cards(project)["t4"], network_size(load_models(project)["tiny"]), "fp16")
    path, sidecar = paths(folder, plan, RTX)
    whole, onnx = json.loads(sidecar.read_text("utf-8")), derive(folder, "fp16")
    here = (Device(0, "Tesla T4", "7.5", 15360),)
    for said in mutations(whole):
        sidecar.write_text(json.dumps(said), "utf-8")
        with contextlib.suppress(ServingError):
            key = card_key("t4", project / "model_repository", here)
            check_engines(choose(find_models(project / "model_repository", f"{key}-rtx"), ()), here, "1")
        with contextlib.suppress(ConversionError):
            check_artefact(path, sidecar, onnx, plan, RTX)
    sidecar.write_text(json.dumps(whole), "utf-8")


@pytest.mark.parametrize("said", [{"builder": "x"}, {"builder": {"seconds": "x"}}, {"engine": []}, {"plan": 3}, None])
def test_an_engine_whose_sidecar_is_damaged_is_built_again(
    project: Path, said: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar = project / "model_repository" / "tiny" / "1" / "t4-rtx.json"
    whole = json.loads(sidecar.read_text("utf-8"))
    sidecar.write_text(json.dumps(said if said is None else whole | said), "utf-8")
    assert main(["--root", str(project), "engines", "--gpu", "t4"]) == 0, capsys.readouterr().err
    digest = hashlib.sha256(sidecar.with_suffix(".plan").read_bytes()).hexdigest()
    assert json.loads(sidecar.read_text("utf-8"))["engine"]["sha256"] == digest


def test_the_8_bit_sidecar_may_hold_anything(project: Path) -> None:
    (model,) = find_models(project / "model_repository")
    folder = model.folder / "1"
    (folder / "model.int8.onnx").write_bytes(b"onnx")
    for said in mutations({"quality": {"drop_db": 0.1}, "model": {"sha256": "a"}, "made_from": {"sha256": "b"}}):
        (folder / "model.int8.json").write_text(json.dumps(said), "utf-8")
        with pytest.raises(ServingError, match="make int8"):
            int8_quality(model)
    for name in ("model.int8.onnx", "model.int8.json"):
        (folder / name).unlink()


@pytest.mark.parametrize("name", ["models/models.toml", "models/models.local.toml", "gpus.toml", "gpus.local.toml"])
def test_a_catalogue_may_hold_anything(project: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(project, tmp_path / "p", ignore=shutil.ignore_patterns("*.plan"))
    path = tmp_path / "p" / name
    good = (project / name).read_text("utf-8") if (project / name).exists() else ""
    key = "tiny" if "models" in name else "t4"
    texts = ["a = " + DEEP, "a." * 500 + "b = 1", f"{key} = 1", f"[[{key}]]", f"[{key}]\n", "\0", "[a.b.c]\nd = 1"]
    lines = [line for line in good.splitlines() if "=" in line and not line.startswith("#")]
    for line in lines[:12]:
        for wrong in ("[]", "{}", '"x"', "-1", "nan", "1979-05-27", "true", "[[]]"):
            texts.append(good.replace(line, f"{line.split('=')[0]}= {wrong}", 1))
    load = load_models if "models" in name else load_cards
    for text in texts:
        path.write_text(text, "utf-8")
        with contextlib.suppress(ConversionError):
            load(tmp_path / "p")
    path.write_text("a = " + DEEP, "utf-8")
    assert main(["--root", str(tmp_path / "p"), "plan", "--gpu", "t4"]) == 3


def test_a_scenario_or_a_result_may_hold_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, result = tmp_path / "s.toml", tmp_path / "r.json"
    for text in (
        "a = " + DEEP,
        "measurement = 1",
        "[measurement]\na = 1",
        "[[measurement]]\nshapes = 3",
        "windows = []",
    ):
        scenario.write_text(text, "utf-8")
        assert perf_main(["run", "--scenario", str(scenario)]) == 2, text[:50]
    for text in (DEEP, "3", "null", "{}", '{"format": []}'):
        result.write_text(text, "utf-8")
        assert perf_main(["compare", str(result), str(result)]) == 2, text[:50]
    assert "Traceback" not in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(28, os.strerror(28), "/x/y")
    for error, code, words in (
        (full, 1, "No space left on device (/x/y)"),
        (MemoryError(), 1, "not enough memory"),
        (KeyError("a\nb"), BUG, "KeyError"),
    ):
        assert unforeseen(error, "edsr_x") == code
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
    monkeypatch.setenv("EDSR_TRACEBACK", "1")
    unforeseen(KeyError("a"), "edsr_x")
    assert len(capsys.readouterr().err.splitlines()) > 1
