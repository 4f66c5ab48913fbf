"""On an NVIDIA GPU: an engine for the card that is there runs, computes what float32 does, and fits its plan."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from edsr_conversion.gpu.cards import Card, load_cards
from edsr_conversion.gpu.flavours import RTX, TENSORRT, supports_rtx, version
from edsr_conversion.gpu.nvml import detect
from edsr_conversion.parity import real_pictures
from edsr_serving import ServerOptions, free_ports, start
from edsr_serving.gpu.devices import devices

MODEL = "edsr_baseline_x3"


@pytest.fixture(scope="module")
def card(root: Path) -> Card:
    """The card of this machine; `make test-gpu` fails where there is none, `make test` skips."""
    if not devices():
        if os.environ.get("EDSR_REQUIRE_GPU"):
            pytest.fail("this machine has no NVIDIA GPU, or no driver")
        pytest.skip("no NVIDIA GPU")
    return detect(load_cards(root).values(), devices())


@pytest.fixture(scope="module")
def flavour(card: Card) -> str:
    """TensorRT where it is installed, else TensorRT for RTX where that knows the card."""
    if version(TENSORRT):
        return TENSORRT
    if supports_rtx(card) and version(RTX):
        return RTX
    if os.environ.get("EDSR_REQUIRE_GPU"):
        pytest.fail(f"neither TensorRT here builds for {card.name} ({card.compute_capability})")
    pytest.skip("no TensorRT for this card")


@pytest.fixture(scope="module")
def project(root: Path, card: Card, flavour: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the embedded model's engine for this card."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "models").mkdir()
    for name in ("gpus.toml", "models/models.toml"):
        shutil.copy2(root / name, folder / name)
    shutil.copytree(root / "model_repository" / MODEL, folder / "model_repository" / MODEL)
    command(folder, "engines", "--gpu", "auto", "--model", MODEL, "--flavour", flavour)
    return folder


def command(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edsr_conversion", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_engine_verifies_on_its_card(project: Path, flavour: str) -> None:
    command(project, "verify", "--gpu", "auto", "--model", MODEL, "--flavour", flavour)
    (out,) = (project / "model_repository" / MODEL / "1").glob("*.verify.json")
    result = json.loads(out.read_text("utf-8"))
    assert result["measured"]["psnr_db"] >= 60
    assert result["measured"]["memory_bytes"] <= result["planned"]["vram_bytes"]
    assert max(result["measured"]["context_bytes"]) <= result["planned"]["context_bytes"]


def test_the_embedded_triton_serves_the_engine(project: Path, card: Card, flavour: str) -> None:
    if flavour != RTX:
        pytest.skip("the embedded Triton serves engines of TensorRT for RTX only")
    options = ServerOptions(repository=project / "model_repository", run_dir=project / "run", gpu=card.key)
    options = options.with_ports(*free_ports(3))
    with start(options), triton.InferenceServerClient(options.http_url) as client:
        for picture in real_pictures():
            tensor = triton.InferInput("image", picture.shape, "UINT8")
            tensor.set_data_from_numpy(picture)
            once, twice = (client.infer(MODEL, [tensor]).as_numpy("upscaled") for _ in range(2))
            # Kernels for this shape may have been compiled in between: they add up in another order.
            assert np.abs(once.astype(int) - twice).max() <= 1
            assert once.shape == (1, picture.shape[1] * 3, picture.shape[2] * 3, 3)
