"""gpus.toml, cards of one's own, and cards nobody listed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edsr_conversion import CatalogueError
from edsr_conversion.errors import CardError, PlanError
from edsr_conversion.gpu.cards import LARGEST, SMALLEST, Card, load_cards, select
from edsr_conversion.gpu.engine import describe
from edsr_conversion.gpu.flavours import RTX_COMPUTE_CAPABILITIES, is_card
from edsr_conversion.gpu.nvml import as_toml, choose_card, choose_cards, described, detect
from edsr_conversion.gpu.planner import NetworkSize, make_plan
from edsr_serving.gpu.devices import Device, devices, unified_bytes

TABLE = """\
[mine]
name = "My card"
nvml_names = ["NVIDIA My Card"]
compute_capability = "8.6"
vram_mib = 8192
bandwidth_gb_s = 300
pcie_gb_s = 12
sms = 28
fp32_tflops = 10
fp16_tflops = 40
int8_tops = 80
source = "its box"

[mine.mig."1g.2gb"]
vram_mib = 2048
sms = 7
memory_slices = 2
"""
LAPTOP = Device(0, "NVIDIA GeForce RTX 3070 Laptop GPU", "8.6", 8192, 5120, 1560, 7001, 256, 4, 16, "580.65")


@pytest.fixture(scope="module")
def cards(root: Path) -> dict[str, Card]:
    return load_cards(root)


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "gpus.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_the_catalogue_has_the_cards_people_serve_with(cards: dict[str, Card]) -> None:
    expected = {
        *("t4", "a10g", "a10", "l4", "l40s", "a100-40gb", "a100-80gb", "h100", "h100-pcie", "h200", "b200"),
        *("rtx-3060", "rtx-4090", "rtx-5090", "rtx-a4000", "rtx-3050-laptop", "gtx-1650"),
        *("a30", "a40", "l40", "rtx-6000-ada", "rtx-pro-6000", "h100-nvl", "h200-nvl", "gb10"),
        *("rtx-3090", "rtx-4080", "rtx-5080"),
        *("a100-40gb-1g.5gb", "a100-80gb-3g.40gb", "h100-1g.10gb"),
    }
    assert expected <= cards.keys()


def test_the_figures_of_the_catalogue_are_consistent(cards: dict[str, Card]) -> None:
    for card in cards.values():
        assert card.fp32_tflops < card.fp16_tflops <= (card.fp16_fast_tflops or card.fp16_tflops)
        assert card.fp16_tflops < card.int8_tops
        has_tf32 = float(card.compute_capability) >= 8
        assert (card.tf32_tflops > 0) == has_tf32
        assert card.source
    drivers_names = [name for card in cards.values() for name in card.nvml_names]
    assert len(drivers_names) == len(set(drivers_names))


def test_a_multiprocessor_of_one_architecture_has_the_same_rate_in_every_card(cards: dict[str, Card]) -> None:
    """fp16 over fp32, which clocks do not change: a misread datasheet shows."""
    ratios: dict[str, set[float]] = {}
    for card in cards.values():
        ratios.setdefault(card.compute_capability, set()).add(round(card.fp16_tflops / card.fp32_tflops))
    # Consumer cards add up in FP32 at half the rate of others of their architecture, the A10G like them.
    assert ratios["8.6"] == ratios["8.9"] == ratios["12.0"] == {2, 4}
    assert ratios["8.0"] == {16}
    assert ratios["9.0"] <= {14, 15}
    assert ratios["7.5"] <= {2, 8}  # without and with tensor cores


def test_the_memory_of_a_gpu_that_has_none_of_its_own_is_the_machines() -> None:
    assert 2**28 < unified_bytes() < 2**44


def test_tiers_are_those_of_the_replaced_service(cards: dict[str, Card]) -> None:
    assert cards["gtx-1650"].tier == "8 GB or less"
    assert cards["t4"].tier == cards["rtx-3060"].tier == cards["rtx-a4000"].tier == "12-16 GB"
    assert cards["a10g"].tier == cards["h200"].tier == "24 GB or more"


def test_a_mig_slice_has_its_share(cards: dict[str, Card]) -> None:
    whole, part = cards["a100-40gb"], cards["a100-40gb-1g.5gb"]
    assert part.compute_capability == whole.compute_capability
    assert part.fp16_tflops == pytest.approx(whole.fp16_tflops * part.sms / whole.sms, rel=0.01)
    assert part.bandwidth_gb_s == pytest.approx(whole.bandwidth_gb_s / 8, rel=0.01)
    assert part.vram_mib < 6 * 1024


@pytest.mark.parametrize("name", ["t4", "T4", "Tesla T4", "NVIDIA T4"])
def test_a_card_is_found_in_any_spelling(cards: dict[str, Card], name: str) -> None:
    assert select(cards, name).key == "t4"
    assert select(cards, "RTX 4090") is select(cards, "nvidia geforce rtx_4090") is cards["rtx-4090"]


def test_a_card_is_found_by_every_name_its_driver_gives_it(cards: dict[str, Card]) -> None:
    for card in cards.values():
        for name in card.nvml_names:
            assert select(cards, name) is card
            assert choose_card(cards, name.upper(), tuple) is card


def test_a_drivers_name_of_several_cards_is_refused_with_their_names(cards: dict[str, Card]) -> None:
    own = replace(cards["h100"], key="mine")
    with pytest.raises(CardError, match=r"'NVIDIA H100 80GB HBM3' is what the driver calls h100 and mine\. Name one"):
        select({**cards, "mine": own}, "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize("name", ["all", "ALL", "t4,l4"])
def test_several_cards_are_refused_where_one_is_meant(cards: dict[str, Card], name: str) -> None:
    with pytest.raises(CardError, match=f"GPU={name} means several cards, and this takes one.*make sizing"):
        choose_card(cards, name, tuple)


def test_several_cards_are_each_taken_once(cards: dict[str, Card]) -> None:
    t4 = Device(0, "Tesla T4", "7.5", 15360)
    assert choose_cards(cards, "T4, rtx 4090,tesla t4,,auto", lambda: (t4,)) == [cards["t4"], cards["rtx-4090"]]
    assert choose_cards(cards, "t4,All", tuple) == list(cards.values())
    for names in ("", "t4,voodoo"):
        with pytest.raises(CardError, match="There is no card"):
            choose_cards(cards, names, tuple)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        *(("a100", "a100-40gb"), ("rtx4090", "rtx-4090"), ("h10", "h100"), ("voodoo", "make gpus")),
        ("NVIDIA H100 80GB HBM", "Did you mean h100 "),
    ],
)
def test_an_unknown_card_is_refused_with_near_names(cards: dict[str, Card], name: str, hint: str) -> None:
    with pytest.raises(CardError, match=hint):
        select(cards, name)


def test_a_card_of_ones_own_is_a_table_in_a_local_file(root: Path, catalogue: Callable[[str], Path]) -> None:
    folder = catalogue((root / "gpus.toml").read_text("utf-8"))
    (folder / "gpus.local.toml").write_text(TABLE, "utf-8")
    assert load_cards(folder)["mine-1g.2gb"].fp16_tflops == 10
    assert "mine" not in load_cards(folder, local=False)
    (folder / "gpus.local.toml").write_text(TABLE.replace("mine", "t4"), "utf-8")
    with pytest.raises(CardError, match="repeats t4"):
        load_cards(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sms = 28\n", "", "lacks sms"),
        ("sms = 28\n", "sms = 28\nshaders = 1\n", "unknown keys: shaders"),
        ("vram_mib = 8192", "vram_mib = 0", "vram_mib must be a positive"),
        ("vram_mib = 8192", "vram_mib = 8192.5", "vram_mib must be a whole"),
        ("vram_mib = 8192", "vram_mib = true", "vram_mib must be a positive"),
        ("fp16_tflops = 40", "fp16_tflops = inf", "fp16_tflops must be a positive"),
        *(
            ("sms = 28", f"sms = {number}", "sms must be a (positive|whole) number")
            for number in ("-1", "inf", "nan", "1e30", "1" + 400 * "0", "28.0")
        ),
        *(
            ("bandwidth_gb_s = 300", f"bandwidth_gb_s = {number}", "bandwidth_gb_s must be a positive number, 0.001 to")
            for number in ("0", "-1", "nan", "1e30", "1e-300", "1" + 400 * "0")
        ),
        *(
            ("memory_slices = 2", f"memory_slices = {number}", "positive whole numbers")
            for number in ("0", "-1", "nan", "0.5", "1e30")
        ),
        ("fp16_tflops = 40", 'fp16_tflops = "40"', "fp16_tflops must be a positive"),
        ('"8.6"', '"86"', "compute_capability must look like"),
        ('"8.6"', "8.6", "compute_capability must be text"),
        ('["NVIDIA My Card"]', '"NVIDIA My Card"', "nvml_names must be a list"),
        ("[mine]", "[My_card]", "no card name"),
        ("memory_slices = 2", "memory_slices = 9", "larger than mine"),
        ("memory_slices = 2\n", "", "needs memory_slices"),
        ('"1g.2gb"', '"1G.2GB"', "'1G.2GB' is no name of a slice of mine"),
        ('"1g.2gb"', '"/../../x"', "no name of a slice"),
        ('"1g.2gb"', '""', "no name of a slice"),
        (TABLE[TABLE.index("[mine.mig") :], "mig = 5\n", "mig is not a table"),
        (TABLE[TABLE.index("[mine.mig") :], "[mine.mig]\nprofile = 5\n", r"\[mine.mig.profile\] needs"),
    ],
)
def test_a_wrong_table_is_refused_by_name(catalogue: Callable[[str], Path], old: str, new: str, words: str) -> None:
    assert old in TABLE
    with pytest.raises(CardError, match=words):
        load_cards(catalogue(TABLE.replace(old, new, 1)))


FIGURES = ("vram_mib", "bandwidth_gb_s", "pcie_gb_s", "sms", "fp32_tflops", "fp16_tflops", "int8_tops")


@pytest.mark.parametrize("key", FIGURES)
@pytest.mark.parametrize("figure", [SMALLEST, LARGEST])
def test_any_card_that_is_taken_has_plans_of_finite_numbers(
    catalogue: Callable[[str], Path], key: str, figure: float
) -> None:
    figure = max(1, figure) if key in ("vram_mib", "sms") else figure
    text = re.sub(rf"^{key} = .*", f"{key} = {figure}", TABLE, count=1, flags=re.MULTILINE)
    if (key, figure) in (("vram_mib", 1), ("sms", 1)):
        text = text[: text.index("[mine.mig")]
    for card in load_cards(catalogue(text)).values():
        assert min(card.fp32_tflops, card.fp16_tflops, card.int8_tops, card.bandwidth_gb_s) > 0
        with contextlib.suppress(PlanError):
            json.dumps(describe(make_plan(card, NetworkSize(32, 256, 3), "fp16")), allow_nan=False)


def test_a_driver_that_knows_neither_clocks_nor_bus_gives_a_card_that_can_be_planned(
    catalogue: Callable[[str], Path],
) -> None:
    unknown = replace(LAPTOP, cores=1, max_sm_mhz=1, max_memory_mhz=0, bus_bits=0, pcie_lanes=0)
    card = described(unknown)
    assert load_cards(catalogue(as_toml(card)))[card.key] == card
    make_plan(card, NetworkSize(16, 64, 3), "fp16")


@pytest.mark.parametrize(
    ("key", "better"),
    [
        *(("tesla-p40", "p40"), ("nvidia-geforce-gtx-1080", "gtx-1080"), ("nvidia-", "my-card")),
        *(("auto", "my-auto"), ("all", "my-all"), ("nvidia-all", "my-all")),
    ],
)
def test_a_card_that_could_not_be_selected_is_refused_with_a_name_to_take(
    catalogue: Callable[[str], Path], key: str, better: str
) -> None:
    with pytest.raises(CardError, match=rf"\[{key}\] could not be selected.*Take '{better}'"):
        load_cards(catalogue(TABLE.replace("[mine", f"[{key}")))


@pytest.mark.parametrize("key", ["titan-rtx", "mine-fp32", "mine-fp16", "mine-int8"])
def test_a_card_called_like_an_engine_of_another_is_refused(catalogue: Callable[[str], Path], key: str) -> None:
    with pytest.raises(CardError, match=rf"{key} ends like an engine's name.*such as {key}-8gb"):
        load_cards(catalogue(TABLE.replace("[mine", f"[{key}")))
    with pytest.raises(CardError, match=r"mine-x-rtx ends like an engine's name"):
        load_cards(catalogue(TABLE.replace("1g.2gb", "x-rtx")))


def test_a_slice_and_a_card_of_one_name_are_refused(catalogue: Callable[[str], Path]) -> None:
    other = TABLE[: TABLE.index("[mine.mig")].replace("[mine]", '["mine-1g.2gb"]')
    for text in (TABLE + other, other + TABLE):
        with pytest.raises(CardError, match=r"mine-1g\.2gb is both .*My card MIG 1g\.2gb"):
            load_cards(catalogue(text))


def test_a_card_whose_maker_calls_it_like_an_engine_is_described_under_another_name(
    cards: dict[str, Card], catalogue: Callable[[str], Path]
) -> None:
    card = detect(cards.values(), (replace(LAPTOP, name="NVIDIA TITAN RTX", vram_mib=24220),))
    assert card.key == "titan-rtx-24gb"
    assert load_cards(catalogue(as_toml(card)))[card.key] == card


def test_a_catalogue_that_is_missing_or_no_toml_is_refused(catalogue: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"no .*gpus\.toml"):
        load_cards(tmp_path / "nowhere")
    with pytest.raises(CatalogueError, match="not valid TOML"):
        load_cards(catalogue("[t4"))
    with pytest.raises(CardError, match="not a table"):
        load_cards(catalogue("t4 = 3"))


def test_the_driver_is_asked_for_the_card_and_its_absence_is_said(cards: dict[str, Card]) -> None:
    if not devices():
        with pytest.raises(CardError, match="no NVIDIA GPU, or no driver"):
            detect(cards.values(), devices())
    t4 = Device(0, "Tesla T4", "7.5", 15360, 2560, 1590, 5001, 256, 3, 16, "580.65")
    assert detect(cards.values(), (t4,)) is cards["t4"]
    assert is_card(t4, cards["t4"])
    assert not is_card(t4, cards["l4"])
    part = Device(0, "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0", 4864)
    assert detect(cards.values(), (part,)).key == "a100-40gb-1g.5gb"


def test_a_card_nobody_listed_is_described_and_can_be_listed(
    cards: dict[str, Card], catalogue: Callable[[str], Path]
) -> None:
    card = detect(cards.values(), (LAPTOP,))
    assert card.key == "rtx-3070-laptop-gpu"
    assert card.vram_mib == 8192
    assert card.fp32_tflops == pytest.approx(2 * 5120 * 1.56e-3, rel=0.01)
    assert card.bandwidth_gb_s == pytest.approx(448, rel=0.01)
    assert load_cards(catalogue(as_toml(card)))[card.key] == card


def test_a_listed_card_with_more_memory_than_the_driver_reports_is_another(cards: dict[str, Card]) -> None:
    """The RTX 3060 with 8 GB bears the name of the one with 12; what a driver keeps for itself does not count."""
    card = cards["rtx-3060"]
    twelve = Device(0, card.nvml_names[0], "8.6", card.vram_mib - 300, 3584, 1777, 7501, 192, 4, 16, "580.65")
    eight = replace(twelve, vram_mib=8192)
    assert detect(cards.values(), (twelve,)) is card
    assert is_card(twelve, card)
    assert not is_card(eight, card)
    other = detect(cards.values(), (eight,))
    assert (other.key, other.vram_mib) == ("rtx-3060-8gb", 8192)
    assert other.source.startswith("read from the driver")
    own = replace(card, key="mine", vram_mib=8192)
    assert detect([*cards.values(), own], (eight,)) is own
    assert detect([*cards.values(), replace(own, vram_mib=12288)], (twelve,)).key == "mine"


@pytest.mark.parametrize("key", ["t4", "a100-40gb", "h100", "rtx-4090", "rtx-5090", "b200"])
def test_a_described_card_is_never_promised_more_than_the_listed_one_has(cards: dict[str, Card], key: str) -> None:
    listed = cards[key]
    per_sm = {"7.5": 64, "8.0": 64}.get(listed.compute_capability, 128)
    cores = listed.sms * per_sm
    clock = listed.fp32_tflops * 1e6 / (2 * cores)
    device = Device(0, "x", listed.compute_capability, listed.vram_mib, cores, int(clock), 5000, 256, 4, 16, "580")
    assert described(device).fp16_tflops <= listed.fp16_tflops * 1.01


def test_what_the_catalogue_calls_supported_is_what_tensorrt_for_rtx_knows() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    known = {name for name in trt.ComputeCapability.__members__ if name.startswith("SM")}
    assert known == {f"SM{capability.replace('.', '')}" for capability in RTX_COMPUTE_CAPABILITIES}
