"""How a baseline is told what to do: JSON objects on standard input, one a line, and an answer each on standard output.

    {"do": "load", "graph": ..., "onnx": ..., "scale": 3, "threads": 2, "precision": "f32"}  -> {"versions": {...}}
    {"do": "run", "input": "in.npy", "output": "out.npy", "runs": 3}                          -> {"seconds": [...]}
    {"do": "end"}

Pictures are uint8 [H, W, 3] RGB. What fails is answered with {"error": "..."}. It runs in the baseline's own
environment, so it uses numpy and the standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Step = Callable[[Any], Any]


class Method:
    """One way to upscale. Only `upscale` is timed.

    Args:
        upscale: from what `prepare` made to what `finish` takes.
        prepare: from uint8 [H, W, 3] RGB to the method's own layout.
        finish: from the method's own layout to uint8 [sH, sW, 3] RGB.
        facts: what the method says of itself, such as the precision it really computes in.
    """

    def __init__(
        self, upscale: Step, prepare: Step = lambda x: x, finish: Step = lambda x: x, **facts: str | int
    ) -> None:
        self.upscale, self.prepare, self.finish, self.facts = upscale, prepare, finish, facts


def serve(load: Callable[[dict[str, Any]], Method], packages: tuple[str, ...]) -> None:
    """Answer commands until the end of standard input.

    Args:
        load: from the fields of the "load" command to the method.
        packages: whose versions are told.
    """
    answers = _own_standard_output()
    method: Method | None = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "end":
                return
            if command["do"] == "load":
                method = load(command)
                answer: dict[str, Any] = {"versions": versions(packages), "facts": method.facts}
            elif method is None:
                answer = {"error": "nothing is loaded"}
            else:
                answer = {"seconds": _run(method, command)}
        except Exception as error:  # whatever a library raises is told, in one line
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": sys.version.split()[0]}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _run(method: Method, command: dict[str, Any]) -> list[float]:
    """Seconds of each run; the last answer is written where `output` says, if it does."""
    given = method.prepare(np.load(command["input"]))
    seconds, result = [], None
    for _ in range(command["runs"]):
        started = time.perf_counter()
        result = method.upscale(given)
        seconds.append(time.perf_counter() - started)
    if command.get("output"):
        np.save(command["output"], np.ascontiguousarray(method.finish(result)))
    return seconds


def _own_standard_output() -> IO[str]:
    """Standard output for the answers alone: what libraries print goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own
