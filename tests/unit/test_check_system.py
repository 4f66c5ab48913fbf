"""What a system lacks is said with the command that installs it, before anything is installed."""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
from edsr_serving import installation

from tools.check_system import main, problems

VERSION = installation.python_version()


def test_this_system_lacks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    assert capsys.readouterr().err == ""


def test_a_missing_venv_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = importlib.util.find_spec

    def without_ensurepip(name: str, *rest: Any) -> ModuleSpec | None:
        return None if name == "ensurepip" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_ensurepip)
    assert main() == 1
    assert f"sudo apt-get install python{VERSION}-venv" in capsys.readouterr().err


def test_a_missing_libpython_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_libpython", lambda: None)
    monkeypatch.setattr(installation, "BUNDLED_LIBPYTHON", "none")
    assert list(problems()) == [
        f"libpython{VERSION}.so.1.0 is missing: sudo apt-get install libpython{VERSION}",
    ]


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 14, 0)])
def test_another_python_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    (line,) = problems()
    assert "PYTHON=python3.12" in line


def test_another_machine_and_an_old_libc_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    assert [line.split(":")[0] for line in problems()] == [
        "Linux aarch64",
        "glibc 2.31 is too old; 2.35 is needed (Ubuntu 22.04, Debian 12 and newer)",
    ]
