"""Is the card of this machine the one the engines were built for, and the runtime the one that loads them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..edge import DAMAGED, read_json
from ..errors import InstallationError, NothingToServeError
from ..repository import ServableModel
from ..variants import DEFAULT_PRECISION, RTX, RTX_ENDING, Variant
from .devices import Device
from .names import AUTO, find, normalise
from .selection import device_line

RUNTIME = RTX  # its distribution has the flavour's name
NO_GPU = (
    "This machine has no NVIDIA GPU, or no driver. `make serve` without GPU= serves on the CPU; an engine built here "
    "can be copied with its model_repository to the machine that has the card."
)


def runtime_version() -> str:
    """Version of TensorRT for RTX in this environment; "" if it is not installed."""
    try:
        return version(RUNTIME)
    except PackageNotFoundError:
        return ""


def card_key(name: str, repository: Path, cards: Sequence[Device]) -> str:
    """The card of the repository that `name` means, in the spelling of file names; "auto" is the one in this machine.

    Raises:
        InstallationError: "auto", and there is no GPU.
        NothingToServeError: "auto", and no engine was built for it; or there is no such card.
    """
    engines = _engines(repository)
    if normalise(name) != AUTO:
        try:
            return find(name, _known(repository, engines), str(repository))
        except LookupError as error:
            raise NothingToServeError(str(error)) from None
    if not cards:
        raise InstallationError(NO_GPU)
    for device in cards:
        for key, driver_names, vram_mib in engines:
            if device.name in driver_names and device.has_memory_of(vram_mib):
                return key
    raise NothingToServeError(f"No engine was built for {cards[0].name}. Run `make engines GPU=auto`.")


def _engines(repository: Path) -> list[tuple[str, list[str], int]]:
    """(card, the driver's names for it, MiB of memory planned for) of every engine whose sidecar can be read."""
    found = []
    for sidecar in sorted(repository.glob(f"*/1/*{RTX_ENDING}.json")):
        try:
            engine = read_json(sidecar)
            card, vram_mib = engine["card"], engine["plan"]["vram_bytes"] // 2**20
            found.append((str(card["key"]), list(map(str, card["driver_names"])), vram_mib))
        except DAMAGED:
            continue
    return found


def _known(repository: Path, engines: Sequence[tuple[str, list[str], int]]) -> dict[str, set[str]]:
    """The driver's names, as far as engines tell them, of every card that has an engine or a configuration."""
    known: dict[str, set[str]] = {
        Variant.parse(config.stem).card: set() for config in sorted(repository.glob("*/configs/*.pbtxt"))
    }
    for key, driver_names, _ in engines:
        known.setdefault(key, set()).update(driver_names)
    return known


def serving_cards(
    models: Sequence[ServableModel], cards: Sequence[Device], *, named: bool
) -> tuple[tuple[Device, ...], list[str]]:
    """The GPUs that run these engines, every one of them all models; and warnings of what is left out.

    Those that somebody `named` are taken as they are. Else all that are the card of the engines: Triton starts
    instances on every GPU that it sees, and fails on the first that cannot run them.
    """
    if named or len(cards) < 2:
        return tuple(cards), []
    engines = [read_json(model.sidecar) for model in models]
    able = [card for card in cards if all(_capability(engine) == card.compute_capability for engine in engines)]
    same = [card for card in able if all(_is_card_of(card, engine) for engine in engines)]
    chosen = tuple(same or able[:1] or cards[:1])
    left = [device_line(card) for card in cards if card not in chosen]
    words = f"serving on {len(chosen)} of {len(cards)} GPUs; DEVICE= names others than those of the engines' card"
    return chosen, [f"{words}. Left out: {'; '.join(left)}"] if left else []


def _capability(engine: Mapping[str, Any]) -> str:
    return str(engine["card"]["compute_capability"])


def _is_card_of(card: Device, engine: Mapping[str, Any]) -> bool:
    """Whether an engine was planned for this card, by name and memory."""
    vram_mib = engine["plan"]["vram_bytes"] // 2**20
    return card.name in engine["card"]["driver_names"] and card.has_memory_of(vram_mib)


def check_engines(models: Sequence[ServableModel], cards: Sequence[Device], runtime: str) -> list[str]:
    """Whether these engines can run on every one of these GPUs; returns warnings.

    Raises:
        InstallationError: no GPU, or no runtime.
        NothingToServeError: an engine is for another compute capability or version.
    """
    if not cards:
        raise InstallationError(NO_GPU)
    if not runtime:
        raise InstallationError("TensorRT for RTX is not installed in this environment. Run `make setup`.")
    warnings = []
    for model in models:
        engine: dict[str, Any] = read_json(model.sidecar)
        built_with = engine["version"]
        for card in cards:
            warnings += _check_card(model.name, engine, card, cards)
        if built_with != runtime:
            options = Variant(engine["card"]["key"], engine.get("precision", DEFAULT_PRECISION)).make_options
            raise NothingToServeError(
                f"{model.name}: the engine was built with TensorRT for RTX {built_with}, and {runtime} is "
                f"installed: `make engines {options} FLAVOUR={RTX}` builds it again."
            )
    return warnings


def _check_card(model: str, engine: Mapping[str, Any], card: Device, cards: Sequence[Device]) -> list[str]:
    """Warnings of an engine on one of the GPUs; raises NothingToServeError if it cannot run there."""
    planned = engine["card"]
    if card.compute_capability != planned["compute_capability"]:
        several = "" if len(cards) == 1 else f" as GPU {card.index} of those it would run on"
        raise NothingToServeError(
            f"{model}: the engine is for {planned['name']} ({planned['compute_capability']}), and this machine has "
            f"{card.name} ({card.compute_capability}){several}. Run `make engines GPU=auto`, then serve GPU=auto; "
            "DEVICE= names the GPUs to use."
        )
    if card.name not in planned["driver_names"]:
        return [f"{model}: planned for {planned['name']}, running on {card.name}: memory may not fit"]
    return []
