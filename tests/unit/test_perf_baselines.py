"""The comparison with other ways to run the network: what is compared, in turns, how far apart; the page in step."""

from __future__ import annotations

import argparse
import email
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_perf.baselines import environments, page
from edsr_perf.baselines.agreement import check, difference
from edsr_perf.baselines.catalogue import ARRAY, JPEG, PNG, PROJECT, Agreement, compared, expected
from edsr_perf.baselines.cli import shapes_of
from edsr_perf.baselines.contestants import subject_of
from edsr_perf.baselines.pictures import decoded, encoded, fitted, photograph
from edsr_perf.baselines.service import multipart
from edsr_perf.baselines.turns import ratio, rotated, runs_for, take_turns
from edsr_perf.cli import main
from edsr_perf.errors import DisagreementError, EnvironmentFailed, MissingModelError
from edsr_perf.sections import read_results, with_section

ROOT = Path(__file__).resolve().parents[2]
NOISE = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def result(shapes: Sequence[tuple[int, int]] = ((256, 256),)) -> dict[str, Any]:
    """What a measurement writes: one contestant ten times as slow as ours, and ours."""
    rows = [
        {
            "shape": list(shape),
            "level": level,
            "key": key,
            "title": key.upper(),
            "precision": "f32",
            "median_s": seconds,
            "of_ours": seconds / 0.2,
            "rounds_s": [seconds],
            "psnr_db": psnr,
            "max_levels": 1,
        }
        for shape in shapes
        for level, key, seconds, psnr in (
            (ARRAY, "opencv", 2.0, 81.23),
            (ARRAY, "ours", 0.2, None),
            (PNG, "ours", 0.25, 41.0),
        )
    ]
    machine = {"processor": "A processor", "date": "2026-01-02", "revision": "abc", "packages": {"openvino": "1.2"}}
    environment = {"opencv_dnn": {"python": "3.11.7", "numpy": "1.26.4"}}
    return {"model": "m", "rounds": 5, "threads": 2, "rows": rows, "environments": environment, "machine": machine}


def test_every_way_is_compared_once_and_float32_is_among_them() -> None:
    keys = [one.key for one in compared("bf16", ("f32", "bf16", "int8"))]
    assert len(keys) == len(set(keys))
    assert {"opencv", "flask", "onnxruntime", "openvino-f32", "openvino-int8", "ours", "bicubic", "ours-f32"} <= {*keys}
    assert "ours-f32" not in [one.key for one in compared("f32", ("f32",))]
    for one in compared("bf16", ("f32", "bf16")):
        assert one.environment == PROJECT or (ROOT / environments.CODE / one.environment / "requirements.txt").is_file()
        assert not one.module or (ROOT / environments.CODE / one.module / "worker.py").is_file()


def test_the_requirements_are_pinned() -> None:
    for path in (ROOT / environments.CODE).glob("*/requirements.txt"):
        lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        assert lines
        assert all("==" in line for line in lines), path


def test_float32_must_agree_to_a_level_and_bicubic_need_not() -> None:
    by_key = {one.key: one for one in compared("bf16", ("f32", "bf16"))}
    assert expected(by_key["opencv"], ARRAY) == Agreement(60.0, 1)
    assert expected(by_key["flask"], PNG, 45.0) == Agreement(60.0, 1)
    assert expected(by_key["flask"], JPEG, 45.0) == Agreement(42.0)
    assert expected(by_key["ours"], JPEG, 45.0) == Agreement(40.0)
    assert expected(by_key["flask"], JPEG) == Agreement(60.0, 1)
    assert expected(by_key["bicubic"], ARRAY) is None
    check("any", None, 0, Agreement(60.0, 1))
    check("any", 10.0, 90, None)
    for psnr_db, levels in ((59.9, 1), (80.0, 2)):
        with pytest.raises(DisagreementError, match="does not compute the same"):
            check("any", psnr_db, levels, Agreement(60.0, 1))


def test_the_difference_of_two_answers() -> None:
    other = NOISE.copy()
    other[0, 0, 0] ^= 1
    psnr_db, levels = difference(NOISE, other)
    assert psnr_db == pytest.approx(10 * np.log10(255**2 * NOISE.size), abs=0.01)
    assert levels == 1
    assert difference(NOISE, NOISE) == (None, 0)
    black, white = np.zeros_like(NOISE), np.full_like(NOISE, 255)
    assert difference(black, white) == (0.0, 255)
    with pytest.raises(DisagreementError, match=r"\[20, 30, 3\]"):
        difference(NOISE, NOISE[:5])


def test_a_turn_has_more_runs_of_what_is_fast() -> None:
    assert [runs_for(seconds) for seconds in (2.0, 0.3, 0.1, 0.001, 0.0)] == [1, 1, 3, 20, 20]


def test_everybody_has_a_turn_in_every_round_and_nobody_is_always_first() -> None:
    order: list[str] = []

    def turn(name: str) -> Any:
        def run(runs: int) -> list[float]:
            order.append(name)
            return [float(ord(name))] * runs

        return run

    names = ["a", "b", "c"]
    taken = take_turns({name: turn(name) for name in names}, dict.fromkeys(names, 1.0), 3, pause_s=0)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert taken == {name: [float(ord(name))] * 3 for name in names}
    assert rotated(names, 4) == ["b", "c", "a"]


def test_a_slow_minute_does_not_change_the_ratio() -> None:
    assert ratio([2.0, 20.0, 2.2], [1.0, 10.0, 1.0]) == 2.0


def test_the_picture_fits_any_size() -> None:
    for height, width in ((5, 7), (20, 30), (21, 64), (45, 10)):
        assert fitted(NOISE, height, width).shape == (height, width, 3)
    assert np.array_equal(fitted(NOISE, 20, 30), NOISE)
    assert np.array_equal(fitted(NOISE, 20, 32)[:, 0], NOISE[:, 0])
    assert photograph(ROOT, 512, 512).shape == (512, 512, 3)


def test_a_png_file_is_its_pixels() -> None:
    assert np.array_equal(decoded(encoded(NOISE, "png")), NOISE)
    assert decoded(encoded(NOISE, "jpeg")).shape == NOISE.shape


def test_a_form_holds_the_file_as_it_is() -> None:
    body, content_type = multipart("image", b"\x00\r\n--\xff", "image/png")
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    whole, part = message.walk()
    assert whole.is_multipart()
    assert part.get_param("name", header="Content-Disposition") == "image"
    assert part.get_content_type() == "image/png"
    assert part.get_payload(decode=True) == b"\x00\r\n--\xff"


def test_environments_stand_where_the_variable_says(tmp_path: Path) -> None:
    assert environments.folder(ROOT, {}) == ROOT / ".venv-baselines"
    assert environments.folder(ROOT, {"EDSR_BASELINES": str(tmp_path)}) == tmp_path
    assert environments.python_of(ROOT, PROJECT, print) == Path(sys.executable)


def test_an_environment_that_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDSR_BASELINES", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was installed"))
    place = tmp_path / "onnx_runtime"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").touch()
    wanted = (ROOT / environments.CODE / "onnx_runtime" / "requirements.txt").read_bytes()
    (place / ".installed").write_text(hashlib.sha256(wanted).hexdigest(), "utf-8")
    assert environments.python_of(ROOT, "onnx_runtime", print) == place / "bin" / "python"


def test_no_network_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDSR_BASELINES", str(tmp_path))
    words = "WARNING: retrying\nERROR: Could not find a version\nERROR: No matching distribution found for onnxruntime."
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=words)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        EnvironmentFailed, match=r"^The environment of onnx_runtime .* No matching .*EDSR_BASELINES="
    ) as e:
        environments.python_of(ROOT, "onnx_runtime", lambda _: None)
    assert "\n" not in str(e.value)
    assert environments.reason("") == "no reason was given"
    assert environments.reason("Error: ensurepip is not available\n\n") == "Error: ensurepip is not available"


def test_shapes_are_read() -> None:
    assert shapes_of("256x256, 32x48") == [(256, 256), (32, 48)]
    for wrong in ("", "256", "0x3", "3x-1", "axb"):
        with pytest.raises(argparse.ArgumentTypeError, match="256x256"):
            shapes_of(wrong)


def test_mistakes_are_told_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--root", str(ROOT), "--results", str(tmp_path)]
    for arguments, code, words in (
        (["--model", "none"], 3, "There is no model 'none'"),
        (["--without", "tensorflow"], 1, "There is no baseline 'tensorflow'"),
        (["--without", "ours"], 1, "ours cannot be left out"),
        (["--rounds", "0"], 1, "--rounds"),
    ):
        assert main(["baselines", *out, *arguments]) == code
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert words in error
        assert error.count("\n") == 1


def test_a_model_that_is_not_built_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "models.toml").write_bytes((ROOT / "models" / "models.toml").read_bytes())
    with pytest.raises(MissingModelError, match="make onnx MODEL=edsr_baseline_x3"):
        subject_of(tmp_path, "edsr_baseline_x3", 2)
    built = tmp_path / "model_repository" / "edsr_baseline_x3" / "1"
    built.mkdir(parents=True)
    (built / "model.onnx").touch()
    (built / "model.json").write_text('{"network": {"scale": 3}}', "utf-8")
    with pytest.raises(MissingModelError, match="which OpenCV reads"):
        subject_of(tmp_path, "edsr_baseline_x3", 2)


def test_the_table_has_a_line_for_everybody() -> None:
    text = page.section([result(((256, 256), (512, 512)))])
    assert "| OPENCV | f32 | 2,000 ms | 10.00x | 2,000 ms | 10.00x | 81.2 dB |" in text
    assert "| OURS | f32 | 200 ms | 1.00x | 200 ms | 1.00x | equal |" in text
    assert "| *from PNG file to PNG file* |" in text
    assert "JPEG" not in text
    assert "opencv_dnn: python 3.11.7, numpy 1.26.4" in text
    assert page.section([]) == page.NOT_MEASURED
    assert page.times(0.00123) == "0.0012x"


def test_the_page_shows_the_figures_that_are_kept() -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    content = page.section(read_results(ROOT, "baselines-*.json"))
    assert with_section(text, page.MARKER, content) == text, "run `python -m edsr_perf baselines --render-only`"
    with pytest.raises(ValueError, match="no place"):
        with_section("# Nothing here", page.MARKER, content)
