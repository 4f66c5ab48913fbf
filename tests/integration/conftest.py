"""Real servers on free ports, and real graphs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Run
from edsr_conversion import Edsr, convert, graph_def, read_graph
from edsr_conversion.catalogue import Model
from edsr_conversion.repository import render, write
from edsr_serving import RunningServer, ServerOptions, free_ports, speed, start
from edsr_serving.cpu import usable_cpus
from gateway_processes import Gateway


@pytest.fixture(scope="session")
def embedded_server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The embedded model, served in float32 so that answers can be compared with TensorFlow's.

    It takes this machine for fast, so that no picture is tiled but where a test wants it.
    """
    run_dir = tmp_path_factory.mktemp("run")
    model = root / "model_repository" / "edsr_baseline_x3" / "1" / "model.onnx"
    (run_dir / speed.FILE).write_text(json.dumps({speed.key(model, "f32", usable_cpus()): 1e9}))
    options = ServerOptions(
        repository=root / "model_repository",
        run_dir=run_dir,
        models=("edsr_baseline_x3",),
        precision="f32",
    )
    with start(options.with_ports(*free_ports(3))) as server:
        yield server


@pytest.fixture(scope="session")
def server_url(embedded_server: RunningServer) -> str:
    """Where the embedded server answers, with http://."""
    return f"http://{embedded_server.options.http_url}"


@pytest.fixture(scope="module")
def gateway(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of the embedded server, for all tests of a module that leave it as it was."""
    with Gateway(server_url, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def write_graph(tmp_path: Path) -> Callable[..., Path]:
    """Write a network as a frozen graph: write_graph(network, quantized=True, name="tiny") -> path."""

    def write(network: Edsr, quantized: bool = True, name: str = "tiny") -> Path:
        path = tmp_path / f"{name}.pb"
        path.write_bytes(graph_def(network, quantized=quantized).SerializeToString())
        return path

    return write


@pytest.fixture
def build_repository(tmp_path: Path, write_graph: Callable[..., Path]) -> Callable[..., Path]:
    """Make a model repository of one network: build_repository(network, name="tiny") -> its folder."""

    def build(network: Edsr, name: str = "tiny", max_lr_pixels: int = 10_000) -> Path:
        graph = read_graph(write_graph(network, name=name))
        size = (len(network.blocks), network.filters, network.scale)
        model = Model(name, graph.path, graph.sha256, *size, max_lr_pixels=max_lr_pixels)
        repository = tmp_path / "repository"
        write(render([model], [], repository))
        convert(graph, repository / name / "1", name)
        return repository

    return build


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a Python module or script as a user would: run("edsr_serving", "status") -> CompletedProcess."""

    def run_module(module: str, *arguments: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        how = [module] if module.endswith(".py") else ["-m", module]
        command = [sys.executable, *how, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)

    return run_module
