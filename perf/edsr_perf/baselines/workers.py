"""A baseline's process, told what to do by lines of JSON: the other side of perf/baselines/protocol.py."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import BaselineFailed

END_TIMEOUT_S = 10


class Worker:
    """A running baseline. Ends with its `with` block, and when this process ends.

    Args:
        python: interpreter of its environment.
        module: of perf/baselines, "opencv_dnn".
        code: the folder perf, from which it is imported.
        log: file for what it prints.

    Raises:
        BaselineFailed: its process could not be started.
    """

    def __init__(self, python: Path, module: str, code: Path, log: IO[bytes]) -> None:
        self._name, self._log = module, log.name
        try:
            self._process = subprocess.Popen(
                [str(python), "-m", f"baselines.{module}.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(code),
            )
        except OSError as error:
            raise BaselineFailed(f"{python} cannot be started: {error.strerror}.") from None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # It may have ended already, or be in the middle of a run.
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            self._process.communicate('{"do": "end"}\n', timeout=END_TIMEOUT_S if kind is None else 1)
            return
        self._process.kill()
        self._process.wait()

    def load(self, **options: object) -> dict[str, Any]:
        """Load the network; versions and facts of the method."""
        return self._ask({"do": "load", **options})

    def run(self, picture: Path, runs: int, answer: Path | None = None) -> list[float]:
        """Seconds of each run on the .npy file `picture`; the last result goes into `answer`."""
        told = {"do": "run", "input": str(picture), "runs": runs, "output": str(answer) if answer else None}
        seconds: list[float] = self._ask(told)["seconds"]
        return seconds

    def _ask(self, command: Mapping[str, object]) -> dict[str, Any]:
        """Raise BaselineFailed if the process has ended, or answers with an error."""
        if self._process.stdin is None or self._process.stdout is None:  # both are pipes
            raise BaselineFailed(f"The baseline {self._name} has no pipes.")
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise BaselineFailed(f"The baseline {self._name} ended with exit code {code}; see {self._log}.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BaselineFailed(f"The baseline {self._name} failed: {answer['error']}")
        return answer


def environment(code: Path) -> dict[str, str]:
    """Of a baseline's process: this one's, with perf/ as the only way to code of this project."""
    return {**os.environ, "PYTHONPATH": str(code), "PYTHONNOUSERSITE": "1", "OPENCV_LOG_LEVEL": "SILENT"}
