"""What a request may ask for beside its picture: one frozen value, checked once; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edsr_client import Finishing, format_named
from edsr_client.pictures.png_effort import EFFORTS

from ..errors import Problem
from ..limits.limits import Limits
from ..limits.uploads import Upload
from ..workers.work import Work
from .negotiation import MEDIA_TYPES, VIDEO_TYPES, writable

NAMES = ("format", "quality", "scale", "max_side", "metadata", "png_effort", "model", "self_ensemble")
MAX_SIDE = 200_000
UNNAMED = "the picture"


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        format: a name of MEDIA_TYPES or, for videos, VIDEO_TYPES; None chooses.
        quality: 0 to 100, for formats that have it.
        scale: size of the result against the input's; None is the model's.
        max_side: longest side of the result, in pixels.
        strip_metadata: whether EXIF, XMP, ICC profile, texts and comments are left out.
        model: a name, "auto", or None for the gateway's default.
        self_ensemble: whether the mean of eight flips and quarter turns is taken.
        png_effort: "fast", "normal" or "small", for PNG; None is the default.
    """

    format: str | None = None
    quality: int | None = None
    scale: float | None = None
    max_side: int | None = None
    strip_metadata: bool = False
    model: str | None = None
    self_ensemble: bool = False
    png_effort: str | None = None

    @staticmethod
    def of(pairs: Sequence[tuple[str, str]], names: Sequence[str] = NAMES) -> Options:
        """Check options as they came, by query or form.

        Raises:
            Problem: 400, one is unknown, comes twice or has a value that makes no sense; the problem names it.
        """
        values: dict[str, str] = {}
        for name, value in pairs:
            if name not in names:
                raise _bad(name, f"There is no option {name[:40]!r}. There are: {', '.join(names)}.")
            if name in values:
                raise _bad(name, f"The option {name!r} comes twice.")
            values[name] = value.strip()
        # A form of a page sends the fields that were left empty, too.
        given = {name: value for name, value in values.items() if value}
        metadata = given.get("metadata", "keep")
        if metadata not in ("keep", "strip"):
            raise _bad("metadata", f"metadata is keep or strip, not {metadata[:40]!r}.")
        options = Options(
            format=_format(given.get("format")),
            quality=_whole(given, "quality"),
            scale=_number(given, "scale"),
            max_side=_whole(given, "max_side"),
            strip_metadata=metadata == "strip",
            model=given.get("model"),
            self_ensemble=_switch(given, "self_ensemble"),
            png_effort=_effort(given.get("png_effort")),
        )
        if options.max_side is not None and options.max_side > MAX_SIDE:
            raise _bad("max_side", f"max_side is at most {MAX_SIDE:,} pixels.")
        try:
            Finishing(None, options.quality, options.scale, options.max_side, options.strip_metadata)
        except ValueError as error:
            raise _bad(str(error).split(" ", 1)[0], f"{error}.") from None
        return options

    def text(self) -> str:
        """All of it, the same for the same options: for the tag of an answer."""
        return repr(self)

    def work(self, upload: Upload, target: Path, format_: str, model: str, limits: Limits, **more: object) -> Work:
        """The work on an upload.

        Args:
            upload: what came in.
            target: where a large result goes.
            format_: of the result, negotiated.
            model: the default, where the options name none.
            limits: bounds of pixels and frames.
            more: fields of `Work` beside these.
        """
        fields = {
            "source": upload.source,
            "target": target,
            "name": shown_name(upload.name),
            "format": format_,
            "quality": self.quality,
            "scale": self.scale,
            "max_side": self.max_side,
            "strip_metadata": self.strip_metadata,
            "png_effort": self.png_effort,
            "model": self.model or model,
            "self_ensemble": self.self_ensemble,
            "max_pixels": limits.pixels,
            "max_frames": limits.frames,
            "in_memory_bytes": limits.memory_bytes,
        }
        return Work(**{**fields, **more})  # type: ignore[arg-type]


def shown_name(name: str) -> str:
    """How messages call a file: the last part of its name, without what a terminal or a page could take amiss."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(letter for letter in last if letter.isprintable() and letter not in "<>\"'`&")[:80].strip()
    return shown or UNNAMED


def _bad(name: str, detail: str) -> Problem:
    return Problem(400, detail, option=name[:40])


def _format(value: str | None) -> str | None:
    if value is None:
        return None
    lower = value.lower().lstrip(".")
    if lower in VIDEO_TYPES:
        return lower
    known = ", ".join(writable())
    try:
        name = format_named(lower).name
    except ValueError:
        raise _bad("format", f"There is no format {value[:40]!r}. There are: {known}.") from None
    if name not in MEDIA_TYPES or name not in writable():
        raise _bad("format", f"{name} cannot be written here. There are: {known}.")
    return name


def _switch(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false")
    if value not in ("true", "false"):
        raise _bad(name, f"{name} is true or false, not {value[:40]!r}.")
    return value == "true"


def _effort(value: str | None) -> str | None:
    if value is not None and value not in EFFORTS:
        raise _bad("png_effort", f"png_effort is {', '.join(EFFORTS)}, not {value[:40]!r}.")
    return value


def _whole(given: dict[str, str], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    # int() alone would take "1_000" and digits of other scripts.
    if not (value.isascii() and value.isdecimal() and len(value) <= 9):
        raise _bad(name, f"{name} is a whole number, not {value[:40]!r}.")
    return int(value)


def _number(given: dict[str, str], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        number = float(value) if value.isascii() and "_" not in value else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _bad(name, f"{name} is a number, not {value[:40]!r}.")
    return number
