"""JSON as the standard has it: Python's own reads and writes NaN and Infinity too, which other readers refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from edsr_serving import edge


def json_text(value: Any) -> str:
    """`value` as indented JSON; a number that is not finite becomes null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or nested more deeply than can be read.
    """
    return edge.read_json(path, _refuse)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
