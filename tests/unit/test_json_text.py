"""What we write as JSON is JSON, whatever the numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from edsr_conversion.json_text import json_text, read_json


def refuse(constant: str) -> None:
    raise AssertionError(constant)


def test_numbers_that_are_not_finite_are_written_as_null() -> None:
    text = json_text({"a": [1.5, math.nan, (math.inf, {"b": -math.inf})], "c": "NaN"})
    assert json.loads(text, parse_constant=refuse) == {"a": [1.5, None, [None, {"b": None}]], "c": "NaN"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_file_with_such_numbers_is_no_json(tmp_path: Path, number: str) -> None:
    (tmp_path / "x.json").write_text(f'{{"psnr_db": {number}}}', "utf-8")
    with pytest.raises(ValueError, match=f"{number} is no JSON"):
        read_json(tmp_path / "x.json")
