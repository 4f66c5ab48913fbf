"""Finds the embedded Triton of this Python environment, and lays out a backend folder for it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from .errors import InstallationError

OUR_BACKENDS = Path(__file__).parent / "backends"
BACKENDS = "backends"
STUB = "triton_python_backend_stub"
# The stub for this version comes with a libpython of its own.
BUNDLED_LIBPYTHON = "3.13"
LIBPYTHON = re.compile(rb"libpython3[-.0-9a-z]*\.so\.1\.0")


@dataclass(frozen=True)
class Installation:
    """Paths of an embedded Triton: its distribution folder, its libraries, and the libpython its stub loads."""

    distribution: Path
    libraries: Path
    libpython: Path | None

    @property
    def binary(self) -> Path:
        """The tritonserver executable."""
        return self.distribution / "bin" / "tritonserver"

    @property
    def stub(self) -> Path:
        """The Python backend's stub process for this interpreter."""
        return self.distribution / "python_backend_stubs" / python_version() / STUB

    def lay_out(self, folder: Path) -> None:
        """Make `folder`/backends (Triton's Python backend with our stub, and our backends) and `folder`/lib."""
        for name in (BACKENDS, "lib"):
            shutil.rmtree(folder / name, ignore_errors=True)
        backends = folder / BACKENDS
        shutil.copytree(OUR_BACKENDS, backends, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(self.distribution / "backends" / "python", backends / "python")
        # A link: a file written just now may still count as open for writing, and then cannot be executed.
        (backends / "python" / STUB).symlink_to(self.stub)
        (folder / "lib").mkdir()
        if self.libpython is not None:
            (folder / "lib" / needed_libpython(self.stub)).symlink_to(self.libpython)

    def environment(self, folder: Path) -> dict[str, str]:
        """Environment of the server: our libpython, Triton's libraries, and this interpreter first on PATH.

        The stub looks for its packages beside the first `python3` on PATH, and ignores PYTHONPATH.
        """
        libraries = [str(folder.absolute() / "lib"), str(self.libraries), os.environ.get("LD_LIBRARY_PATH", "")]
        interpreter = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
            "PATH": f"{interpreter}:{os.environ.get('PATH', '')}",
        }


def python_version() -> str:
    """Major and minor version of this interpreter, "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def find_installation() -> Installation:
    """The embedded Triton of this environment.

    Raises:
        InstallationError: a part is missing; the message has the command that installs it.
    """
    spec = importlib.util.find_spec("pytriton")  # finds it without importing it
    if spec is None or not spec.submodule_search_locations:
        raise InstallationError(
            "The embedded tritonserver is not installed in this environment. Run `make setup`, "
            "or `pip install --no-deps nvidia-pytriton==0.7.0`."
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    installation = Installation(package / "tritonserver", package.parent / "nvidia_pytriton.libs", find_libpython())
    if not installation.binary.exists():
        raise InstallationError(f"{installation.binary} is missing. Install nvidia-pytriton again (Linux x86-64 only).")
    if not installation.stub.exists():
        raise InstallationError(
            f"The embedded Triton has no Python backend for Python {python_version()}. "
            "Make the environment with Python 3.10, 3.11, 3.12 or 3.13."
        )
    if installation.libpython is None and python_version() != BUNDLED_LIBPYTHON:
        raise InstallationError(
            f"The shared library libpython{python_version()}.so.1.0 is missing. Debian and Ubuntu: "
            f"`sudo apt-get install libpython{python_version()}`. A Python you built yourself needs --enable-shared."
        )
    return installation


def needed_libpython(stub: Path) -> str:
    """File name of the libpython a stub is linked to."""
    found = LIBPYTHON.search(stub.read_bytes())
    if found is None:
        raise InstallationError(f"{stub} is not linked to a libpython. Install nvidia-pytriton again.")
    return found.group().decode("ascii")


def find_libpython() -> Path | None:
    """This interpreter's own shared library, where its build says it is or where the system keeps libraries."""
    name = f"libpython{python_version()}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib", f"/usr/lib/{multiarch}", "/usr/lib64"]
    return next((path for folder in folders if folder and (path := Path(folder) / name).exists()), None)
