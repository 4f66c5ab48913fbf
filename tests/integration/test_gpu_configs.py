"""Every GPU configuration read by a real tritonserver, and a limit of a profile kept by a real backend."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from commands import Run, assert_one_line_error
from edsr_conversion import load_models, random_network
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.flavours import RTX, TENSORRT, supports_rtx, variant
from edsr_serving import ServerOptions, free_ports, start
from edsr_serving.installation import find_installation
from edsr_serving.repository import PARAMETER
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).resolve().parents[2]
MISSING_BACKEND = "unable to find backend library for backend"


@pytest.fixture(scope="module")
def read_by_triton(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], str]:
    """What a tritonserver without any GPU backend says when it loads a repository with one configuration name."""
    installation, folder = find_installation(), tmp_path_factory.mktemp("triton")
    installation.lay_out(folder)
    (folder / "none").mkdir()

    def read(repository: Path, name: str) -> str:
        http, grpc, metrics = free_ports(3)
        done = subprocess.run(
            [
                *(installation.binary, f"--model-repository={repository}", f"--backend-directory={folder / 'none'}"),
                *("--disable-auto-complete-config", "--allow-gpu-metrics=false", f"--model-config-name={name}"),
                *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
            ],
            env=installation.environment(folder),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    return read


@pytest.fixture(scope="module")
def repository(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed repository with empty version folders: configurations are read before files are missed."""
    import shutil

    folder = tmp_path_factory.mktemp("repository")
    for name in load_models(root, local=False):
        shutil.copytree(root / "model_repository" / name / "configs", folder / name / "configs")
        shutil.copy2(root / "model_repository" / name / "config.pbtxt", folder / name)
        (folder / name / "1").mkdir()
    return folder


def test_triton_reads_every_configuration_up_to_the_missing_backend(
    root: Path, repository: Path, read_by_triton: Callable[[Path, str], str]
) -> None:
    names = {
        variant(card.key, flavour): {TENSORRT: "tensorrt", RTX: "tensorrt_rtx"}[flavour]
        for card in load_cards(root, local=False).values()
        for flavour in (TENSORRT, RTX)
        if flavour == TENSORRT or supports_rtx(card)
    }
    with ThreadPoolExecutor(8) as pool:
        told = dict(zip(names, pool.map(lambda name: read_by_triton(repository, name), names), strict=True))
    for name, backend in names.items():
        for model in load_models(root, local=False):
            (line,) = [line for line in told[name].splitlines() if line.startswith(f"| {model} ")]
            assert f"{MISSING_BACKEND} '{backend}'" in line, (name, line)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: KIND_GPU", "kind: KIND_QUANTUM", "KIND_QUANTUM"),
        ("max_batch_size: 1", "max_batch_size: -1", "max_batch"),
        ("dims: 3\n", "dims: 0\n", "dimension must be integer"),
    ],
)
def test_a_wrong_configuration_would_show_there(
    repository: Path, tmp_path: Path, read_by_triton: Callable[[Path, str], str], old: str, new: str, words: str
) -> None:
    folder = tmp_path / "edsr_x3"
    (folder / "1").mkdir(parents=True)
    (folder / "configs").mkdir()
    text = (repository / "edsr_x3" / "configs" / "t4.pbtxt").read_text("utf-8")
    assert old in text
    (folder / "configs" / "t4.pbtxt").write_text(text.replace(old, new, 1), "utf-8")
    told = read_by_triton(tmp_path, "t4")
    assert MISSING_BACKEND not in told
    assert words in told


def test_a_served_model_refuses_a_shape_over_its_profile(build_repository: Callable[..., Path], tmp_path: Path) -> None:
    """The CPU backend keeps the same limits: three profiles, of which the tall one is left out here."""
    folder = build_repository(random_network(1, 8, 3), max_lr_pixels=2304)
    config = folder / "tiny" / "config.pbtxt"
    config.write_text(config.read_text("utf-8") + PARAMETER.format(key="max_shapes", value="48x48,36x64"), "utf-8")
    options = ServerOptions(repository=folder, run_dir=tmp_path / "run").with_ports(*free_ports(3))
    with start(options), triton.InferenceServerClient(options.http_url) as client:

        def upscale(height: int, width: int) -> tuple[int, ...]:
            tensor = triton.InferInput("image", [1, height, width, 3], "UINT8")
            tensor.set_data_from_numpy(np.zeros((1, height, width, 3), np.uint8))
            shape: tuple[int, ...] = client.infer("tiny", [tensor]).as_numpy("upscaled").shape
            return shape

        assert upscale(48, 48) == (1, 144, 144, 3)
        assert upscale(36, 64) == (1, 108, 192, 3)
        for height, width in ((64, 36), (37, 49), (1, 65)):
            with pytest.raises(
                InferenceServerException, match=r"fits none of the shapes.*48x48, 36x64.*send tiles"
            ) as caught:
                upscale(height, width)
            assert caught.value.status() == "400"
        with pytest.raises(InferenceServerException, match="more than the 2304"):
            upscale(49, 49)
        assert upscale(1, 1) == (1, 3, 3, 3)


def test_serving_on_a_gpu_that_is_not_there_is_explained(run: Run, root: Path, tmp_path: Path) -> None:
    arguments = ("edsr_serving", "run", "--repository", root / "model_repository", "--run-dir", tmp_path / "run")
    assert_one_line_error(run(*arguments, "--gpu", "h100"), 5, "make up GPU=h100")
    assert_one_line_error(run(*arguments, "--gpu", "nonesuch"), 5, "no configuration nonesuch-rtx")
    assert_one_line_error(run(*arguments, "--gpu", "auto"), 4, "no NVIDIA GPU")
    assert_one_line_error(run(*arguments, "--gpu", "t4", "--precision", "bf16"), 1, "on a GPU")
    assert_one_line_error(run(*arguments, "--precision", "fp16"), 1, "on the CPU")
