"""Every GPU configuration read by a real tritonserver, and a limit of a profile kept by a real backend."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from commands import Run, assert_one_line_error
from edsr_conversion import load_models, random_network
from edsr_conversion.catalogue import Model
from edsr_conversion.derive import derive
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.engine import build_engine
from edsr_conversion.gpu.flavours import RTX, TENSORRT, supports_rtx, version
from edsr_conversion.gpu.planner import make_plan
from edsr_conversion.repository import gpu_config, network_size
from edsr_serving import ServerOptions, free_ports, start
from edsr_serving.gpu.devices import devices
from edsr_serving.installation import find_installation
from edsr_serving.processes import clean_up, wait_for
from edsr_serving.repository import PARAMETER
from edsr_serving.variants import Variant
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = {TENSORRT: "tensorrt", RTX: "tensorrt_rtx"}
# Answers with a black picture of the right shape.
STAND_IN = """\
import numpy as np
import triton_python_backend_utils as pb_utils
from edsr_serving.tensors import tensor_of
class TritonPythonModel:
    def execute(self, requests):
        shapes = [pb_utils.get_input_tensor_by_name(request, "image").shape() for request in requests]
        print("".join(f"got {list(shape)}\\n" for shape in shapes), end="", flush=True)
        black = [np.zeros((n, 3 * height, 3 * width, 3), np.uint8) for n, height, width, _ in shapes]
        return [pb_utils.InferenceResponse([tensor_of(array, pb_utils.Tensor)]) for array in black]
"""


# Card and flavour of every committed GPU configuration, by its name.
NAMES = {
    Variant(card.key, flavour=flavour).name: (card.key, flavour)
    for card in load_cards(ROOT, local=False).values()
    for flavour in BACKENDS
    if flavour == TENSORRT or supports_rtx(card)
}


def status(log: str, model: str) -> str:
    """A model's line in the table that Triton prints once it has tried to load all."""
    return next((line for line in log.splitlines() if line.startswith(f"| {model} ")), log)


@pytest.fixture(scope="module")
def read_by_triton(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """What a real tritonserver says of a repository, with one configuration name.

    `stand_ins`: Python backends under the names of the GPU ones; without them there is no such backend.
    """
    installation, folder = find_installation(), tmp_path_factory.mktemp("triton")
    installation.lay_out(folder)
    (folder / "none").mkdir()
    shutil.copytree(folder / "backends" / "python", folder / "stand-ins" / "python", symlinks=True)
    for backend in BACKENDS.values():
        (folder / "stand-ins" / backend).mkdir()
        (folder / "stand-ins" / backend / "model.py").write_text(STAND_IN, "utf-8")

    def read(repository: Path, name: str, stand_ins: bool = False) -> str:
        prefix = f"edsr-test-{os.getpid()}-{name}-"
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    *(installation.binary, f"--model-repository={repository}", f"--model-config-name={name}"),
                    f"--backend-directory={'stand-ins' if stand_ins else 'none'}",
                    *("--allow-http=false", "--allow-grpc=false", "--allow-metrics=false"),
                    *("--disable-auto-complete-config", f"--backend-config=python,shm-region-prefix-name={prefix}"),
                ],
                cwd=folder,
                env=installation.environment(folder),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Its table of models is all we want: a server without endpoints does not end in order.
        wait_for(lambda: server.poll() is not None or "| server_id" in log.read_text("utf-8", "replace"), 90)
        server.kill()
        clean_up(server.pid, prefix)
        server.wait()
        return log.read_text("utf-8", "replace")

    return read


@pytest.fixture
def repository(root: Path, tmp_path: Path) -> Path:
    """The committed configurations beside empty version folders: they are read before files are missed."""
    folder = tmp_path / "repository"
    for name in load_models(root, local=False):
        shutil.copytree(root / "model_repository" / name / "configs", folder / name / "configs")
        shutil.copy2(root / "model_repository" / name / "config.pbtxt", folder / name)
        (folder / name / "1").mkdir()
    return folder


def test_triton_reads_every_configuration_up_to_the_missing_backend(
    root: Path, repository: Path, read_by_triton: Callable[..., str]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        told = dict(zip(NAMES, pool.map(lambda name: read_by_triton(repository, name), NAMES), strict=True))
    for name, (_, flavour) in NAMES.items():
        for model in load_models(root, local=False):
            assert f"unable to find backend library for backend '{BACKENDS[flavour]}'" in status(told[name], model), (
                name
            )


def test_triton_warms_every_configuration_up(root: Path, repository: Path, read_by_triton: Callable[..., str]) -> None:
    """Further than a missing backend shows: stand-ins take the backends' names, and KIND_GPU, which a machine without a
    GPU cannot have, is replaced. Triton then validates everything, starts instances and warms them up.

    One configuration of each form, that is of those that differ in names and numbers only; with small pictures.
    """
    forms: dict[str, str] = {}
    for name in NAMES:
        paths = [repository / model / "configs" / f"{name}.pbtxt" for model in load_models(root, local=False)]
        for path in paths:
            text = path.read_text("utf-8").replace("KIND_GPU", "KIND_CPU")
            path.write_text(re.sub(r"(?<=dims: )\d\d+", "48", text), "utf-8")
        forms.setdefault(re.sub(r'"[^"]*"', "", "".join(path.read_text("utf-8") for path in paths)), name)
    assert 4 <= len(forms) < len(NAMES)
    for name in forms.values():
        told = read_by_triton(repository, name, True)
        models = load_models(root, local=False).items()
        card, flavour = load_cards(root)[NAMES[name][0]], NAMES[name][1]
        plans = {key: make_plan(card, network_size(model), "fp16", flavour) for key, model in models}
        assert all("READY" in status(told, key) for key in plans), name
        assert told.count("got [1, 48, 48, 3]") == sum(plan.instances * len(plan.profiles) for plan in plans.values())


@pytest.mark.skipif(bool(devices()), reason="this machine has a GPU")
def test_without_a_gpu_triton_says_so(repository: Path, read_by_triton: Callable[..., str]) -> None:
    for name in ("t4", "t4-rtx"):
        assert "KIND_GPU but no GPUs are available" in status(read_by_triton(repository, name, True), "edsr_x3")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: KIND_GPU", "kind: KIND_QUANTUM", "KIND_QUANTUM"),
        ("max_batch_size: 1", "max_batch_size: -1", "max_batch"),
        ("dims: 3\n", "dims: 0\n", "dimension must be integer"),
        ('backend: "tensorrt"', 'backend: "tensorrt_rtx"', "profile field"),
    ],
)
def test_a_wrong_configuration_would_show_there(
    repository: Path, read_by_triton: Callable[..., str], old: str, new: str, words: str
) -> None:
    path = repository / "edsr_x3" / "configs" / "t4.pbtxt"
    text = path.read_text("utf-8")
    assert old in text
    text = text.replace(old, new, 1)
    if words == "profile field":
        text = text.replace('platform: "tensorrt_plan"\n', "")
    path.write_text(text if "QUANTUM" in new else text.replace("KIND_GPU", "KIND_CPU"), "utf-8")
    assert words in read_by_triton(repository, "t4", True)


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
    assert_one_line_error(run(*arguments, "--gpu", "nonesuch"), 5, "There is no card 'nonesuch'")
    assert_one_line_error(run(*arguments, "--gpu", "all"), 5, "means several cards")
    assert_one_line_error(
        run(*arguments, "--gpu", "NVIDIA_A100-40GB", "--precision", "fp32"), 5, "GPU=a100-40gb PRECISION=fp32"
    )
    assert_one_line_error(run(*arguments, "--gpu", "auto"), 4, "no NVIDIA GPU")
    assert_one_line_error(run(*arguments, "--gpu", "t4", "--precision", "bf16"), 1, "on a GPU")
    assert_one_line_error(run(*arguments, "--precision", "fp16"), 1, "on the CPU")


@pytest.mark.skipif(bool(devices()), reason="this machine has a GPU: tests/gpu serves an engine on it")
def test_the_tensorrt_rtx_backend_says_what_is_missing(
    root: Path, tmp_path: Path, run: Run, build_repository: Callable[..., Path]
) -> None:
    """Triton itself refuses KIND_GPU without a GPU, so the instance is asked for on the CPU: the backend then loads the
    real runtime, up to the driver that is not there."""
    repository = build_repository(random_network(1, 8, 3))
    (tmp_path / "models").mkdir()
    shutil.copy2(root / "gpus.toml", tmp_path)
    model = Model("tiny", tmp_path / "tiny.pb", "a" * 64, 1, 8, 3, max_lr_pixels=10_000)
    onnx = derive(repository / "tiny" / "1", "fp16")
    card = load_cards(root)["t4"]
    plan = make_plan(card, network_size(model), "fp16", RTX)
    build_engine(onnx, plan, RTX, str(version(RTX)))
    text = gpu_config(model, plan).replace("KIND_GPU", "KIND_CPU")
    (repository / "tiny" / "config.pbtxt").write_text(text, "utf-8")
    installation = find_installation()
    installation.lay_out(tmp_path / "run")
    http, grpc, metrics = free_ports(3)
    done = subprocess.run(
        [
            *(installation.binary, f"--model-repository={repository}", "--backend-directory=backends"),
            *("--disable-auto-complete-config", "--allow-gpu-metrics=false"),
            *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
        ],
        cwd=tmp_path / "run",
        env=installation.environment(tmp_path / "run"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert re.search(r"t4-rtx\.plan cannot be served here: .*driver", done.stdout + done.stderr)
