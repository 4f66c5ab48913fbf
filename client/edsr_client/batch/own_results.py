"""Which pictures of a folder are results of others in it, by their names; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

# What `edsr upscale` adds to a name: _x3, _x2.5, _4096px.
ADDED = re.compile(r"_(x\d+(\.\d+)?|\d+px)$", re.IGNORECASE)


def own_results(names: Iterable[str]) -> set[str]:
    """Of the names of pictures in one folder, those that another's result would have: photo_x3.png beside photo.jpg.

    A result of a result is one, too: photo_x3_x3.png beside photo.jpg.
    """
    pictures = list(names)
    stems = {PurePath(name).stem.casefold() for name in pictures}
    return {name for name in pictures if _is_result(PurePath(name).stem.casefold(), stems)}


def _is_result(stem: str, stems: set[str]) -> bool:
    while (shorter := ADDED.sub("", stem)) != stem:
        stem = shorter
        if stem in stems:
            return True
    return False
