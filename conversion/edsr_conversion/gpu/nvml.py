"""The cards that `GPU=` names, and a card from what the driver tells of this machine's (edsr_serving.gpu.devices)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from edsr_serving.gpu.devices import Device
from edsr_serving.gpu.names import ALL, AUTO, normalise

from ..errors import CardError
from .cards import ENDINGS, Card, select

# FP16 with FP32 accumulation in units of plain FP32, by compute capability: the smallest among the cards of each, so
# that a card nobody listed is not promised too much. Derived from NVIDIA's architecture whitepapers.
FP16_PER_FP32 = {"7.5": 2.0, "8.0": 16.0, "8.6": 2.0, "8.9": 2.0, "9.0": 14.0, "10.0": 28.0, "12.0": 2.0}
CORES_PER_SM = {"7.5": 64, "8.0": 64}
DEFAULT_CORES_PER_SM = 128
PCIE_GB_S_PER_LANE = {1: 0.2, 2: 0.4, 3: 0.75, 4: 1.5, 5: 3.1, 6: 6.2}


def choose_card(cards: dict[str, Card], name: str, found: Callable[[], tuple[Device, ...]]) -> Card:
    """The one card that `name` means; "auto" is this machine's, for which `found` gives the GPUs.

    Raises:
        CardError: there is no such card, or the name means several.
    """
    return detect(cards.values(), found()) if normalise(name) == AUTO else select(cards, name)


def choose_cards(cards: dict[str, Card], names: str, found: Callable[[], tuple[Device, ...]]) -> list[Card]:
    """The cards that `names` means, with commas between them, each once; "all" is every card listed.

    Raises:
        CardError: there is no such card.
    """
    each = [name for name in names.split(",") if name.strip()] or [names]
    if means_all(names):
        return list(cards.values())
    chosen = [choose_card(cards, name, found) for name in each]
    return list({card.key: card for card in chosen}.values())


def means_all(names: str) -> bool:
    """Whether `names` means every card listed."""
    return ALL in map(normalise, names.split(","))


def detect(cards: Iterable[Card], found: tuple[Device, ...]) -> Card:
    """The card of this machine: from the catalogue if it is listed, else described from what the driver tells.

    The driver gives several cards the same name: a listed one with clearly more memory is another. Where several fit,
    the last is taken, for cards of one's own stand after the others.

    Raises:
        CardError: no GPU.
    """
    if not found:
        raise CardError("GPU=auto: this machine has no NVIDIA GPU, or no driver. Name a card: `make gpus` lists them.")
    device, listed = found[0], list(cards)
    fitting = [card for card in listed if device.name in card.nvml_names and device.has_memory_of(card.vram_mib)]
    return fitting[-1] if fitting else described(device, {card.key for card in listed})


def described(device: Device, taken: Collection[str] = ()) -> Card:
    """A card nobody listed. Peaks follow from cores and clocks; fp16 is the least its architecture has.

    Its key is none of those `taken`: another card of the same name has its memory in the key.
    """
    fp32 = 2 * device.cores * device.max_sm_mhz * 1e6 / 1e12
    major, _ = device.compute_capability.split(".")
    factor = FP16_PER_FP32.get(device.compute_capability, 2.0 if int(major) >= 7 else 1.0)
    # Memory moves data twice a clock, and as many bits as the bus is wide.
    bandwidth = 2 * device.max_memory_mhz * 1e6 * device.bus_bits / 8 / 1e9
    lane = PCIE_GB_S_PER_LANE.get(device.pcie_generation, PCIE_GB_S_PER_LANE[3])
    return Card(
        key=_key(device, taken),
        name=device.name,
        nvml_names=(device.name,),
        compute_capability=device.compute_capability,
        vram_mib=device.vram_mib,
        bandwidth_gb_s=_at_least(0.1, bandwidth),
        pcie_gb_s=_at_least(0.1, lane * device.pcie_lanes),
        sms=max(1, device.cores // CORES_PER_SM.get(device.compute_capability, DEFAULT_CORES_PER_SM)),
        fp32_tflops=_at_least(0.01, fp32),
        fp16_tflops=_at_least(0.01, fp32 * factor),
        int8_tops=_at_least(0.01, fp32 * factor * 2),
        source=f"read from the driver ({device.driver}): cores and clocks; tensor rates are the architecture's least",
    )


def _at_least(step: float, figure: float) -> float:
    """A figure to a tenth or a hundredth, and not 0: a driver that knows no clock or no bus says 0."""
    return max(step, round(figure, 1 if step == 0.1 else 2))


def _key(device: Device, taken: Collection[str]) -> str:
    key = re.sub(r"[^a-z0-9.-]", "", normalise(device.name)).strip(".-") or "gpu"
    names = (key, f"{key}-{round(device.vram_mib / 1024)}gb", f"{key}-{device.vram_mib}mib")
    return next((name for name in names if name not in taken and not name.endswith(ENDINGS)), names[-1])


def as_toml(card: Card) -> str:
    """A table for gpus.local.toml."""
    names = ", ".join(f'"{name}"' for name in card.nvml_names)
    lines = [f"[{card.key}]", f'name = "{card.name}"', f"nvml_names = [{names}]"]
    for key in ("compute_capability", "source"):
        lines.append(f'{key} = "{getattr(card, key)}"')
    for key in ("vram_mib", "bandwidth_gb_s", "pcie_gb_s", "sms", "fp32_tflops", "fp16_tflops", "int8_tops"):
        lines.append(f"{key} = {getattr(card, key)}")
    return "\n".join(lines) + "\n"
