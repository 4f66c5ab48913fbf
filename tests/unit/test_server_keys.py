"""A key is found by its own user, and shown to nobody but the server it is of."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from edsr_client import server_keys
from edsr_client.addresses import address
from edsr_client.server_keys import VARIABLE, find
from edsr_serving import ServerOptions, keys

OPTIONS = ServerOptions(http_port=9000, grpc_port=9001)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's key, published in a folder that stands for /dev/shm; its other copy is in `run` there."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(keys, "SHARED_MEMORY", tmp_path)
    (tmp_path / "run").mkdir()
    keys.publish("secret", ServerOptions(run_dir=tmp_path / "run", http_port=9000, grpc_port=9001), "edsr-7-9000-")
    return tmp_path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_both_protocols_find_it(folder: Path, host: str) -> None:
    http, grpc = (find(address(f"{host}:{port}", name), folder) for port, name in ((9000, "http"), (9001, "grpc")))
    assert http is not None
    assert grpc is not None
    assert http.headers == {"edsr-key": "secret"}
    assert grpc.headers == {"triton-grpc-protocol-edsr-key": "secret"}
    # Never by a name: "localhost" may be ::1, where another user can listen.
    assert http.address.host_port == "127.0.0.1:9000"


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("localhost:9001", "http"),
        ("localhost:9000", "grpc"),
        ("localhost:9002", "http"),
        ("127.0.0.2:9000", "http"),
        ("[::1]:9000", "http"),
        ("10.0.0.1:9000", "http"),
        ("example.org:9000", "http"),
        ("https://localhost:9000", "http"),
        ("localhost:9000/proxy", "http"),
        ("localhost.example.org:9000", "http"),
    ],
)
def test_no_other_address_gets_it(folder: Path, url: str, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(address(url, protocol), folder) is None
    monkeypatch.setenv(VARIABLE, str(folder / "run" / keys.KEY_FILE))
    assert find(address(url, protocol), folder) is None


def test_a_server_on_all_addresses_is_asked_by_loopback(folder: Path) -> None:
    options = ServerOptions(run_dir=folder / "run", address="0.0.0.0", http_port=9100, grpc_port=9101)  # noqa: S104
    keys.publish("other", options, "edsr-8-9100-")
    found = find(address("localhost:9100", "http"), folder)
    assert found is not None
    assert found.address.host_port == "127.0.0.1:9100"


def test_the_variable_names_a_copy_and_nothing_else_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = address("localhost:9000", "http")
    monkeypatch.setenv(VARIABLE, str(folder / "none"))
    assert find(here, folder) is None
    monkeypatch.setenv(VARIABLE, str(folder / "run" / keys.KEY_FILE))
    assert find(here, folder / "empty") is not None


def test_the_newest_of_two_is_taken(folder: Path) -> None:
    keys.publish("newer", ServerOptions(run_dir=folder / "run", http_port=9000, grpc_port=9001), "edsr-9-9000-")
    os.utime(folder / "edsr-7-9000-key", (1, 1))
    found = find(address("localhost:9000", "http"), folder)
    assert found is not None
    assert found.headers == {"edsr-key": "newer"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o606])
def test_a_file_that_others_can_reach_is_no_key(folder: Path, mode: int) -> None:
    (folder / "edsr-7-9000-key").chmod(mode)
    assert find(address("localhost:9000", "http"), folder) is None


def test_a_link_a_pipe_and_another_users_file_are_no_keys(folder: Path) -> None:
    key = folder / "edsr-7-9000-key"
    key.rename(folder / "elsewhere")
    key.symlink_to(folder / "elsewhere")
    assert find(address("localhost:9000", "http"), folder) is None
    key.unlink()
    os.mkfifo(key, 0o600)
    assert find(address("localhost:9000", "http"), folder) is None
    key.unlink()
    (folder / "elsewhere").rename(key)
    if os.getuid() == 0:
        os.chown(key, 65534, -1)
        assert find(address("localhost:9000", "http"), folder) is None


@pytest.mark.parametrize("said", ["", "[]", "[" * 10_000, "{}", '{"address": 3, "http_port": 9000, "key": [], "x": 1}'])
def test_a_file_may_hold_anything(folder: Path, said: str) -> None:
    (folder / "edsr-7-9000-key").write_text(said, "utf-8")
    assert find(address("localhost:9000", "http"), folder) is None


def test_it_is_private_from_its_first_moment_and_each_is_another(folder: Path) -> None:
    for path in (folder / "edsr-7-9000-key", folder / "run" / keys.KEY_FILE):
        assert path.stat().st_mode & 0o777 == 0o600
        assert json.loads(path.read_text("utf-8"))["key"] == "secret"
    assert not list(folder.rglob("*.part"))
    assert len({keys.new_key() for _ in range(100)}) == 100
    assert server_keys.VARIABLE == "EDSR_SERVER_KEY_FILE"
