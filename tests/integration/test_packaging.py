"""The two distributions: what their wheels hold, what the client needs, what is public."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import edsr_client
import edsr_conversion
import edsr_serving
import pytest


@pytest.fixture(scope="module")
def wheels(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """File names in each distribution's wheel."""
    out = tmp_path_factory.mktemp("wheels")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
    ]
    subprocess.run([*pip, str(root), str(root / "client")], check=True, capture_output=True)
    return {path.name.split("-")[0]: zipfile.ZipFile(path).namelist() for path in out.glob("*.whl")}


def test_each_wheel_holds_its_packages_and_nothing_else(wheels: dict[str, list[str]]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheels["edsr_client"]} == {"edsr_client"}
    tops = {name.split("/")[0].split("-")[0] for name in wheels["edsr_triton"]}
    assert tops == {"edsr_conversion", "edsr_serving", "edsr_triton"}


def test_the_root_wheel_carries_its_data(wheels: dict[str, list[str]]) -> None:
    names = wheels["edsr_triton"]
    assert "edsr_serving/backends/openvino/model.py" in names
    assert sum(name.startswith("edsr_conversion/parity_pictures/") for name in names) == 3
    assert {"edsr_conversion/py.typed", "edsr_serving/py.typed"} <= set(names)


def test_the_client_stays_thin() -> None:
    needs = {line.split(";")[0].split(">")[0].strip() for line in requires("edsr-client") or [] if "extra" not in line}
    assert needs == {"numpy", "opencv-python-headless", "tritonclient[http]"}


def test_importing_the_client_imports_nothing_of_the_rest_and_nothing_heavy() -> None:
    code = "import sys, edsr_client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {"edsr_conversion", "edsr_serving", "tensorflow", "openvino", "onnx", "tf2onnx", "grpc", "gevent", "PIL"}
    assert not unwanted & set(loaded)


@pytest.mark.parametrize("module", ["edsr_conversion", "edsr_serving"])
def test_importing_the_rest_loads_no_framework(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "openvino", "onnx", "tf2onnx", "tritonclient", "cv2", "edsr_client"} & set(loaded)


def test_the_public_surfaces_are_what_we_promise() -> None:
    assert edsr_client.__all__ == [
        *("BadImageError", "EdsrError", "ImageTooLargeError", "ModelInfo", "ModelNotFoundError", "OutputError"),
        *("RequestRefusedError", "ServerError", "ServerNotReadyError", "ServerTimeoutError", "ServerUnreachableError"),
        "Upscaler",
    ]
    for module in (edsr_client, edsr_conversion, edsr_serving):
        assert sorted(module.__all__) == list(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)
