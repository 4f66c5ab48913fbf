"""A real tritonserver: started, asked, stopped; and everything that keeps it from starting."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run, assert_one_line_error
from edsr_client import Upscaler
from edsr_conversion import random_network
from edsr_serving import (
    AlreadyRunningError,
    InstallationError,
    PortInUseError,
    ServerOptions,
    ServingError,
    StartupError,
    free_ports,
    installation,
    start,
)
from edsr_serving.background import stop
from edsr_serving.processes import is_tritonserver, wait_for

Build = Callable[..., Path]


@pytest.fixture
def options(tmp_path: Path, build_repository: Build) -> ServerOptions:
    repository = build_repository(random_network(1, 8))
    return ServerOptions(repository=repository, run_dir=tmp_path / "run").with_ports(*free_ports(3))


def flags(options: ServerOptions) -> list[object]:
    ports = (options.http_port, options.grpc_port, options.metrics_port)
    names = ("--http-port", "--grpc-port", "--metrics-port")
    return ["--repository", options.repository, "--run-dir", options.run_dir, *sum(zip(names, ports, strict=True), ())]


def places(options: ServerOptions) -> list[object]:
    return flags(options)[:4]


@pytest.fixture
def background(run: Run, options: ServerOptions) -> Iterator[ServerOptions]:
    result = run("edsr_serving", "start", *flags(options))
    assert result.returncode == 0, result.stderr
    yield options
    run("edsr_serving", "stop", *places(options))


def test_a_server_in_the_background_is_started_seen_and_stopped(run: Run, background: ServerOptions) -> None:
    status = run("edsr_serving", "status", "--json", *places(background))
    assert status.returncode == 0, status.stderr
    facts = json.loads(status.stdout)
    assert facts["running"] is facts["ready"] is True
    assert facts["models"] == {"tiny": "ready"}
    assert is_tritonserver(facts["pid"])
    assert_one_line_error(run("edsr_serving", "start", *flags(background)), 8, "already running")
    assert run("edsr_serving", "stop", *places(background)).returncode == 0
    assert not is_tritonserver(facts["pid"])
    assert run("edsr_serving", "status", *places(background)).returncode == 3
    assert_one_line_error(run("edsr_serving", "stop", *places(background)), 3, "No server runs")


def test_status_lists_the_servers_of_other_run_folders(
    run: Run, background: ServerOptions, options: ServerOptions, tmp_path: Path
) -> None:
    elsewhere = ("--run-dir", tmp_path / "elsewhere", "--repository", options.repository)
    status = run("edsr_serving", "status", *elsewhere)
    assert status.returncode == 3
    assert f"HTTP port {background.http_port}, run folder {background.run_dir}" in status.stdout
    others = json.loads(run("edsr_serving", "status", "--json", *elsewhere).stdout)["others"]
    assert {"run_dir": str(background.run_dir), "http_port": background.http_port} in [
        {key: other[key] for key in ("run_dir", "http_port")} for other in others
    ]
    mine = json.loads(run("edsr_serving", "status", "--json", *places(background)).stdout)
    assert str(background.run_dir) not in [other["run_dir"] for other in mine["others"]]


def test_a_proxy_in_the_environment_does_not_matter(options: ServerOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with start(options):
        for url, protocol in ((options.http_url, "http"), (options.grpc_url, "grpc")):
            with Upscaler(url, protocol, model="tiny") as upscaler:
                assert upscaler.upscale(np.zeros((3, 4, 3), np.uint8)).shape == (9, 12, 3)


def test_a_model_that_is_not_built_is_not_loaded_and_status_says_so(run: Run, background: ServerOptions) -> None:
    folder = background.repository / "absent"
    folder.mkdir()
    (folder / "config.pbtxt").write_text('name: "absent"', "utf-8")
    models = json.loads(run("edsr_serving", "status", "--json", *places(background)).stdout)["models"]
    assert models["tiny"] == "ready"
    assert "not built" in models["absent"]


def test_the_foreground_server_prints_a_readable_log_and_ends_on_a_signal(options: ServerOptions) -> None:
    command = [sys.executable, "-m", "edsr_serving", "run", *map(str, flags(options))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "OpenVINO" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    text = "".join(lines) + rest
    assert process.returncode == 0, text
    assert f"ready: http://127.0.0.1:{options.http_port}" in text
    assert "stopping" in rest
    assert "+----" not in text


def test_the_server_ends_with_the_process_that_started_it(options: ServerOptions, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edsr_serving", "run", *map(str, flags(options))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        pass
    process.kill()
    process.communicate()
    assert wait_for(lambda: not listening(options.http_port), 40)
    assert wait_for(lambda: not processes_in(options.run_dir / f"foreground-{options.http_port}"), 40)


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
    except OSError:
        return ""


def processes_in(folder: Path) -> list[str]:
    """Command lines of the live processes whose working directory is `folder`: a server and its backends."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = command_line(process)
            if line and (process / "cwd").resolve() == folder.resolve():  # without a command line it has ended
                found.append(line)
        except OSError:
            continue
    return found


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_listens_on_loopback_only(background: ServerOptions) -> None:
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables for line in table.read_text("ascii").splitlines()[1:]]
    local = [row[1].split(":") for row in rows if row[3] == "0A"]  # listening
    ours = {(address, int(port, 16)) for address, port in local if int(port, 16) in background.ports.values()}
    assert len(ours) == 3
    # 127.0.0.1, and the same mapped into IPv6, in the byte order of /proc
    assert {address for address, _ in ours} <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_what_the_server_decided_is_visible_to_clients(background: ServerOptions) -> None:
    with Upscaler(background.http_url, model="tiny") as upscaler:
        assert upscaler.model_info().inference_precision in ("bf16", "f32")
        assert upscaler.model_info().runtime.startswith("OpenVINO 20")


def test_metrics_count_the_requests(background: ServerOptions) -> None:
    with Upscaler(background.http_url, model="tiny") as upscaler:
        upscaler.upscale(np.zeros((3, 4, 3), np.uint8))
    # Triton counts a request when the backend lets go of it, which may be a moment after its answer has left.
    deadline = time.monotonic() + 10
    while 'nv_inference_request_success{model="tiny",version="1"} 1' not in (text := metrics(background)):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


def metrics(options: ServerOptions) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{options.metrics_port}/metrics") as response:
        return str(response.read().decode())


def test_the_last_logs_are_kept_and_their_lines_have_a_time(options: ServerOptions) -> None:
    for _ in range(2):
        with start(options), Upscaler(options.http_url, model="tiny") as upscaler:
            upscaler.upscale(np.zeros((3, 4, 3), np.uint8))
    logs = [options.run_dir / name for name in ("triton.log", "triton.log.1")]
    for log in logs:
        lines = [line for line in log.read_text("utf-8").splitlines() if re.search(r"1x\d+x\d+x3|OpenVINO", line)]
        assert len(lines) >= 3
        assert all(re.match(r"[IW]\d{4} \d\d:\d\d:\d\d\.\d{6} ", line) for line in lines), lines
    assert not (options.run_dir / "triton.log.2").exists()


def test_a_port_in_use_is_named_and_another_can_be_chosen(run: Run, options: ServerOptions) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", options.grpc_port))
        taken.listen()
        with pytest.raises(PortInUseError, match=f"{options.grpc_port} for gRPC"):
            start(options)
        assert_one_line_error(run("edsr_serving", "start", *flags(options)), 6, "--grpc-port")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"http_port": 9000, "grpc_port": 9000}, "must be different"),
        ({"http_port": 0}, "from 1 to 65535"),
        ({"metrics_port": 70000}, "from 1 to 65535"),
        ({"address": "::1"}, "IPv4"),
        ({"address": "no-such-host.invalid"}, "Name or service not known"),
        ({"precision": "fp7"}, "auto, int8, bf16, f32"),
    ],
)
def test_options_no_machine_could_follow_are_refused(
    options: ServerOptions, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ServingError, match=words):
        start(replace(options, **change))


def test_blanks_and_umlauts_in_paths_are_taken(options: ServerOptions, tmp_path: Path) -> None:
    strange = tmp_path / "ä folder (1) & more"
    shutil.copytree(options.repository, strange / "models")
    with (
        start(replace(options, repository=strange / "models", run_dir=strange / "run")) as server,
        Upscaler(server.options.http_url, model="tiny") as upscaler,
    ):
        assert upscaler.upscale(np.zeros((3, 4, 3), np.uint8)).shape == (9, 12, 3)


def test_a_model_that_crashes_at_load_is_one_message_and_no_process(options: ServerOptions) -> None:
    """The file is what its sidecar says, but no model."""
    folder = options.repository / "tiny" / "1"
    (folder / "model.onnx").write_bytes(b"no model")
    sidecar = json.loads((folder / "model.json").read_text("utf-8"))
    sidecar["model"]["sha256"] = hashlib.sha256(b"no model").hexdigest()
    (folder / "model.json").write_text(json.dumps(sidecar), "utf-8")
    with pytest.raises(StartupError, match="failed to load 'tiny'") as caught:
        start(options)
    assert "At:" not in str(caught.value)
    assert str(options.run_dir / "triton.log") in str(caught.value)
    assert not listening(options.http_port)


def test_a_server_that_is_not_ready_in_time_is_stopped(options: ServerOptions) -> None:
    with pytest.raises(StartupError, match=r"not ready after 0\.01 s"):
        start(replace(options, ready_timeout_s=0.01))
    assert not listening(options.http_port)
    assert processes_in(options.run_dir) == []


@pytest.mark.parametrize("after_s", [0.7, 1.2, 1.9])
def test_an_interrupt_while_it_loads_leaves_no_process(options: ServerOptions, after_s: float) -> None:
    command = [sys.executable, "-m", "edsr_serving", "start", *map(str, flags(options))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    if process.returncode:  # otherwise it was ready sooner, and goes on in the background as it should
        assert wait_for(lambda: processes_in(options.run_dir) == [], 40)
    else:
        stop(options.run_dir)


def test_a_run_folder_belongs_to_one_server(run: Run, options: ServerOptions) -> None:
    with start(options):
        with pytest.raises(AlreadyRunningError, match="its own --run-dir"):
            start(options.with_ports(*free_ports(3)))
        assert run("edsr_serving", "start", *flags(options.with_ports(*free_ports(3)))).returncode == 8
    with start(options) as again:
        assert again.process.poll() is None


def test_nothing_built_says_what_to_do(run: Run, options: ServerOptions) -> None:
    (options.repository / "tiny" / "1" / "model.onnx").unlink()
    assert_one_line_error(run("edsr_serving", "start", *flags(options)), 5, "make onnx")
    assert_one_line_error(run("edsr_serving", "start", *flags(options), "--model", "x"), 5, "There are: tiny")
    assert_one_line_error(run("edsr_serving", "status", "--repository", "nowhere"), 5, "no model repository")


@pytest.mark.parametrize("run_dir", ["/proc/run", "/dev/null/run"])
def test_a_run_folder_that_cannot_be_written_is_said(run: Run, options: ServerOptions, run_dir: str) -> None:
    result = run("edsr_serving", "start", *flags(replace(options, run_dir=Path(run_dir))))
    assert_one_line_error(result, 1, "--run-dir")


def test_a_missing_libpython_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_libpython", lambda: None)
    monkeypatch.setattr(installation, "BUNDLED_LIBPYTHON", "none")
    with pytest.raises(InstallationError, match=r"apt-get install libpython3\.\d+"):
        installation.find_installation()


def test_an_environment_without_triton_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InstallationError, match="pip install --no-deps nvidia-pytriton"):
        installation.find_installation()
