"""The two distributions: what their wheels hold, what the client needs, what is public."""

from __future__ import annotations

import inspect
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import edsr_client
import edsr_conversion
import edsr_serving
import pytest
from edsr_serving import RunningServer
from PIL import Image


@pytest.fixture(scope="module")
def wheels(wheel_folder: Path) -> dict[str, list[str]]:
    """File names in each distribution's wheel."""
    return {path.name.split("-")[0]: zipfile.ZipFile(path).namelist() for path in wheel_folder.glob("*.whl")}


@pytest.fixture(scope="module")
def wheel_folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of both distributions."""
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
    return out


def test_each_wheel_holds_its_packages_and_nothing_else(wheels: dict[str, list[str]]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheels["edsr_client"]} == {"edsr_client"}
    tops = {name.split("/")[0].split("-")[0] for name in wheels["edsr_triton"]}
    assert tops == {"edsr_conversion", "edsr_perf", "edsr_serving", "edsr_triton"}


def test_the_root_wheel_carries_its_data(wheels: dict[str, list[str]]) -> None:
    names = wheels["edsr_triton"]
    assert "edsr_serving/backends/openvino/model.py" in names
    assert sum(name.startswith("edsr_conversion/parity_pictures/") for name in names) == 3
    assert {"edsr_conversion/py.typed", "edsr_serving/py.typed"} <= set(names)


def test_the_client_stays_thin() -> None:
    needs = {line.split(";")[0].split(">")[0].strip() for line in requires("edsr-client") or [] if "extra" not in line}
    assert needs == {"numpy", "opencv-python-headless", "pillow", "shtab", "tomli", "tqdm", "tritonclient[http]"}


def test_importing_the_client_imports_nothing_of_the_rest_and_nothing_heavy() -> None:
    code = "import sys, edsr_client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {
        "edsr_conversion",
        "edsr_serving",
        "tensorflow",
        "openvino",
        "onnx",
        "tf2onnx",
        "grpc",
        "gevent",
        "PIL",
        "cv2",
    }
    assert not unwanted & set(loaded)


@pytest.mark.parametrize("module", ["edsr_conversion", "edsr_serving"])
def test_importing_the_rest_loads_no_framework(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "openvino", "onnx", "tf2onnx", "tritonclient", "cv2", "edsr_client"} & set(loaded)


# Arguments may be added; those here must go on working.
METHODS = {
    "model_info": "(self)",
    "server_info": "(self)",
    "forecast": "(self, src: 'str | Path | bytes', dst: 'str | Path | None' = None, *, "
    "finishing: 'Finishing | None' = None, tile: 'int | Shape | None' = None, halo: 'Halo | None' = None, "
    "border: 'Border | Margins | None' = None, max_pixels: 'int' = 100000000, frame: 'int | None' = None, "
    "overwrite: 'bool' = False, bands: 'When' = 'auto')",
    "upscale": "(self, image: 'Array', *, tile: 'int | Shape | None' = None, halo: 'Halo | None' = None, "
    "border: 'Border | Margins | None' = None, progress: 'Progress | None' = None)",
    "upscale_many": "(self, images: 'Iterable[Array]', *, tile: 'int | Shape | None' = None, "
    "halo: 'Halo | None' = None, border: 'Border | Margins | None' = None, in_flight: 'int | None' = None, "
    "return_errors: 'bool' = False)",
    "upscale_video": "(self, src: 'str | Path', dst: 'str | Path | None' = None, *, "
    "options: 'VideoOptions | None' = None, progress: 'VideoProgress | None' = None, overwrite: 'bool' = False, "
    "restart: 'bool' = False)",
    "close": "(self)",
}


def test_the_public_surfaces_are_what_we_promise() -> None:
    assert edsr_client.__all__ == [
        "FORMATS",
        *("AccessDeniedError", "AsyncUpscaler", "BackendLostError", "BadImageError", "BadVideoError"),
        *("DecoderDiedError", "EdsrError", "FileResult", "Finishing", "Format", "ImageTooLargeError"),
        *(
            "IncompleteVideoError",
            "MissingExtraError",
            "MockTransport",
            "ModelContractError",
            "ModelInfo",
            "ModelNotFoundError",
        ),
        *(
            "NotTritonError",
            "Outline",
            "OutputBusyError",
            "OutputError",
            "OutputExistsError",
            "Picture",
            "RequestRefusedError",
        ),
        *("ServerBusyError", "ServerError", "ServerNotReadyError", "ServerTimeoutError", "ServerUnreachableError"),
        *("SettingsError", "Transport", "Upscaler", "check_available", "format_named", "outline"),
    ]
    assert {
        name: str(inspect.signature(getattr(edsr_client.Upscaler, name))).partition(" -> ")[0] for name in METHODS
    } == METHODS
    for module in (edsr_client, edsr_conversion, edsr_serving):
        assert sorted(module.__all__, key=lambda name: (not name.isupper(), name)) == list(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_client_alone_installs_and_works_in_a_new_environment(
    wheel_folder: Path, root: Path, tmp_path: Path, embedded_server: RunningServer
) -> None:
    """From another folder, with the command, the library and its types, and nothing of the rest."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python, edsr = tmp_path / "env" / "bin" / "python", tmp_path / "env" / "bin" / "edsr"
    (wheel,) = wheel_folder.glob("edsr_client-*.whl")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--constraint", str(root / "constraints.txt"), str(wheel)], check=True, capture_output=True, cwd=tmp_path
    )
    Image.new("RGB", (9, 7), (200, 10, 10)).save(tmp_path / "a.png")
    environment = {"PATH": "/usr/bin:/bin", "EDSR_URL": embedded_server.options.http_url}
    done = subprocess.run(
        [str(edsr), "upscale", "a.png"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "a_x3.png").size == (27, 21)
    refused = subprocess.run(
        [str(edsr), "info", "--protocol", "grpc"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "extra [grpc]" in refused.stderr
    listed = subprocess.run([*pip[:3], "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout
    installed = {line.partition("==")[0].lower() for line in listed.splitlines()}
    assert not {"tensorflow-cpu", "openvino", "onnx", "edsr-triton", "grpcio", "scipy", "matplotlib"} & installed
    typed = "import edsr_client, pathlib; print((pathlib.Path(edsr_client.__file__).parent / 'py.typed').exists())"
    assert subprocess.run([str(python), "-c", typed], capture_output=True, text=True, check=True).stdout == "True\n"
