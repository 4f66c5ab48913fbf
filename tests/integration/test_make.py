"""What a user gives to `make` is text: no shell and no make ever reads it as a command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = (
    't4"; touch canary; "',
    "t4'; touch canary; '",
    "$(touch canary)",
    "`touch canary`",
    '"`touch canary`"',
    "$(shell touch canary)",
    "${shell touch canary}",
    "x; touch canary #",
    "x | touch canary & touch canary > canary",
    "x\ntouch canary\n",
    "x: ; touch canary\nx",
    "a\\ b $HOME $$HOME %  *",
)
# One blank or several are the same in lists of words.
SWITCHES = {"JSON", "PUBLISH"}  # which have no value
WORDS = {"MODEL", "SHAPES", "PRICES", "OPTIONS", "URL"}
# Says who it is, its arguments and what of the environment a recipe gave it, each ended by a null byte.
RECORDER = r"""#!/bin/sh
exec >> "$RECORD"
printf '%s\0' "${0##*/}" "$@" "PYTEST_ADDOPTS=$PYTEST_ADDOPTS" "EDSR_FUZZ_SECONDS=$EDSR_FUZZ_SECONDS" "VENV=$VENV"
"""


@pytest.fixture
def stage(root: Path, tmp_path: Path) -> Path:
    """The real Makefile in a folder where `python` and `docker` only write down what they are asked."""
    shutil.copy2(root / "Makefile", tmp_path)
    for name in ("venv/bin/python", "venv/bin/hadolint", "bin/docker", "bin/python3"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(RECORDER, "utf-8")
        file.chmod(0o755)
    return tmp_path


def make(stage: Path, *arguments: str, **environment: str) -> list[str]:
    """Run make there; returns all that was written down."""
    record = stage / "record"
    record.unlink(missing_ok=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    clean |= {"PATH": f"{stage / 'bin'}:{os.environ['PATH']}", "RECORD": str(record)} | environment
    subprocess.run(["make", *arguments], cwd=stage, env=clean, capture_output=True, timeout=60, check=False)
    return record.read_text("utf-8").split("\0") if record.exists() else []


def variables(root: Path) -> list[str]:
    listed = re.search(r"^VARIABLES := ((?:.*\\\n)*.*)$", (root / "Makefile").read_text("utf-8"), re.M)
    assert listed is not None
    return listed[1].replace("\\\n", " ").split()


def targets(root: Path) -> list[str]:
    return re.findall(r"^([a-z0-9-]+):.*## ", (root / "Makefile").read_text("utf-8"), re.M)


def test_every_variable_of_the_recipes_is_listed(root: Path) -> None:
    text = (root / "Makefile").read_text("utf-8")
    used = set(re.findall(r"(?:\$\$\{?|\(call each,)([A-Z][A-Z_]*)", text)) - {"PYTEST_ADDOPTS", "GPU_"}
    settable = set(re.findall(r"^([A-Z_]+) [?:]=", text, re.M)) - {"VARIABLES"}
    assert set(variables(root)) - {"PUBLISH"} == used | settable  # which make itself looks at
    recipes = "".join(re.findall(r"^\t.*(?:\\\n.*)*", text, re.M))
    # `make` itself only asks which there are; their values reach a command by the environment.
    conditions = re.sub(r"\$\(if \$\((?:filter all,\$\()?GPU\)\)?", "", recipes)
    assert not re.findall(rf"\$\((?:{'|'.join(variables(root))})\)", conditions)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("how", ["command line", "environment"])
def test_no_value_of_a_variable_is_run(root: Path, stage: Path, value: str, how: str) -> None:
    """All variables at once, in every target; and each reaches, unchanged, the commands that it is for."""
    given = {name: value + name for name in variables(root) if name not in ("VENV", "PYTHON")}
    seen: set[str] = set()
    for target in targets(root):
        words = [f"{name}={text}" for name, text in given.items()] if how == "command line" else []
        environment = given if how == "environment" else {}
        told = make(stage, "-o", "setup", target, "VENV=venv", *words, **environment)
        assert not (stage / "canary").exists(), target
        seen.update(told)
    lost = [name for name, text in given.items() if name not in SWITCHES and not reached(name, text, seen)]
    # TRITON_VERSION and CONTAINER of the environment give way to the Makefile's.
    assert lost == ([] if how == "command line" else [name for name in ("TRITON_VERSION",) if name in lost])


def reached(name: str, value: str, seen: set[str]) -> bool:
    if name in WORDS:
        return set(value.split()) <= seen
    if name == "T":
        return any(text.startswith("PYTEST_ADDOPTS=") and text.endswith(value) for text in seen)
    inside = ("BIND", "HTTP_PORT", "IMAGE_NAME", "TRITON_VERSION", "FUZZ_SECONDS")
    return any(value in text for text in seen) if name in inside else value in seen


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["VENV", "PYTHON"])
def test_no_name_of_an_environment_or_interpreter_is_run(stage: Path, name: str, value: str) -> None:
    told = make(stage, "setup", f"{name}={value}")
    assert not (stage / "canary").exists()
    if name == "VENV":
        assert told[:3] == ["python3", "-m", "tools.setup"]
        assert f"VENV={value}" in told
        make(stage, "-o", "setup", "stop", f"VENV={value}")
        make(stage, "-o", "setup", "lint", f"VENV={value}")
        assert not (stage / "canary").exists()


def test_lists_of_words_become_an_option_each(stage: Path) -> None:
    told = make(stage, "-o", "setup", "sizing", "VENV=venv", "PRICES=t4=0.50 l4=0.80", "MODEL=a")
    at = told.index("edsr_conversion")
    assert told[at + 1 : at + 9] == ["sizing", "--write", "--model", "a", "--price", "t4=0.50", "--price", "l4=0.80"]


def test_the_real_commands_name_a_hostile_value_as_it_is(root: Path, tmp_path: Path) -> None:
    """No stand-ins: this checkout, its environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    wanted = 't4"; touch canary; "'
    for arguments, words in (
        (("plan", f"GPU={wanted}"), f"There is no card {wanted!r}"),
        (("serve", f"BIND={wanted}", "HTTP_PORT=18999"), "touch canary"),
        (("fetch", f"PB={wanted}"), "touch canary"),
        (("sizing", f"PRICES={wanted}"), 't4"'),
    ):
        done = subprocess.run(
            ["make", "-o", "setup", "-o", "onnx", *arguments, f"VENV={sys.prefix}"],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode != 0
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert not (root / "canary").exists()


def test_the_demonstration_converts_only_the_model_that_it_shows(stage: Path) -> None:
    told = make(stage, "-o", "setup", "demo", "VENV=venv")
    assert told[1:6] == ["-m", "edsr_conversion", "onnx", "--model", "edsr_baseline_x3"]
    (stage / "models").mkdir()
    (stage / "models" / "EDSR_x3.pb").touch()
    assert make(stage, "-o", "setup", "demo", "VENV=venv")[4:6] == ["--model", "edsr_x3"]
