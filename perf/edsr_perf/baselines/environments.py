"""The Python environments of the baselines: made when first needed, from the requirements beside each one's code."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import EnvironmentFailed
from .catalogue import PROJECT

CODE = Path("perf/baselines")
VARIABLE, FOLDER = "EDSR_BASELINES", ".venv-baselines"
STAMP = ".installed"
INSTALL_TIMEOUT_S = 600


def folder(root: Path, variables: Mapping[str, str]) -> Path:
    """Where the environments are: EDSR_BASELINES, or .venv-baselines in the repository."""
    return Path(variables.get(VARIABLE) or root / FOLDER).expanduser().absolute()


def python_of(root: Path, name: str, tell: Callable[[str], None]) -> Path:
    """The interpreter of an environment, which is made, or made again, if its requirements say so.

    Args:
        root: the repository.
        name: a folder in perf/baselines, or PROJECT.
        tell: called with a line before something is installed.

    Raises:
        EnvironmentFailed: it could not be made; the message says why and what to do.
    """
    if name == PROJECT:
        return Path(sys.executable)
    requirements = root / CODE / name / "requirements.txt"
    place = folder(root, os.environ) / name
    python, stamp = place / "bin" / "python", place / STAMP
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted:
        return python
    tell(f"installing {name} into {place} (once)")
    _do([sys.executable, "-m", "venv", "--clear", str(place)], name)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _do([*pip, "install", "--only-binary", ":all:", "--requirement", str(requirements)], name)
    stamp.write_text(wanted, "utf-8")
    return python


def reason(output: str) -> str:
    """The last error in what pip or venv printed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["no reason was given"])[-1][:300].rstrip(".")


def _do(command: list[str], name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S, env=environment
        )
        failed, words = done.returncode != 0, reason(done.stderr or done.stdout)
    except subprocess.TimeoutExpired:
        failed, words = True, f"it took more than {INSTALL_TIMEOUT_S} s"
    except OSError as error:
        failed, words = True, str(error.strerror)
    if failed:
        raise EnvironmentFailed(
            f"The environment of {name} could not be made: {words}. It is installed from a package index, once: run "
            f"this where there is one, or name a folder that has it ({VARIABLE}=folder), or leave it out (--without)."
        )
