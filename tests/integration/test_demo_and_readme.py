"""What a newcomer runs: the demonstration and the README's blocks, in a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import Run, assert_one_line_error
from edsr_client.images import read_image, write_image
from edsr_serving import free_ports

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files in another folder, with this environment: what the commands write stays out of ours."""
    folder = tmp_path_factory.mktemp("checkout") / "edsr-triton"
    ignored = shutil.ignore_patterns(".git", ".venv*", ".run", "out", "__pycache__", ".*_cache", "photographs", "run")
    shutil.copytree(root, folder, ignore=ignored)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    return folder


def test_the_demonstration_shows_a_gain_and_writes_the_pictures(run: Run, checkout: Path) -> None:
    result = run("demo/run.py", cwd=checkout)
    assert result.returncode == 0, result.stderr
    gain = re.search(r"^gain +\+(\d+\.\d+) dB over bicubic$", result.stdout, re.MULTILINE)
    assert gain is not None, result.stdout
    assert float(gain.group(1)) > 1.5
    assert re.search(r"270x213 -> 810x639: HTTP \d+ ms, gRPC \d+ ms .* identical", result.stdout)
    out = checkout / "demo" / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        *("bicubic.png", "comparison.png", "edsr.png", "lr.png", "original.png"),
    ]
    assert read_image(out / "edsr.png").shape == read_image(out / "original.png").shape == (639, 810, 3)
    assert read_image(out / "comparison.png").shape[1] > 1000


def test_the_demonstration_takes_a_picture_of_ones_own(run: Run, checkout: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "mine.jpg", np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    result = run("demo/run.py", tmp_path / "mine.jpg", cwd=checkout)
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (checkout / "demo" / "out").iterdir()) == [
        *("bicubic.png", "comparison.png", "edsr.png", "lr.png"),
    ]
    assert read_image(checkout / "demo" / "out" / "edsr.png").shape == (120, 150, 3)
    assert_one_line_error(run("demo/run.py", tmp_path / "none.jpg", cwd=checkout), 3, "No such file")


def test_the_blocks_of_the_readme_run(checkout: Path) -> None:
    """In their order, on free ports. `make test` is this very run, and `make demo` is tested above."""
    http, grpc, metrics = map(str, free_ports(3))
    environment = {**os.environ, "HTTP_PORT": http, "GRPC_PORT": grpc, "METRICS_PORT": metrics}
    environment["EDSR_URL"] = f"localhost:{http}"
    environment["MAKEFLAGS"] = "--old-file=.venv/.installed"  # nothing is installed from the copy
    blocks = BLOCK.findall((checkout / "README.md").read_text("utf-8"))
    assert len(blocks) >= 6
    lines = [(kind, "\n".join(line for line in text.splitlines() if line not in SKIPPED)) for kind, text in blocks]
    stop_at_the_end = [(kind, text.replace("make stop", "")) for kind, text in lines]
    try:
        for kind, text in stop_at_the_end:
            code = text.replace("localhost:8000", f"localhost:{http}").replace("localhost:8001", f"localhost:{grpc}")
            command = ["bash", "-euc", code] if kind == "sh" else [sys.executable, "-c", code]
            done = subprocess.run(
                command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    finally:
        stopped = subprocess.run(["make", "stop"], cwd=checkout, capture_output=True, text=True, check=False)
    assert "stopped" in stopped.stdout, stopped.stderr


SKIPPED = ("make demo", "make test")


def test_make_alone_lists_every_target(checkout: Path) -> None:
    outside_make = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    told = subprocess.run(["make"], cwd=checkout, env=outside_make, capture_output=True, text=True, check=True).stdout
    text = (checkout / "Makefile").read_text("utf-8")
    phony = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert {line.split()[1] for line in told.splitlines()} == set(" ".join(phony).split())
    assert all(len(line) <= 110 for line in told.splitlines())
