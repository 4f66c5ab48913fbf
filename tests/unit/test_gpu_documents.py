"""docs/sizing.md, what `make plan` says, and the container files: each agrees with what it is made of."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from edsr_conversion import ConversionError, load_models
from edsr_conversion.cli import main
from edsr_conversion.errors import CardError
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.flavours import TENSORRT_OF_RELEASE
from edsr_conversion.gpu.planner import make_plan
from edsr_conversion.gpu.replaced import CLAIMS
from edsr_conversion.gpu.sizing import draw, page, parse_prices
from edsr_conversion.repository import network_size

ROOT = Path(__file__).resolve().parents[2]
CARDS = load_cards(ROOT, local=False)
MODELS = list(load_models(ROOT, local=False).values())


def test_the_sizing_page_has_not_drifted() -> None:
    committed = (ROOT / "docs" / "sizing.md").read_text("utf-8")
    assert committed == page(MODELS, list(CARDS.values())), "run `make sizing` and commit the result"


def test_the_sizing_page_has_every_card_and_each_size_once() -> None:
    text = page(MODELS, list(CARDS.values()))
    sizes = {network_size(model) for model in MODELS}
    for key in CARDS:
        claims = len(CLAIMS.get(key, ()))
        assert text.count(f"| `{key}` |") == len(sizes) + claims
    assert all(model.name in text for model in MODELS)
    assert "nothing fits" not in text


def test_the_chart_shows_whole_cards_and_is_the_same_twice(tmp_path: Path) -> None:
    draw(MODELS, list(CARDS.values()), tmp_path / "a.svg")
    draw(MODELS, list(CARDS.values()), tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert text == (tmp_path / "b.svg").read_text("utf-8")
    for card in CARDS.values():
        assert (f">{card.key} (" in text) == (" MIG " not in card.name), card.key


def test_a_chart_that_cannot_be_written_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sizing.svg").write_text("before", "utf-8")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConversionError, match=r"Cannot write .*sizing\.svg: No space left"):
        draw(MODELS, [CARDS["t4"]], tmp_path / "sizing.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["sizing.svg"]
    assert (tmp_path / "sizing.svg").read_text("utf-8") == "before"


@pytest.mark.parametrize("key", CARDS)
def test_every_card_is_explained_in_words(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(ROOT), "plan", "--gpu", key]) == 0
    told = capsys.readouterr().out
    for model in MODELS:
        plan = make_plan(CARDS[key], network_size(model), "fp16")
        assert f"{plan.total_bytes / 2**20:,.0f} MiB at the peak of {CARDS[key].vram_mib:,} MiB" in told
        assert f"decided by       {plan.decided_by}: " in told
    assert told.count("profile") >= 2
    assert "not measured on a card" in told


def test_the_replaced_services_table_stands_beside_ours(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--root", str(ROOT), "plan", "--gpu", "t4", "--model", "edsr_x3"])
    told = capsys.readouterr().out
    assert re.search(r"2048x2048 +4 .*out of memory; ours: 4 tiles", told)
    assert re.search(r"512x512 +1 .*1.8 GB, 120 ms; ours: fits \*", told)
    assert "faster than the card can compute this network" in told
    main(["--root", str(ROOT), "plan", "--gpu", "a100-40gb", "--model", "edsr_x3"])
    assert re.search(r"4096x4096 .*38.1 GB \(near the limit\); ours: \d+ tiles", capsys.readouterr().out)
    assert CLAIMS.keys() <= CARDS.keys()


def test_a_plan_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(ROOT), "plan", "--gpu", "l4", "--json", "--model", "edsr_x3"]) == 0
    told = json.loads(capsys.readouterr().out)["edsr_x3"]
    assert told["total_bytes"] <= told["budget_bytes"]
    assert told["profiles"][0]["max"] == [1, *told["tile"], 3]
    assert told["limits"]


def test_assumptions_can_be_questioned(capsys: pytest.CaptureFixture[str]) -> None:
    def tile(*arguments: str) -> int:
        assert main(["--root", str(ROOT), "plan", "--gpu", "t4", "--json", "--model", "edsr_x3", *arguments]) == 0
        side: int = json.loads(capsys.readouterr().out)["edsr_x3"]["tile"][0]
        return side

    assert tile("--max-request-seconds", "1") < tile() < tile("--efficiency", "0.9")
    for wrong in (
        *(("--efficiency", number) for number in ("0", "2", "nan", "1e-320")),
        *(("--max-request-seconds", number) for number in ("-1", "inf", "nan", "1e30")),
    ):
        assert main(["--root", str(ROOT), "plan", "--gpu", "t4", *wrong]) == 11
    capsys.readouterr()


def test_sizing_with_prices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(ROOT), "sizing", "--json", "--price", "t4=0.5", "--model", "edsr_x3"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (t4,) = [row for row in rows if row["card"] == "t4"]
    assert t4["cost_of_1000"] == pytest.approx(1000 * t4["megapixel_expected_s"] * 0.5 / 3600)
    assert all(("cost_of_1000" in row) == (row["card"] == "t4") for row in rows)


def test_prices_take_cards_in_any_spelling_and_refuse_what_is_none() -> None:
    assert parse_prices(["T4=0.5", "RTX_4090=1e1", "l4=0"], CARDS) == {"t4": 0.5, "rtx-4090": 10, "l4": 0}
    for wrong, words in (
        *(("t4", "is no price of a card"), ("prices.toml", 'PRICES="t4=0.50'), ("=1", "is no price of a card")),
        *(("t4=x", "'x' is no number"), ("t4=", "is no number"), ("t9=1", "no card 't9'.*Did you mean t4")),
        *((f"t4={number}", "must be from 0 to 1,000,000") for number in ("-1", "nan", "inf", "1e308")),
    ):
        with pytest.raises(CardError, match=words):
            parse_prices([wrong], CARDS)
    with pytest.raises(CardError, match="two prices of t4"):
        parse_prices(["t4=1", "T4=2"], CARDS)


def test_the_columns_on_a_terminal_are_explained_the_cost_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for price in ((), ("--price", "T4=0.5")):
        assert main(["--root", str(ROOT), "sizing", "--model", "edsr_x3", *price]) == 0
        told = capsys.readouterr().out
        assert "at the limit: no engine can be faster" in told
        assert ("cost of 1,000: of 1,000 pictures of 1 MP" in told) == bool(price)


def test_the_expected_time_and_the_limit_agree_with_the_words_below_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """A GeForce card's limit counts a peak twice as high as the one whose half is expected: the footer names both."""
    for key, precision, expected, limit in (
        (
            "rtx-4090",
            "fp16",
            r"50% of the card's 165\.2 TFLOP/s with sums in FP32",
            r"330\.3 TFLOP/s with sums in FP16",
        ),
        ("rtx-4090", "fp32", r"50% of the card's 82\.6 TFLOP/s, or", r"82\.6 TFLOP/s: no engine"),
        ("t4", "fp16", r"50% of the card's 65 TFLOP/s, or", r"65 TFLOP/s: no engine"),
    ):
        assert main(["--root", str(ROOT), "plan", "--gpu", key, "--precision", precision]) == 0
        told = capsys.readouterr().out
        assert re.search(f"expected  {expected}", told), told
        assert re.search(f"limit     all of its {limit}", told), told


def test_listing_the_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(ROOT), "gpus"]) == 0
    listed, _, here = capsys.readouterr().out.partition("in this machine")
    assert len(listed.splitlines()) == len(CARDS)
    assert here
    assert main(["--root", str(ROOT), "gpus", "--json"]) == 0
    assert {card["key"] for card in json.loads(capsys.readouterr().out)} == CARDS.keys()


DOCKERFILE, MAKEFILE = (ROOT / "Dockerfile.triton").read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")


def test_the_dockerfile_has_no_complaints_of_hadolint() -> None:
    lint = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "Dockerfile.triton"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_containers_of_nvidia_are_of_the_one_release_of_the_makefile() -> None:
    (release,) = re.findall(r"^TRITON_VERSION := (\d\d\.\d\d)$", MAKEFILE, re.MULTILINE)
    assert release in TENSORRT_OF_RELEASE
    images = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert images == [
        ("nvcr.io/nvidia/tensorrt:${TRITON_VERSION}-py3", "engines"),
        ("nvcr.io/nvidia/tritonserver:${TRITON_VERSION}-py3", "server"),
        ("python:3.13-slim", "gateway"),
    ]
    assert set(re.findall(r"--target (\w+)", MAKEFILE)) == {name for _, name in images}
    assert MAKEFILE.count('--build-arg "TRITON_VERSION=$$TRITON_VERSION"') == 2  # of NVIDIA
    assert not re.search(r"\d\d\.\d\d-py3", DOCKERFILE + MAKEFILE)  # said once


def test_every_file_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = [path for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) for path in line.split()[:-1]]
    for path in (path for path in copied if not path.startswith("--")):
        assert (ROOT / path).exists(), path
        assert f"!{path.split('/')[0]}" in ignore, path


def test_the_containers_paths_agree_with_the_makefile_and_the_entry_point() -> None:
    script = (ROOT / "serving" / "container.sh").read_text("utf-8")
    assert "--model-repository=/models" in script
    assert ":/models:ro" in MAKEFILE
    assert "WORKDIR /edsr\n" in DOCKERFILE
    assert ":/edsr/model_repository" in MAKEFILE
    for variable in ("MODEL", "CONFIG_NAME"):
        assert f"${{{variable}" in script
        assert f"--env {variable}=" in MAKEFILE
        assert variable in DOCKERFILE
    assert subprocess.run(["sh", "-n", ROOT / "serving" / "container.sh"], check=False).returncode == 0
    assert re.search(r"^USER 1000$", DOCKERFILE, re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE
    assert "--shm-size" in MAKEFILE
