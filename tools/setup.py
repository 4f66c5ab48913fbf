"""Makes the Python environment of this checkout, and makes it again when the lists of what belongs into it change.

`make` runs it before every command that needs the environment: where there is nothing to do it takes milliseconds and
says nothing. It runs on the system's own interpreter with the standard library, and even on one that is too old. The
environment variable VENV names the folder (.venv).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from . import check_system

ROOT = Path(__file__).resolve().parent.parent
LISTS = ("pyproject.toml", "client/pyproject.toml", "gateway/pyproject.toml", "constraints.txt")
MARK = ".installed"
EXTRAS = "conversion,engines,serving,serving-gpu,perf,demo,dev"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", "constraints.txt")


def checkouts_of(venv: Path) -> Iterator[Path]:
    """Where the code stands that an environment runs (PEP 610: editable installations say where they point to)."""
    for file in sorted(venv.glob("lib/python3*/site-packages/edsr_*.dist-info/direct_url.json"), reverse=True):
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            if said["dir_info"].get("editable"):
                yield Path(urllib.request.url2pathname(urllib.parse.urlsplit(said["url"]).path))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # damaged: installed again, if need be
            continue


def foreign(venv: Path) -> str:
    """Why this checkout must leave an environment alone: another one's code runs in it; "" if it may be used."""
    # A checkout that was moved or deleted needs it no more.
    others = [code for code in checkouts_of(venv) if code.is_dir() and not code.samefile(ROOT)]
    others = [code for code in others if not code.resolve().is_relative_to(ROOT)]  # the client is a folder of ours
    if not others:
        return ""
    return (
        f"The environment {venv} runs the code of another checkout, {others[0]}, and this one is {ROOT}: nothing was "
        "installed or started. Use an environment of this checkout's own: leave VENV= away, or name a new folder. "
        f"To give it to this checkout for good, delete {venv} first."
    )


def up_to_date(venv: Path) -> bool:
    """Whether all was installed after the last change of what is to be installed."""
    try:
        made = (venv / MARK).stat().st_mtime
        return all((ROOT / name).stat().st_mtime <= made for name in LISTS)
    except OSError:
        return False


def install(venv: Path) -> None:
    """Create the environment if there is none, and install everything.

    Raises:
        subprocess.CalledProcessError: venv or pip failed; they have said why.
    """
    python = str(venv / "bin" / "python")
    if not os.access(python, os.X_OK):
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    sys.stdout.write(f"installing into {venv}: about a minute and 3.5 GB\n")
    sys.stdout.flush()
    ours = ("./client[grpc,heif,gigapixel,video]", "./gateway[redis]", f".[{EXTRAS}]")
    editable = [word for distribution in ours for word in ("--editable", distribution)]
    subprocess.run([python, *PIP, *editable], check=True, cwd=ROOT)
    # We run pytriton's tritonserver directly: its Python dependencies are not needed and rule out numpy 2.
    # The stubs would bring the whole of TensorRT, which is not needed for types.
    subprocess.run([python, *PIP, "--no-deps", "nvidia-pytriton", "tensorrt-stubs"], check=True, cwd=ROOT)
    subprocess.run([python, str(ROOT / "tools" / "typings.py"), str(venv / "typings")], check=True)
    (venv / MARK).touch()


def main() -> int:
    """See the module; returns the process's exit code."""
    venv = Path(os.environ.get("VENV") or ".venv").absolute()
    problem = foreign(venv)
    if problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    if up_to_date(venv):
        return 0
    if check_system.main():
        return 1
    try:
        install(venv)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"error: {venv} is not complete: {error.cmd[0]} failed (see above). Run `make setup` again.\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"error: Cannot make {venv}: {error.strerror}. Name another folder with VENV=.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
