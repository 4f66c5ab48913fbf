"""Folders that may not be written to, or not looked into: said in a line, before the work where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import assert_one_line_error
from edsr_serving import RunningServer
from PIL import Image
from proxies import HttpProxy

# Root may write everywhere, unless it gives that up: util-linux's setpriv starts a command without it.
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture(autouse=True)
def closed(tmp_path: Path) -> Iterator[None]:
    has_tool = not WITHOUT_PRIVILEGES or shutil.which(WITHOUT_PRIVILEGES[0])
    if not has_tool or subprocess.run([*WITHOUT_PRIVILEGES, "true"], check=False).returncode:
        pytest.skip("root cannot give up its privileges here")
    yield
    for path in tmp_path.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def edsr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*WITHOUT_PRIVILEGES, sys.executable, "-m", "edsr_client", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path


async def nothing(request: object) -> None:
    return None


def inferences(proxy: HttpProxy) -> int:
    return sum(request.path.endswith("/infer") for request in proxy.requests)


def test_results_have_no_place_and_nothing_is_sent(embedded_server: RunningServer, tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / "in" / f"{index}.png")
    (tmp_path / "closed").mkdir(mode=0o555)
    with HttpProxy(embedded_server.options.http_url, nothing) as proxy:
        for arguments in (
            ("batch", "in", "closed"),
            ("batch", "in", "closed/out"),
            ("upscale", "in/0.png", "closed/out.png"),
            ("upscale", "in/0.png", "closed/out.tif", "--bands", "always"),
        ):
            assert_one_line_error(edsr(tmp_path, *arguments, "--url", proxy.url), 4, "Permission denied")
            assert inferences(proxy) == 0, arguments
    assert list((tmp_path / "closed").iterdir()) == []


def test_one_closed_folder_stops_no_other(embedded_server: RunningServer, tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        picture(tmp_path / "in" / folder / "1.png")
    (tmp_path / "in/c").chmod(0)  # cannot be looked into
    (tmp_path / "out/b").mkdir(parents=True)
    (tmp_path / "out/b").chmod(0o555)  # cannot be written to
    done = edsr(tmp_path, "batch", "in", "out", "-r", "--url", embedded_server.options.http_url)
    assert done.returncode == 10, done.stderr
    assert done.stdout.startswith("1 made, 2 failed; ")
    assert "failed: in/b/1.png: Cannot write out/b/1.png: Permission denied." in done.stderr
    assert "failed: Cannot look into in/c: Permission denied." in done.stderr
    assert (tmp_path / "out/a/1.png").exists()
    for path in (tmp_path / "in/c", tmp_path / "out/b"):
        path.chmod(0o755)
    done = edsr(tmp_path, "batch", "in", "out", "-r", "--url", embedded_server.options.http_url)
    assert (done.returncode, done.stdout.split(";")[0]) == (0, "2 made, 1 done before"), done.stderr
