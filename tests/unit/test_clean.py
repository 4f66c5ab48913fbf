"""`make clean`: what it removes, what it leaves, and when it refuses."""

from __future__ import annotations

import fcntl
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def clean(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("clean", root / "tools" / "clean.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("1/model.onnx", "1/model.json", "1/model.int8.onnx", "1/t4-rtx.plan", "1/t4-rtx.json", "config.pbtxt"):
        path = tmp_path / "model_repository" / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in (".run/lock", ".run/foreground-8000/lock", ".cache/timing", "demo/out/x.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_engines_are_removed_only_when_they_are_named(clean: ModuleType, checkout: Path) -> None:
    clean.clean(checkout)
    engines = {"model_repository/m/1/t4-rtx.plan", "model_repository/m/1/t4-rtx.json"}
    assert left(checkout) == engines | {"model_repository/m/config.pbtxt", ".cache/timing"}
    clean.clean_engines(checkout)
    assert left(checkout) == {"model_repository/m/config.pbtxt"}


@pytest.mark.parametrize("folder", [".run", ".run/foreground-8000"])
def test_a_run_folder_in_use_is_seen(clean: ModuleType, checkout: Path, folder: str) -> None:
    assert list(clean.servers(checkout)) == []
    with (checkout / folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(clean.servers(checkout)) == [f"a server in {checkout / folder}"]


def test_a_server_with_its_files_elsewhere_is_seen(clean: ModuleType, checkout: Path, tmp_path: Path) -> None:
    process = tmp_path / "proc" / "4711"
    view = process / "cwd" / "model_repository" / "m"
    view.mkdir(parents=True)
    (process / "cmdline").write_bytes(b"/x/bin/tritonserver\0--http-port=1\0")
    (view / "1").symlink_to(checkout / "model_repository" / "m" / "1")
    (found,) = clean.servers(checkout, tmp_path / "proc")
    assert found.startswith("tritonserver (pid 4711")
