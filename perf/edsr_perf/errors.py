"""What can go wrong in a measurement and that a user can act upon, and how a command reports it: in one line.

PerfError
+-- MissingModelError     the model is not built, or its graph is not there
+-- EnvironmentFailed     a baseline's environment could not be made
+-- BaselineFailed        a baseline's process ended, or could not do what it was told
+-- DisagreementError     two runs that should agree do not
+-- NoGpuError            a command that measures a GPU found none
+-- ToolError             perf_analyzer cannot be had, or failed
+-- ScenarioError         a file of scenarios or results is not what it should be
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable


class PerfError(Exception):
    """Base of all errors of this package. The message says what happened, to what, and what to do next."""

    exit_code = 1


class MissingModelError(PerfError):
    """The model is not built, or its graph is not there."""

    exit_code = 3


class EnvironmentFailed(PerfError):  # noqa: N818  it says what happened
    """A baseline's own Python environment could not be made."""

    exit_code = 4


class BaselineFailed(PerfError):  # noqa: N818
    """A baseline's process ended, or could not do what it was told."""

    exit_code = 5


class DisagreementError(PerfError):
    """Answers differ by more than their precision explains; nothing was written."""

    exit_code = 9


class NoGpuError(PerfError):
    """There is no NVIDIA GPU, or nothing that could use it."""

    exit_code = 10


class ToolError(PerfError):
    """perf_analyzer cannot be had, or failed."""

    exit_code = 6


class ScenarioError(PerfError):
    """A file of scenarios, or of results, cannot be read or is not what it should be."""

    exit_code = 2


def reported(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A command whose errors, and those of the packages it uses, are one line and an exit code."""

    def run(args: argparse.Namespace) -> int:
        try:
            return command(args)
        except Exception as error:
            if (code := known(error)) is None:
                raise
            sys.stderr.write(f"error: {error}\n")
            return code
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            return 130

    return run


def known(error: Exception) -> int | None:
    """The exit code of a user's error, of this package or of one that it uses; None for any other."""
    return int(getattr(error, "exit_code", 1)) if isinstance(error, PerfError) or _is_ours(error) else None


def _is_ours(error: Exception) -> bool:
    """Whether it is one of the project's typed errors, without importing the packages that define them."""
    bases = {f"{base.__module__}.{base.__name__}" for base in type(error).__mro__}
    return bool(
        bases
        & {
            "edsr_client.errors.EdsrError",
            "edsr_conversion.errors.ConversionError",
            "edsr_serving.errors.ServingError",
        }
    )
