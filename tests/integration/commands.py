"""Running a command as a user does, and what its errors must look like."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def assert_one_line_error(result: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    """The command failed with `code` and one line that contains `words`; no traceback."""
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert words in lines[0], lines[0]
