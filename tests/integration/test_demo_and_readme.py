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
from edsr_serving import RunningServer, free_ports
from PIL import Image

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
    assert Image.open(out / "edsr.png").size == Image.open(out / "original.png").size == (810, 639)
    assert Image.open(out / "comparison.png").width > 1000


def test_the_demonstration_takes_a_picture_of_ones_own(run: Run, checkout: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "mine.jpg")
    result = run("demo/run.py", tmp_path / "mine.jpg", cwd=checkout)
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (checkout / "demo" / "out").iterdir()) == [
        *("bicubic.png", "comparison.png", "edsr.png", "lr.png"),
    ]
    assert Image.open(checkout / "demo" / "out" / "edsr.png").size == (150, 120)
    assert_one_line_error(run("demo/run.py", tmp_path / "none.jpg", cwd=checkout), 3, "No such file")


def test_the_blocks_of_the_readme_run(checkout: Path) -> None:
    """In their order, on free ports. `make test` is this very run, and `make demo` is tested above."""
    http, grpc, metrics = map(str, free_ports(3))
    environment = {**os.environ, "HTTP_PORT": http, "GRPC_PORT": grpc, "METRICS_PORT": metrics}
    environment["EDSR_URL"] = f"localhost:{http}"
    # Nothing is installed from the copy, which `make setup` would refuse: the environment is this checkout's.
    make = checkout / "bin" / "make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\nexec "{shutil.which("make")}" --old-file=setup "$@"\n', "utf-8")
    make.chmod(0o755)
    environment["PATH"] = f"{make.parent}:{environment['PATH']}"
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
        stopped = subprocess.run([make, "stop"], cwd=checkout, capture_output=True, text=True, check=False)
    assert "stopped" in stopped.stdout, stopped.stderr


def test_the_recipes_of_the_client_run(root: Path, embedded_server: RunningServer, tmp_path: Path) -> None:
    """Every block of docs/client.md, in a folder with a picture, against the real server."""
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    options = embedded_server.options
    environment = {**os.environ, "EDSR_URL": options.http_url}
    environment["PATH"] = f"{Path(sys.prefix) / 'bin'}:{environment['PATH']}"
    blocks = re.findall(
        r"^```(sh|python|js)\n(.*?)^```$", (root / "docs" / "client.md").read_text("utf-8"), re.M | re.S
    )
    assert {kind for kind, _ in blocks} == {"sh", "python", "js"}
    for kind, text in blocks:
        code = text.replace("localhost:8000", options.http_url)
        if kind == "python" and "FastAPI(" in text:
            code += FASTAPI_CHECK
        command = {"sh": ["bash", "-euc", code], "python": [sys.executable, "-c", code]}.get(kind)
        if command is None:
            if shutil.which("node") is None:
                continue
            command = ["node", "--input-type=module", "--eval", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        if kind == "js":
            assert done.stdout == "true\n"
    assert Image.open(tmp_path / "photo_x3.png").size == (240, 180)
    assert Image.open(tmp_path / "out.webp").size == (240, 180)


FASTAPI_CHECK = """
from fastapi.testclient import TestClient

with TestClient(app) as client:
    with open("photo.png", "rb") as file:
        answer = client.post("/upscale", files={"file": file})
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"\\x89PNG")
    assert client.post("/upscale", files={"file": b"text"}).status_code == 400
"""
SKIPPED = ("make demo", "make test")


def test_make_alone_lists_every_target(checkout: Path) -> None:
    outside_make = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    told = subprocess.run(["make"], cwd=checkout, env=outside_make, capture_output=True, text=True, check=True).stdout
    text = (checkout / "Makefile").read_text("utf-8")
    phony = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert {line.split()[1] for line in told.splitlines()} == set(" ".join(phony).split())
    assert all(len(line) <= 110 for line in told.splitlines())
