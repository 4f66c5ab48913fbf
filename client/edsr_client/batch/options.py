"""What a run is told, and what it tells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..border import Border
from ..files import Finishing
from ..model_info import ModelInfo
from ..pictures.decode import DEFAULT_MAX_PIXELS
from ..pictures.formats import format_named
from ..pictures.png_effort import DEFAULT_EFFORT
from ..tiling import Shape
from .sources import Sources


@dataclass(frozen=True)
class BatchOptions:
    """How a folder is upscaled.

    Attributes:
        finishing: of every result; without a format they become PNG.
        recursive: look into folders of folders.
        follow_links: look into folders that are linked to.
        overwrite: make what is there already anew; by default it is left.
        jobs: pictures that are worked on at a time; None suits it to the servers.
        own_results: take pictures that are results of others beside them (photo_x3.png of photo.jpg), too.
        tile, halo, border, max_pixels, frame: as for AsyncUpscaler.upscale_file.
        patience_s: how long to wait for servers that are gone before giving up, in seconds.
    """

    finishing: Finishing = field(default_factory=Finishing)
    recursive: bool = False
    follow_links: bool = False
    overwrite: bool = False
    own_results: bool = False
    jobs: int | None = None
    tile: int | Shape | None = None
    halo: Any = None
    border: Border | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    frame: int | None = None
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        if self.jobs is not None and not 1 <= self.jobs <= 1000:
            raise ValueError(f"jobs must be 1 to 1000, not {self.jobs!r}")
        if not 0 <= self.patience_s < 1e9:
            raise ValueError(f"patience_s must not be negative, not {self.patience_s!r}")

    @property
    def extension(self) -> str:
        """Of the results, with its dot."""
        return format_named(self.finishing.format or "png").extensions[0]

    def sources(self, named: Sequence[str], listed: Sequence[str], out: Path) -> Sources:
        """What a run looks for."""
        return Sources(
            tuple(named), tuple(listed), out, self.extension, self.recursive, self.follow_links, self.own_results
        )

    def digest(self, model: ModelInfo, compressed: ModelInfo | None = None, *, self_ensemble: bool = False) -> str:
        """Of all that a result depends on beside its picture.

        Args:
            model: of all pictures.
            compressed: with model="auto" the one for compressed pictures, where the servers have one.
            self_ensemble: whether results are the mean of eight flips and quarter turns.
        """
        finishing = asdict(self.finishing) | {"format": format_named(self.finishing.format or "png").name}
        if finishing["png_effort"] in (None, DEFAULT_EFFORT):  # results of runs that knew no efforts are of the same
            del finishing["png_effort"]
        told = [finishing, self.tile, self.halo, self.frame, model.name, model.source_sha256]
        if self.border is not None:  # results of runs that knew no border are of the same settings
            told.append(self.border)
        if compressed is not None:
            told += ["auto", compressed.name, compressed.source_sha256]
        if self_ensemble:
            told.append("self-ensemble")
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Outcome:
    """What became of one picture, or of a folder that could not be looked into.

    Attributes:
        source: the picture.
        output: its result; None if there is none.
        error: why it failed; "" if it did not.
        pixels: of the picture.
        line: what the manifest says of it.
    """

    source: Path
    output: Path | None
    error: str = ""
    pixels: int = 0
    line: dict[str, Any] = field(default_factory=dict)


@dataclass
class Summary:
    """A run, so far or in all.

    Attributes:
        made: results that were made.
        failed: pictures that were not, and folders that could not be looked into.
        done_before: results that an earlier run made of the same pictures, unchanged.
        there_already: files in the place of results that no run made, or that were changed since; left alone.
        other_settings: of done_before, those that were made with other options or another model.
        changed: of made, those whose pictures have changed since they were made before.
        megapixels: of the pictures that were made.
        seconds: of the run.
        outages: how often the servers were gone.
        own_results: pictures that were passed over because they are results of others beside them.
    """

    made: int = 0
    failed: int = 0
    done_before: int = 0
    there_already: int = 0
    other_settings: int = 0
    changed: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0
    outages: int = 0
    own_results: int = 0

    @property
    def seen(self) -> int:
        """Pictures that have been dealt with."""
        return self.made + self.failed + self.done_before + self.there_already


@dataclass(frozen=True)
class Estimate:
    """What a run would have to do.

    Attributes:
        to_make: pictures.
        megapixels: of these.
        unreadable: files among these that do not look like pictures.
        left_alone: results that are there.
        seconds: a guess, from one tile that was timed; None without a server.
    """

    to_make: int
    megapixels: float
    unreadable: int
    left_alone: int
    seconds: float | None
