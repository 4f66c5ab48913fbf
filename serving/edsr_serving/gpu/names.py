"""Names of cards, however people and drivers write them: the one place that reads them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping

from ..variants import AUTO

# What they mean after `GPU=` is no card.
__all__ = ["ALL", "AUTO", "find", "normalise"]
ALL = "all"


def normalise(name: str) -> str:
    """A card's key from its name in any spelling: lower case, hyphens, without the maker's name."""
    key = re.sub(r"[\s_]+", "-", name.strip().lower())
    return re.sub(r"^(nvidia-|tesla-|geforce-)+", "", key)


def find(name: str, known: Mapping[str, Collection[str]], where: str) -> str:
    """The key of the one card that `name` means: "RTX 4090" is rtx-4090, "NVIDIA H100 80GB HBM3" h100.

    Args:
        name: the key in any spelling, or one of the driver's names.
        known: for each card's key the names its driver gives it.
        where: the cards are listed, for the message.

    Raises:
        LookupError: it means none, or several; the message says which, and has the nearest names.
    """
    key = normalise(name)
    if key == ALL or "," in name:
        raise LookupError(
            f"GPU={name} means several cards, and this takes one. `make engines` takes several, "
            "`make sizing` shows all side by side."
        )
    if key in known:
        return key
    keys: dict[str, list[str]] = {}
    for card, names in known.items():
        for spelling in {card, *map(normalise, names)}:
            keys.setdefault(spelling, []).append(card)
    found = keys.get(key, [])
    if len(found) == 1:
        return found[0]
    if found:
        raise LookupError(f"{name!r} is what the driver calls {' and '.join(found)}. Name one of them by these names.")
    near = [card for card in known if key and card.startswith(f"{key}-")][:4]
    close = difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
    near = near or list(dict.fromkeys(card for spelling in close for card in keys[spelling]))[:3]
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise LookupError(
        f"There is no card {name!r} in {where}. {hint}`make gpus` lists the cards; docs/engines.md says how to add one."
    )
