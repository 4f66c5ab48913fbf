"""Is the card of this machine the one the engines were built for, and the runtime the one that loads them?"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..edge import DAMAGED, read_json
from ..errors import InstallationError, NothingToServeError
from ..repository import ServableModel
from ..variants import DEFAULT_PRECISION, RTX, RTX_ENDING, Variant
from .devices import Device
from .names import AUTO, find, normalise

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
    for key, driver_names, vram_mib in engines:
        if cards[0].name in driver_names and cards[0].has_memory_of(vram_mib):
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


def check_engines(models: Sequence[ServableModel], cards: Sequence[Device], runtime: str) -> list[str]:
    """Whether these engines can run here; returns warnings.

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
        sidecar: dict[str, Any] = read_json(model.sidecar)
        card, built_with = sidecar["card"], sidecar["version"]
        options = Variant(card["key"], sidecar.get("precision", DEFAULT_PRECISION)).make_options
        again = f"`make engines {options} FLAVOUR={RTX}` builds it again"
        if cards[0].compute_capability != card["compute_capability"]:
            raise NothingToServeError(
                f"{model.name}: the engine is for {card['name']} ({card['compute_capability']}), and this machine has "
                f"{cards[0].name} ({cards[0].compute_capability}). Run `make engines GPU=auto`, then serve GPU=auto."
            )
        if built_with != runtime:
            raise NothingToServeError(
                f"{model.name}: the engine was built with TensorRT for RTX {built_with}, and {runtime} is "
                f"installed: {again}."
            )
        if cards[0].name not in card["driver_names"]:
            warnings.append(f"{model.name}: planned for {card['name']}, running on {cards[0].name}: memory may not fit")
    return warnings
