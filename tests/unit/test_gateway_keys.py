"""API keys: their file, and who comes in."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from edsr_gateway.limits.keys import Keys, create, parsed, remove


def test_a_token_opens_and_the_file_does_not_hold_it(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    token = create("alice", file)
    keys = Keys(file)
    assert keys.name_of(token) == "alice"
    assert token not in file.read_text()
    assert len(token) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for wrong in ("", token[:-1], token + "x", token.upper(), "edsr_", "é" * 300, "\udcff"):
        assert keys.name_of(wrong) is None


def test_a_key_that_is_added_or_removed_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first = create("first", file)
    keys = Keys(file)
    second = create("second", file)
    assert (keys.name_of(first), keys.name_of(second)) == ("first", "second")
    remove("first", file)
    assert (keys.name_of(first), keys.name_of(second)) == (None, "second")


def test_a_file_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    token = create("alice", file)
    keys = Keys(file)
    file.unlink()
    assert keys.name_of(token) is None


def test_a_line_that_is_wrong_while_the_gateway_runs_shuts_out_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    alice, bob = create("alice", file), create("bob", file)
    keys = Keys(file)
    file.write_text(file.read_text().replace("bob ", "bob x"))
    assert (keys.name_of(alice), keys.name_of(bob)) == ("alice", None)


def test_a_gateway_does_not_start_with_a_file_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="edsr-gateway key NAME"):
        Keys(tmp_path / "none")
    (tmp_path / "wrong").write_text("# comment\nalice secret\n")
    with pytest.raises(ValueError, match="line 2"):
        Keys(tmp_path / "wrong")
    (tmp_path / "binary").write_bytes(os.urandom(64) + b"\xff")
    with pytest.raises(ValueError, match="cannot be read|is no key"):
        Keys(tmp_path / "binary")


@pytest.mark.parametrize("name", ["", "Alice", "a b", "../x", "a\nb", "x" * 41, "-a", "é"])
def test_a_name_that_would_not_do_in_a_log_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name for a key"):
        create(name, tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


def test_a_name_is_given_once_and_removed_once(tmp_path: Path) -> None:
    create("alice", tmp_path / "keys")
    with pytest.raises(ValueError, match="already"):
        create("alice", tmp_path / "keys")
    remove("alice", tmp_path / "keys")
    with pytest.raises(ValueError, match="no key alice"):
        remove("alice", tmp_path / "keys")


def test_keys_that_are_made_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    threads = [threading.Thread(target=create, args=(f"k{number}", file)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys, wrong = parsed(file.read_text())
    assert ({key.name for key in keys}, wrong) == ({f"k{number}" for number in range(20)}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
