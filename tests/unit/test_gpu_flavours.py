"""Which TensorRT builds for which card, here or elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from edsr_conversion.errors import CannotBuildHereError, CardError
from edsr_conversion.gpu.builder import BuildOptions
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.flavours import RTX, TENSORRT, Toolbox, check_release, choose, load
from edsr_serving.gpu.devices import Device

CARDS = load_cards(Path(__file__).resolve().parents[2])
T4 = Device(0, "Tesla T4", "7.5", 15360, 2560, 1590, 5001, 256, 3, 16, "580.65")
H100 = Device(0, "NVIDIA H100 80GB HBM3", "9.0", 81559, 16896, 1980, 2619, 5120, 5, 16, "580.65")
NOTHING, ONLY_RTX = Toolbox(None, None, ()), Toolbox(None, "1.7", ())


@pytest.mark.parametrize(
    ("requested", "card", "toolbox", "expected"),
    [
        ("auto", "t4", ONLY_RTX, RTX),
        ("auto", "t4", Toolbox("11.1", "1.7", (T4,)), TENSORRT),
        ("auto", "t4", Toolbox("11.1", "1.7", (H100,)), RTX),
        ("auto", "t4", Toolbox(None, "1.7", (T4,)), RTX),
        ("auto", "h100", Toolbox("11.1", "1.7", (H100,)), TENSORRT),
        (RTX, "rtx-5090", ONLY_RTX, RTX),
        (RTX, "t4", Toolbox("11.1", "1.7", (T4,)), RTX),
        (TENSORRT, "t4", Toolbox("11.1", None, (H100, T4)), TENSORRT),
    ],
)
def test_a_flavour_is_chosen_by_what_is_here(requested: str, card: str, toolbox: Toolbox, expected: str) -> None:
    assert choose(requested, CARDS[card], toolbox) == expected


@pytest.mark.parametrize("card", ["h100", "h100-pcie", "h200", "b200"])
@pytest.mark.parametrize("requested", ["auto", RTX, TENSORRT])
def test_a_card_that_cannot_be_built_for_here_comes_with_the_command(card: str, requested: str) -> None:
    with pytest.raises(CannotBuildHereError) as caught:
        choose(requested, CARDS[card], ONLY_RTX)
    assert f"make engines-container GPU={card}" in str(caught.value)
    assert f"make engines GPU={card} FLAVOUR=tensorrt" in str(caught.value)


def test_another_card_than_the_one_named_is_refused() -> None:
    with pytest.raises(CardError, match=r"has Tesla T4 \(7.5, 15,360 MiB\), not NVIDIA H100"):
        choose(TENSORRT, CARDS["h100"], Toolbox("11.1", "1.7", (T4,)))


def test_what_is_not_installed_is_said() -> None:
    with pytest.raises(CannotBuildHereError, match="make setup"):
        choose("auto", CARDS["t4"], NOTHING)
    with pytest.raises(CannotBuildHereError, match="NVIDIA's container has it"):
        choose(TENSORRT, CARDS["t4"], Toolbox(None, "1.7", (T4,)))
    with pytest.raises(CannotBuildHereError, match="no NVIDIA GPU"):
        choose(TENSORRT, CARDS["t4"], Toolbox("11.1", "1.7", ()))


def test_type_stubs_are_not_taken_for_tensorrt() -> None:
    module = load(TENSORRT)  # in this environment only its stubs may be installed
    assert module is None or hasattr(module, "Builder")


def test_an_engine_of_another_version_than_the_containers_is_noticed() -> None:
    assert check_release("11.1.0.106", "26.07") == ""
    assert (
        check_release("10.13.0.35", "26.07") == "built with TensorRT 10.13.0.35, but the container 26.07 has 11.1.0.106"
    )
    assert check_release("12.0", "99.01") == ""  # what is not known is not refused


def test_options_that_tensorrt_for_rtx_lacks_are_refused() -> None:
    BuildOptions(version_compatible=True).check(TENSORRT)
    for options in (BuildOptions(version_compatible=True), BuildOptions(hardware_compatibility="ampere-plus")):
        with pytest.raises(CannotBuildHereError, match="FLAVOUR=tensorrt"):
            options.check(RTX)
