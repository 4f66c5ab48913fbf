"""gpus.toml: the cards we plan for, as typed data. MIG slices of a card are cards of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edsr_serving.gpu.names import ALL, AUTO, find, normalise
from edsr_serving.variants import PRECISIONS, RTX_ENDING, SPELLINGS

from ..catalogue import read_tables
from ..errors import CardError

CATALOGUE = Path("gpus.toml")
LOCAL_CATALOGUE = Path("gpus.local.toml")
# It becomes part of file names and of a command line.
NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
COMPUTE_CAPABILITY = re.compile(r"\d{1,2}\.\d")
# What they mean after `GPU=` is no card.
WORDS = (ALL, AUTO)
# Names of engines and configurations end so, by flavour and precision: "t4-fp32-rtx" is one of t4, never of a card.
ENDINGS = (RTX_ENDING, *(f"-{precision}" for precision in (*PRECISIONS, *SPELLINGS)))
MEMORY_SLICES = 8
# No figure of a card is outside, in the units of gpus.toml; within, all arithmetic stays finite.
SMALLEST, LARGEST = 0.001, 10_000_000
MIG_KEYS = {"vram_mib", "sms", "memory_slices"}


@dataclass(frozen=True)
class Card:
    """One GPU model, or one MIG slice of it.

    Attributes:
        key: name in gpus.toml, in file names and after `GPU=`.
        name: as its maker writes it.
        nvml_names: every name the driver gives it.
        compute_capability: "8.6".
        vram_mib: memory in MiB, as the driver reports it.
        bandwidth_gb_s: device memory, 1e9 bytes per second.
        pcie_gb_s: host to device, one way, as reached in practice.
        sms: streaming multiprocessors.
        fp32_tflops, tf32_tflops, fp16_tflops, fp8_tflops, int8_tops: dense peaks; fp16 with FP32 accumulation; 0 where
            the hardware has no such units.
        fp16_fast_tflops: fp16 with FP16 accumulation where that is faster, else 0.
        source: where the figures come from.
    """

    key: str
    name: str
    nvml_names: tuple[str, ...]
    compute_capability: str
    vram_mib: int
    bandwidth_gb_s: float
    pcie_gb_s: float
    sms: int
    fp32_tflops: float
    fp16_tflops: float
    int8_tops: float
    source: str
    tf32_tflops: float = 0.0
    fp16_fast_tflops: float = 0.0
    fp8_tflops: float = 0.0

    @property
    def tier(self) -> str:
        """The size classes of the service being replaced: "8 GB or less", "12-16 GB", "24 GB or more"."""
        gib = self.vram_mib / 1024
        if gib < 10:
            return "8 GB or less"
        return "12-16 GB" if gib < 20 else "24 GB or more"

    def slice(self, profile: str, vram_mib: int, sms: int, memory_slices: int) -> Card:
        """The MIG slice `profile`: its share of multiprocessors and bandwidth; PCIe is shared as it comes."""
        share = sms / self.sms
        rates: dict[str, Any] = {
            f.name: _part(getattr(self, f.name), share) for f in fields(self) if f.name.endswith(("flops", "tops"))
        }
        return replace(
            self,
            **rates,
            key=f"{self.key}-{profile}",
            name=f"{self.name} MIG {profile}",
            nvml_names=tuple(f"{name} MIG {profile}" for name in self.nvml_names),
            vram_mib=vram_mib,
            sms=sms,
            bandwidth_gb_s=_part(self.bandwidth_gb_s, memory_slices / MEMORY_SLICES),
        )


def load_cards(root: Path, *, local: bool = True) -> dict[str, Card]:
    """The cards of `root`/gpus.toml and, if there is one and `local`, gpus.local.toml, by key; MIG slices after each.

    Raises:
        CatalogueError: a file is missing or not TOML.
        CardError: a table is wrong, or a card stands in both files.
    """
    cards = _read(root / CATALOGUE)
    if local and (root / LOCAL_CATALOGUE).exists():
        own = _read(root / LOCAL_CATALOGUE)
        if twice := sorted(cards.keys() & own.keys()):
            raise CardError(f"{LOCAL_CATALOGUE} repeats {', '.join(twice)}. Give your card a name of its own.")
        cards |= own
    return cards


def select(cards: Mapping[str, Card], name: str) -> Card:
    """The card called `name`, however it is written, or by its driver.

    Raises:
        CardError: there is none, or several; the message has the nearest names.
    """
    try:
        return cards[find(name, {key: card.nvml_names for key, card in cards.items()}, str(CATALOGUE))]
    except LookupError as error:
        raise CardError(str(error)) from None


def _read(path: Path) -> dict[str, Card]:
    cards: dict[str, Card] = {}
    for key, table in read_tables(path).items():
        if not NAME.fullmatch(key):
            raise CardError(f"{path}: {key!r} is no card name. Use lower-case letters, digits, '.' and '-'.")
        if key in WORDS or normalise(key) != key:
            other = normalise(key) or "card"
            other = other if other not in (*WORDS, "card") else f"my-{other}"
            raise CardError(f"{path}: [{key}] could not be selected: GPU={key} means something else. Take {other!r}.")
        if not isinstance(table, dict):
            raise CardError(f"{path}: {key} is not a table. Every entry is one [card].")
        slices = table.pop("mig", {})
        if not isinstance(slices, dict):
            raise CardError(f'{path}: [{key}] mig is not a table. Every slice is one [{key}.mig."1g.5gb"].')
        card = _card(path, key, table)
        _add(cards, card, path)
        for profile, part in slices.items():
            if not NAME.fullmatch(profile):
                raise CardError(
                    f"{path}: {profile!r} is no name of a slice of {key}. Use lower-case letters, digits, '.' and '-'."
                )
            if not isinstance(part, dict) or part.keys() != MIG_KEYS or not all(_whole(v) for v in part.values()):
                raise CardError(
                    f"{path}: [{key}.mig.{profile}] needs {', '.join(sorted(MIG_KEYS))}, positive whole numbers."
                )
            if part["sms"] > card.sms or part["vram_mib"] > card.vram_mib or part["memory_slices"] > MEMORY_SLICES:
                raise CardError(f"{path}: [{key}.mig.{profile}] is larger than {key}. Correct it.")
            _add(cards, card.slice(profile, **part), path)
    return cards


def _add(cards: dict[str, Card], card: Card, path: Path) -> None:
    if card.key.endswith(ENDINGS):
        raise CardError(
            f"{path}: {card.key} ends like an engine's name ({', '.join(ENDINGS)}). Take another, such as {card.key}-"
            f"{round(card.vram_mib / 1024)}gb."
        )
    if card.key in cards:
        raise CardError(
            f"{path}: {card.key} is both {cards[card.key].name} and {card.name}: a slice is called <card>-<profile>. "
            "Give one of them another name."
        )
    cards[card.key] = card


def _card(path: Path, key: str, table: dict[str, Any]) -> Card:
    known = {field.name: field for field in fields(Card) if field.name != "key"}
    optional = {"tf32_tflops", "fp16_fast_tflops", "fp8_tflops"}
    if unknown := sorted(table.keys() - known.keys()):
        raise CardError(f"{path}: [{key}] has unknown keys: {', '.join(unknown)}.")
    if missing := sorted(known.keys() - optional - table.keys()):
        raise CardError(f"{path}: [{key}] lacks {', '.join(missing)}.")
    names = table["nvml_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CardError(f"{path}: [{key}] nvml_names must be a list of names in quotes.")
    texts = ("name", "compute_capability", "source")
    if bad := [name for name in texts if not isinstance(table[name], str)]:
        raise CardError(f"{path}: [{key}] {', '.join(bad)} must be text in quotes.")
    if not COMPUTE_CAPABILITY.fullmatch(table["compute_capability"]):
        raise CardError(f'{path}: [{key}] compute_capability must look like "8.6".')
    numbers = table.keys() - {*texts, "nvml_names"}
    if bad := sorted(name for name in numbers if not _positive(table[name])):
        raise CardError(f"{path}: [{key}] {', '.join(bad)} must be a positive number, {SMALLEST:g} to {LARGEST:,}.")
    if bad := sorted(name for name in ("vram_mib", "sms") if not _whole(table[name])):
        raise CardError(f"{path}: [{key}] {', '.join(bad)} must be a whole number.")
    return Card(key=key, **{**table, "nvml_names": tuple(names)})


def _positive(value: object) -> bool:
    return type(value) in (int, float) and SMALLEST <= value <= LARGEST  # type: ignore[operator]


def _whole(value: object) -> bool:
    return type(value) is int and _positive(value)


def _part(whole: float, share: float) -> float:
    """A share of a rate, to a tenth, but never nothing of something."""
    return round(whole * share, 1) or whole * share
