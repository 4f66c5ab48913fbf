"""The JSON of a measurement on a GPU: its fields, and what is wrong with one that is not of this form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .steps import DONE, FAILED, SKIPPED

FORMAT = 1
STEPS = ("matrix product", "engine", "verify", "concurrency", "reference")
FIELDS = {"format", "model", "card", "device", "network", "steps", "limits_s", "machine"}


def problems(result: Mapping[str, Any]) -> list[str]:
    """Everything in which a result is not of this form; none if it is."""
    found = [f"{name} is missing" for name in sorted(FIELDS - result.keys())]
    if result.get("format") != FORMAT:
        found.append(f"format is {result.get('format')!r}, not {FORMAT}")
    steps = result.get("steps", {})
    found += [f"step {name!r} is missing" for name in STEPS if name not in steps]
    for name, outcome in steps.items():
        status = outcome.get("status")
        if status not in (DONE, SKIPPED, FAILED):
            found.append(f"step {name!r} has status {status!r}")
        elif ("result" if status == DONE else "reason") not in outcome:
            found.append(f"step {name!r} is {status} without a {'result' if status == DONE else 'reason'}")
    return found
