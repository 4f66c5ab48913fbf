"""The measurement on a GPU as far as a machine without one goes: an engine is built, and what cannot run says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.flavours import RTX, version
from edsr_perf.gpu.cli import steps_of
from edsr_perf.gpu.steps import Clock, run_steps
from edsr_serving.gpu.devices import Device, devices

MODEL = "edsr_baseline_x3"


@pytest.mark.skipif(bool(devices()), reason="this machine has an NVIDIA GPU")
def test_an_engine_is_built_for_the_card_and_what_needs_the_card_says_why_not(root: Path, tmp_path: Path) -> None:
    if not version(RTX):
        pytest.skip("TensorRT for RTX is not installed")
    (tmp_path / "models").mkdir()
    for name in ("gpus.toml", "models/models.toml"):
        shutil.copy2(root / name, tmp_path / name)
    shutil.copytree(root / "model_repository" / MODEL, tmp_path / "model_repository" / MODEL)
    card = load_cards(root, local=False)["t4"]
    pretended = (Device(0, "Tesla T4", "7.5", 15360, driver="none"),)
    onnx = tmp_path / "model_repository" / MODEL / "1" / "model.onnx"
    clock = Clock(300)
    steps = steps_of(tmp_path, MODEL, onnx, card, pretended, clock)
    told: list[str] = []
    outcomes = run_steps(steps, clock, told.append)
    assert outcomes["engine"]["status"] == "done", outcomes["engine"]
    assert outcomes["engine"]["result"]["engine"] == "t4-rtx.plan"
    assert outcomes["verify"]["status"] == "failed"
    assert outcomes["concurrency"]["status"] == "failed"
    assert {outcomes[name]["status"] for name in ("matrix product", "reference")} == {"skipped"}
    assert all("\n" not in outcome.get("reason", "") for outcome in outcomes.values())
