"""What is not for every caller: a stranger is refused, the server's own user is served without asking for it."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from commands import Run
from edsr_client import Upscaler
from edsr_client.server_keys import VARIABLE
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from tritonclient.utils import InferenceServerException

MODEL = "edsr_baseline_x3"
RESTRICTED = (
    ("GET", f"/v2/models/{MODEL}/stats"),
    ("GET", "/v2/models/stats"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("POST", "/v2/systemsharedmemory/region/x/register"),
    ("POST", "/v2/systemsharedmemory/region/x/unregister"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("POST", "/v2/cudasharedmemory/region/x/register"),
    ("POST", "/v2/repository/index"),
    ("POST", f"/v2/repository/models/{MODEL}/load"),
    ("POST", f"/v2/repository/models/{MODEL}/unload"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
    ("GET", "/v2/trace/setting"),
    ("POST", f"/v2/models/{MODEL}/trace/setting"),
)
FOR_ALL = ("/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/config")


def key_of(server: RunningServer) -> dict[str, str]:
    said: dict[str, str] = json.loads((server.options.run_dir / "server.key").read_text("utf-8"))
    return said


def status(server: RunningServer, method: str, path: str, **headers: str) -> int:
    url = f"http://{server.options.http_url}{path}"
    request = urllib.request.Request(url, b"{}" if method == "POST" else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(("method", "path"), RESTRICTED)
def test_a_stranger_is_refused_over_http(embedded_server: RunningServer, method: str, path: str) -> None:
    assert status(embedded_server, method, path) == 403
    assert status(embedded_server, method, path, **{"edsr-key": "0" * 64}) == 403
    if not path.endswith(("/load", "/unload")) and method == "GET":
        assert status(embedded_server, method, path, **{"edsr-key": key_of(embedded_server)["key"]}) == 200


def test_what_is_for_all_stays_so(embedded_server: RunningServer) -> None:
    for path in FOR_ALL:
        assert status(embedded_server, "GET", path) == 200
    options = embedded_server.options
    with urllib.request.urlopen(f"http://{options.host}:{options.metrics_port}/metrics", timeout=20) as response:
        assert b"nv_inference_request_success" in response.read()


def test_a_stranger_is_refused_over_grpc(embedded_server: RunningServer) -> None:
    said = key_of(embedded_server)
    with triton_grpc.InferenceServerClient(embedded_server.options.grpc_url) as client:
        asks: tuple[Callable[[dict[str, str]], object], ...] = (
            lambda headers: client.get_inference_statistics(MODEL, headers=headers),
            lambda headers: client.get_system_shared_memory_status(headers=headers),
            lambda headers: client.get_model_repository_index(headers=headers),
            lambda headers: client.get_log_settings(headers=headers),
            lambda headers: client.get_trace_settings(headers=headers),
            lambda headers: client.register_system_shared_memory("x", "/x", 3, headers=headers),
        )
        for ask in asks:
            for headers in ({}, {said["grpc_header"]: "0" * 64}):
                with pytest.raises(InferenceServerException, match="restricted"):
                    ask(headers)
        for ask in asks[:-1]:
            ask({said["grpc_header"]: said["key"]})


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_its_own_user_uses_shared_memory_and_sees_statistics(
    embedded_server: RunningServer, protocol: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = embedded_server.options
    url = f"{host}:{options.http_port if protocol == 'http' else options.grpc_port}"
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with Upscaler(url, protocol) as plain, Upscaler(url, protocol, shared_memory=True) as shared:
        np.testing.assert_array_equal(plain.upscale(picture), shared.upscale(picture))
        assert shared.server_info()[0]["models"] == [MODEL]
    assert "shared memory" not in caplog.text


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_stranger_goes_without_shared_memory_and_is_told(
    embedded_server: RunningServer, protocol: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere")
    options = embedded_server.options
    url = options.http_url if protocol == "http" else options.grpc_url
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with Upscaler(url, protocol) as plain, Upscaler(url, protocol, shared_memory=True) as shared:
        np.testing.assert_array_equal(plain.upscale(picture), shared.upscale(picture))
        assert shared.server_info()[0]["models"] == [MODEL]
    assert caplog.text.count("shared memory cannot be used") == 1
    assert VARIABLE in caplog.text


def test_doctor_says_what_it_may_not_see(
    embedded_server: RunningServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = embedded_server.options
    for protocol, url in (("http", options.http_url), ("grpc", options.grpc_url)):
        monkeypatch.delenv(VARIABLE, raising=False)
        told = run("edsr_client", "doctor", "--url", url, "--protocol", protocol)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "shared memory: can be used" in told.stdout
        assert "only to the user who started it" not in told.stdout
        monkeypatch.setenv(VARIABLE, "/nowhere")
        told = run("edsr_client", "doctor", "--url", url, "--protocol", protocol)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "shared memory: cannot be used" in told.stdout
        assert "only to the user who started it" in told.stdout


def test_no_other_user_sees_the_key_or_the_pictures(root: Path, tmp_path: Path) -> None:
    """Neither in files, nor in the command line, nor in /dev/shm; and nothing is left of it after the server."""
    options = ServerOptions(root / "model_repository", tmp_path / "run", models=(MODEL,)).with_ports(*free_ports(3))
    with start(options) as server:
        key = key_of(server)["key"].encode()
        assert key not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert key not in server.log.read_bytes()
        files = list(Path("/dev/shm").glob(f"{server.shm_prefix}*"))  # noqa: S108
        assert len(files) >= 2
        for file in (*files, options.run_dir / "server.key"):
            assert file.stat().st_mode & 0o077 == 0, file
            if os.getuid() == 0:
                seen = subprocess.run(["/bin/cat", file], user=65534, capture_output=True, check=False)
                assert (seen.returncode, seen.stdout) == (1, b"")
    assert not list(Path("/dev/shm").glob(f"{server.shm_prefix}*"))  # noqa: S108
