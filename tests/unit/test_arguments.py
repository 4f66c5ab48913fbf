"""What the command lines say of a wrong option: also the variable of `make` that it came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import edsr_conversion.cli
import edsr_serving.cli
import pytest
from edsr_serving.arguments import VARIABLES

MAKEFILE = (Path(__file__).resolve().parents[2] / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("option", VARIABLES)
def test_every_variable_is_one_of_the_makefile(option: str) -> None:
    variable = VARIABLES[option]
    assert re.search(rf"\$\$\{{?{variable}\b|\(call each,{variable},", MAKEFILE)
    assert option in MAKEFILE or variable == "OPTIONS"


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (edsr_conversion.cli.main, "plan --gpu t4 --precision bf16", "argument --precision (`make ... PRECISION=`)"),
        (edsr_conversion.cli.main, "engines --gpu t4 --flavour trt", "argument --flavour (`make ... FLAVOUR=`)"),
        (edsr_conversion.cli.main, "plan --gpu t4 --efficiency x", "argument --efficiency: invalid float"),
        (edsr_serving.cli.main, "run --http-port x", "argument --http-port (`make ... HTTP_PORT=`)"),
    ],
)
def test_a_wrong_option_is_said_with_its_variable(
    main: Callable[[list[str]], int], arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
