"""Names of precisions and of what is made for a card in one: written and read in one place, and so the same in all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from edsr_conversion import precisions
from edsr_conversion.gpu.cards import ENDINGS, load_cards
from edsr_conversion.gpu.planner import FORMATS
from edsr_serving import ServerOptions
from edsr_serving.cpu import PRECISIONS as CPU
from edsr_serving.cpu import inference_precision
from edsr_serving.options import GPU_PRECISIONS
from edsr_serving.variants import ENGINE_PRECISIONS, PRECISIONS, RTX, TENSORRT, Variant, spelled
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent.parent
CARDS = sorted(load_cards(ROOT))


@given(st.sampled_from(CARDS), st.sampled_from(ENGINE_PRECISIONS), st.sampled_from([TENSORRT, RTX]))
def test_a_name_is_read_as_it_was_written(card: str, precision: str, flavour: str) -> None:
    variant = Variant(card, precision, flavour)
    assert Variant.parse(variant.name) == variant
    assert Variant(card, precision, flavour).name == variant.name


def test_no_two_variants_share_a_name() -> None:
    every = [Variant(card, p, f) for card in CARDS for p in ENGINE_PRECISIONS for f in (TENSORRT, RTX)]
    assert len({variant.name for variant in every}) == len(every)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("a10g", Variant("a10g", "fp16", TENSORRT)),
        ("a10g-rtx", Variant("a10g", "fp16", RTX)),
        ("a10g-fp32-rtx", Variant("a10g", "fp32", RTX)),
        ("t4-int8-rtx", Variant("t4", "int8", RTX)),
        ("t4-int8", Variant("t4", "int8", TENSORRT)),
        ("a100-40gb-1g.5gb-rtx", Variant("a100-40gb-1g.5gb", "fp16", RTX)),
        ("rtx-4090-rtx", Variant("rtx-4090", "fp16", RTX)),
    ],
)
def test_names_that_stand_in_repositories(name: str, variant: Variant) -> None:
    assert (Variant.parse(name), variant.name) == (variant, name)


def test_a_variant_of_nothing_is_refused() -> None:
    for wrong in ({"precision": "fp8"}, {"precision": "bf16"}, {"flavour": "auto"}):
        with pytest.raises(ValueError, match="is"):
            Variant("t4", **wrong)


def test_there_is_one_list_of_precisions() -> None:
    assert set(ENGINE_PRECISIONS) == set(precisions.PRECISIONS) == set(FORMATS) == set(GPU_PRECISIONS) - {"auto"}
    assert {spelled(name) for name in (*CPU, *ENGINE_PRECISIONS)} - {"auto"} == set(PRECISIONS)
    assert {f"-{name}" for name in PRECISIONS} < set(ENDINGS)


def test_fp32_and_f32_are_one_precision() -> None:
    for name in ("f32", "fp32", "FP32", " F32 "):
        assert spelled(name) == "fp32"
        assert Variant("t4", name).name == "t4-fp32"
        assert ServerOptions(gpu="t4", precision=name).variant == "t4-fp32-rtx"
        assert ServerOptions(precision=name).precision == inference_precision(name, []) == "f32"
    assert spelled("fp8") == "fp8"
    assert ServerOptions(gpu="t4").variant == ServerOptions(gpu="t4", precision="f16").variant == "t4-rtx"
    assert ServerOptions(gpu="t4", precision="int8").variant == "t4-int8-rtx"


def test_nobody_else_writes_or_reads_such_names() -> None:
    """Endings of names, and tuples of precisions, stand in variants.py alone."""
    own = re.compile(r"""["'{]-rtx|(?:removesuffix|endswith)\(f?["']-|["']fp32["'], ["']fp16|["']fp16["'], ["']fp32""")
    for package in ("serving", "conversion", "perf/edsr_perf", "demo"):
        for file in (ROOT / package).rglob("*.py"):
            if file.name != "variants.py":
                assert not own.search(file.read_text("utf-8")), file
