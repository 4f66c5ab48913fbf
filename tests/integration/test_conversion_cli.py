"""The command line of the conversion, as a user runs it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Run, assert_one_line_error
from edsr_conversion import random_network
from edsr_conversion.derive import derive
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.engine import build_engine
from edsr_conversion.gpu.flavours import RTX, version
from edsr_conversion.gpu.planner import NetworkSize, make_plan


def test_inspect_describes_the_embedded_graph(run: Run, root: Path) -> None:
    result = run("edsr_conversion", "inspect", "models/edsr_baseline_x3.pb", "--json", cwd=root)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["blocks"], facts["filters"], facts["scale"], facts["quantized"]) == (16, 64, 3, True)
    assert facts["flop_per_lr_pixel"] == 2_467_584
    assert facts["published_edsr_x3"] is False
    assert facts["sha256"] == hashlib.sha256((root / "models/edsr_baseline_x3.pb").read_bytes()).hexdigest()
    text = run("edsr_conversion", "inspect", root / "models/edsr_baseline_x3.pb")
    assert "1,235,995" in text.stdout
    assert text.stderr == ""


def test_synthesize_then_onnx_then_onnx_again(run: Run, tmp_path: Path) -> None:
    made = run("edsr_conversion", "synthesize", "--blocks", 1, "--filters", 8, "--scale", 4, "x4.pb")
    assert made.returncode == 0, made.stderr
    first = run("edsr_conversion", "onnx", "x4.pb", "-o", "deep/out")
    assert first.returncode == 0, first.stderr
    assert "parity with TensorFlow" in first.stdout
    assert "x4" in first.stdout
    assert sorted(path.name for path in (tmp_path / "deep/out").iterdir()) == ["model.json", "model.onnx"]
    assert "up to date" in run("edsr_conversion", "onnx", "x4.pb", "-o", "deep/out").stdout


def test_a_full_size_twin_of_the_published_graph_becomes_an_engine(run: Run, root: Path, tmp_path: Path) -> None:
    made = run("edsr_conversion", "synthesize", "twin.pb")
    assert "38,424,603 parameters" in made.stdout
    assert (tmp_path / "twin.pb").stat().st_size == pytest.approx(38_524_784, rel=1e-3)
    result = run("edsr_conversion", "onnx", "twin.pb", "-o", "out")
    assert result.returncode == 0, result.stderr
    assert "32 blocks x 256 filters, x3, fp32" in result.stdout
    assert "parity with TensorFlow on 10 inputs" in result.stdout
    size = NetworkSize(blocks=32, filters=256, scale=3)
    engine = build_engine(
        derive(tmp_path / "out", "fp16"), make_plan(load_cards(root)["t4"], size, "fp16"), RTX, str(version(RTX))
    )
    assert engine.sidecar["parity"]["psnr_db"] >= 60
    assert engine.plan.stat().st_size == pytest.approx(2 * size.parameters, rel=0.05)


@pytest.fixture
def repository(root: Path, tmp_path: Path, write_graph: Callable[..., Path]) -> Path:
    """A repository root with one listed graph that is present and one that is not."""
    (tmp_path / "models").mkdir()
    shutil.copy2(root / "gpus.toml", tmp_path)
    graph = write_graph(random_network(1, 8))
    shutil.move(graph, tmp_path / "models" / "tiny.pb")
    digest = hashlib.sha256((tmp_path / "models" / "tiny.pb").read_bytes()).hexdigest()
    size = "blocks = 1\nfilters = 8\nscale = 3\nmax_lr_pixels = 100\n"
    (tmp_path / "models" / "models.toml").write_text(
        f'[tiny]\ngraph = "tiny.pb"\nsha256 = "{digest}"\n{size}[absent]\ngraph = "absent.pb"\nsha256 = "00"\n{size}',
        "utf-8",
    )
    return tmp_path


def test_onnx_builds_every_listed_model_whose_graph_is_present(run: Run, repository: Path) -> None:
    result = run("edsr_conversion", "onnx")
    assert result.returncode == 0, result.stderr
    assert "absent: no graph" in result.stdout
    assert (repository / "model_repository/tiny/1/model.onnx").exists()
    assert not (repository / "model_repository/absent").exists()
    assert run("edsr_conversion", "configs").returncode == 0
    assert (repository / "model_repository/absent/config.pbtxt").exists()


def test_a_listed_graph_that_was_changed_is_refused(run: Run, repository: Path) -> None:
    path = repository / "models" / "models.toml"
    path.write_text(path.read_text("utf-8").replace('sha256 = "', 'sha256 = "0', 1), "utf-8")
    assert_one_line_error(run("edsr_conversion", "onnx"), 3, "models.toml promises")
    assert not (repository / "model_repository").exists()


def test_a_table_changed_after_the_conversion_is_refused_as_before_it(run: Run, repository: Path) -> None:
    path, right = repository / "models" / "models.toml", repository / "models" / "right.toml"
    shutil.copy2(path, right)
    wrong = path.read_text("utf-8").replace("blocks = 1", "blocks = 2", 1)
    path.write_text(wrong, "utf-8")
    before = run("edsr_conversion", "onnx")
    shutil.copy2(right, path)
    assert run("edsr_conversion", "onnx").returncode == 0
    path.write_text(wrong, "utf-8")
    for command in (("onnx",), ("engines", "--gpu", "t4", "--model", "tiny"), ("precision",)):
        after = run("edsr_conversion", *command)
        assert_one_line_error(after, 3, "has (blocks, filters, scale) (1, 8, 3), but models.toml says (2, 8, 3)")
        assert after.stderr.splitlines()[-1] == before.stderr.splitlines()[-1]
    assert not list((repository / "model_repository").glob("tiny/1/*.plan"))


@pytest.mark.parametrize("part", ["source", "model"])
def test_a_converted_model_whose_sidecar_lacks_something_is_converted_again(
    run: Run, repository: Path, part: str
) -> None:
    assert run("edsr_conversion", "onnx").returncode == 0
    path = repository / "model_repository" / "tiny" / "1" / "model.json"
    before = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({key: value for key, value in before.items() if key != part}), "utf-8")
    refused = run("edsr_conversion", "engines", "--gpu", "t4", "--model", "tiny")
    assert_one_line_error(refused, 13, "`make onnx MODEL=tiny` builds it")
    again = run("edsr_conversion", "onnx", "--model", "tiny")
    assert "wrote" in again.stdout, again.stderr
    assert json.loads(path.read_text("utf-8")) == before


def test_errors_are_one_line_with_an_exit_code_and_leave_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.pb").write_bytes(b"hello")
    before = sorted(tmp_path.iterdir())
    assert_one_line_error(run("edsr_conversion", "inspect", "none.pb"), 4, "There is no graph")
    assert_one_line_error(run("edsr_conversion", "inspect", "bad.pb"), 5, "not a frozen TensorFlow graph")
    assert_one_line_error(run("edsr_conversion", "onnx", "bad.pb", "-o", "out"), 5, "not a frozen TensorFlow graph")
    assert_one_line_error(run("edsr_conversion", "onnx", "bad.pb"), 3, "-o DIR")
    assert_one_line_error(run("edsr_conversion", "onnx"), 3, "models.toml")
    assert_one_line_error(run("edsr_conversion", "synthesize", "--filters", 0, "x.pb"), 3, "need blocks")
    assert_one_line_error(run("edsr_conversion", "synthesize", "no/such/folder/x.pb"), 1, "Cannot write")
    assert sorted(tmp_path.iterdir()) == before


def test_fetch_refuses_another_file_and_leaves_nothing(run: Run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(root / "models" / "models.toml", tmp_path / "models")
    (tmp_path / "other.pb").write_bytes(b"other")
    result = run("edsr_conversion", "fetch", "--from", "other.pb")
    assert_one_line_error(result, 7, "5 bytes, expected 38,524,784")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["models.toml"]
