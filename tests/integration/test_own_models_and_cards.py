"""Models and cards of one's own, and what `make` says where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import Run, assert_one_line_error

CARD = """
[my-card]
name = "My card"
nvml_names = ["My card"]
compute_capability = "8.6"
vram_mib = 12000
bandwidth_gb_s = 400
pcie_gb_s = 12
sms = 30
fp32_tflops = 10
fp16_tflops = 40
int8_tops = 80
source = "a guess"
"""
MODEL = """
[my_x2]
graph = "{graph}"
sha256 = "{sha256}"
blocks = {blocks}
filters = 64
scale = 2
max_lr_pixels = 100000
"""


def make(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=root, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def clone(root: Path, tmp_path: Path) -> Path:
    """What is committed, with the working tree's .gitignore."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(root), str(folder))
    shutil.copy(root / ".gitignore", folder / ".gitignore")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--all", "--allow-empty", "-m", "x")
    return folder


def test_own_models_and_cards_leave_git_clean(run: Run, clone: Path) -> None:
    (clone / "gpus.local.toml").write_text(CARD)
    (clone / "models/models.local.toml").write_text(MODEL.format(graph="mine.pb", sha256="0" * 64, blocks=16))
    (clone / "models/mine.pb").write_bytes(b"a graph")
    done = run("edsr_conversion", "--root", clone, "configs")
    assert done.returncode == 0, done.stderr
    assert "my-card" in done.stdout
    assert (clone / "model_repository/edsr_baseline_x3/configs/my-card.pbtxt").exists()
    assert git(clone, "status", "--porcelain") == ""
    (clone / "gpus.local.toml").unlink()
    assert run("edsr_conversion", "--root", clone, "configs").returncode == 0
    assert not list((clone / "model_repository").glob("*/configs/.gitignore"))
    assert git(clone, "status", "--porcelain") == ""


def test_a_fault_in_the_local_file_is_called_its_own(run: Run, clone: Path) -> None:
    local = clone / "models/models.local.toml"
    shutil.copy(clone / "models/edsr_baseline_x3.pb", clone / "models/mine.pb")
    local.write_text(MODEL.format(graph="mine.pb", sha256="0" * 64, blocks=16))
    told = run("edsr_conversion", "--root", clone, "onnx", "--model", "my_x2")
    assert told.returncode != 0
    assert "but models.local.toml promises 000" in told.stderr
    assert " models.toml" not in told.stderr
    told = run("edsr_conversion", "--root", clone, "onnx", "--model", "nobody")
    assert "in models.toml and models.local.toml" in told.stderr
    local.write_text("[a]\nblocks = 1\n")
    assert_one_line_error(
        run("edsr_conversion", "--root", clone, "configs"), told.returncode, "models.local.toml: [a] lacks"
    )


def test_engines_say_whether_the_models_fit_the_card_together(run: Run, root: Path) -> None:
    from edsr_conversion.catalogue import load_models
    from edsr_conversion.gpu.cards import load_cards
    from edsr_conversion.gpu.planner import make_plan
    from edsr_conversion.gpu.workshop import Made, together_text
    from edsr_conversion.repository import network_size

    models = list(load_models(root, local=False).values())

    def made(card: str) -> list[Made]:
        plans = [make_plan(load_cards(root, local=False)[card], network_size(model), "fp16") for model in models]
        return [Made(model, plan, None, None, []) for model, plan in zip(models, plans, strict=True)]  # type: ignore[arg-type]

    both = together_text(made("t4"))
    assert "together they do not fit" in both
    assert "Serve one at a time: MODEL= one of edsr_x3, edsr_baseline_x3, edsr_photo_x3" in both
    assert "reserve for the driver" in both
    assert together_text(made("t4")[:1]) == ""


def test_a_plan_says_what_its_reserve_is_for(run: Run, root: Path) -> None:
    plan = run("edsr_conversion", "--root", root, "plan", "--gpu", "t4", "--model", "edsr_baseline_x3")
    assert plan.returncode == 0, plan.stderr
    assert "reserve          10% of the card stay free: for the driver" in plan.stdout


@pytest.mark.parametrize("given", [(), ("A=a.json",), ("B=b.json",)])
def test_make_perf_compare_says_what_to_give(root: Path, given: tuple[str, ...]) -> None:
    told = make(root, "--dry-run", "perf-compare", *given)
    assert told.returncode == 2
    assert "make perf-compare A=before.json B=after.json" in told.stderr


def test_a_second_server_has_a_run_folder_of_its_own(root: Path) -> None:
    for target in ("start", "stop", "status"):
        assert '--run-dir "$RUN_DIR"' in make(root, "--dry-run", target, "RUN_DIR=/tmp/two").stdout


def test_the_tool_of_load_tests_goes_into_the_environment_in_use() -> None:
    import sys

    from edsr_perf.analyzer.cli import TOOL_FOLDER

    assert Path(sys.prefix) in TOOL_FOLDER.parents
