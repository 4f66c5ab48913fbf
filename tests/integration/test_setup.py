"""An environment runs the code of one checkout, and no other checkout takes it over without being asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Another checkout, as far as `make` looks before it installs."""
    folder = tmp_path / "second one's"
    for name in ("client", "gateway"):
        (folder / name).mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "client/pyproject.toml", "gateway/pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "serving", folder / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PYTHONPATH"))}
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def installed(environment: Path) -> dict[str, str]:
    """What an environment's editable installations point to."""
    found = environment.glob("lib/python3*/site-packages/edsr_*.dist-info/direct_url.json")
    return {file.parent.name: file.read_text("utf-8") for file in found}


@pytest.mark.parametrize("target", ["setup", "status", "serve", "test-unit"])
def test_a_second_checkout_leaves_the_first_ones_environment_alone(second: Path, target: str) -> None:
    before = installed(Path(sys.prefix))
    assert len(before) >= 2
    (second / "constraints.txt").touch()  # newer than what is installed: there would be something to install
    refused = make(second, target, f"VENV={sys.prefix}")
    assert refused.returncode != 0
    for words in (
        f"runs the code of another checkout, {ROOT}",
        str(second),
        "leave VENV= away",
        f"delete {sys.prefix}",
    ):
        assert words in refused.stderr
    assert not refused.stdout
    assert installed(Path(sys.prefix)) == before


def test_a_link_to_it_is_no_way_around(second: Path) -> None:
    (second / ".venv").symlink_to(sys.prefix)
    assert "another checkout" in make(second, "status").stderr


def test_the_checkout_it_belongs_to_uses_it_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT)
    for checkout in (ROOT, tmp_path / "link"):
        done = make(checkout, "gpus", f"VENV={sys.prefix}")
        assert done.returncode == 0, done.stderr
        assert "NVIDIA T4" in done.stdout


def test_what_a_deleted_checkout_left_is_free(second: Path, tmp_path: Path) -> None:
    """It gets as far as installing; pip of this stand-in for an environment says what it was asked."""
    venv = tmp_path / "venv"
    mark = venv / "lib" / "python3.11" / "site-packages" / "edsr_triton-0.1.0.dist-info" / "direct_url.json"
    mark.parent.mkdir(parents=True)
    mark.write_text('{"dir_info": {"editable": true}, "url": "file:///nowhere/at%20all"}', "utf-8")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    (venv / "bin" / "python").chmod(0o755)
    done = make(second, "setup", f"VENV={venv}")
    assert done.returncode == 0, done.stderr
    assert "pip install" in done.stdout
    assert (venv / ".installed").exists()
    assert make(second, "setup", f"VENV={venv}").stdout == ""  # once
