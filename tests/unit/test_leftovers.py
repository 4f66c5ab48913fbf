"""Whose shared memory is removed at a start."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from edsr_serving.leftovers import remove_leftovers


def test_only_what_belongs_to_no_server_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, living = ended.pid, os.getpid()
    gone = [f"edsr-{dead}-1-key", f"edsr-{dead}-1-region", f"edsr-{dead}-2-region"]
    kept = [f"edsr-{dead}-3-key", f"edsr-{dead}-3-region", f"edsr-{living}-1-key", f"edsr-{living}-1-region"]
    kept += [f"edsr-client-{dead}-1", "psm_1", "edsr-x"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    (tmp_path / f"edsr-{dead}-4-key").symlink_to(tmp_path / "psm_1")
    with (tmp_path / f"edsr-{dead}-3-key").open(
        "rb"
    ) as key:  # of a server in another container: its process is not seen
        fcntl.flock(key, fcntl.LOCK_EX)
        assert remove_leftovers(tmp_path) == [f"edsr-{dead}-{port}-" for port in (1, 2, 4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
