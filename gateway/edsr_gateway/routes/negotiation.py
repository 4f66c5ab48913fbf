"""Which format an answer has: what the request names, else what it accepts, else what suits the picture; pure."""

from __future__ import annotations

from functools import cache

from edsr_client import FORMATS, EdsrError, check_available

from ..errors import Problem

MEDIA_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "avif": "image/avif",
    "heic": "image/heic",
}
VIDEO_TYPES = {"mp4": "video/mp4", "mkv": "video/x-matroska", "mov": "video/quicktime", "webm": "video/webm"}
# Kinds that hold everything their like had; of GIF and BMP one gets PNG, which is smaller and keeps every colour.
_KEPT = ("jpeg", "png", "webp", "tiff", "avif", "heic")


@cache
def writable() -> tuple[str, ...]:
    """The names of the formats that this installation can write."""
    found = []
    for name, one in FORMATS.items():
        try:
            check_available(one)
        except EdsrError:
            continue
        found.append(name)
    return tuple(found)


def default_format(kind: str, frames: int) -> str:
    """The format of a result for an input of format `kind`: the same where that serves, else PNG, or WebP if it
    moves."""
    if kind in _KEPT and kind in writable() and (frames == 1 or FORMATS[kind].animated):
        return kind
    return "webp" if frames > 1 else "png"


def chosen_format(accept: str | None, default: str, media_types: dict[str, str] = MEDIA_TYPES) -> str:
    """The name of the format that a header Accept likes best (RFC 9110, 12.5.1); of equals `default`.

    Raises:
        Problem: 406, it accepts none that can be written.
    """
    if not accept or not accept.strip():
        return default
    ranges = [_parsed(part) for part in accept.split(",")]
    if _quality("text/html", ranges) == 1 and ("*/*" in dict(ranges)):
        return default  # a browser that follows a form: it says what it can show, not what is wanted
    names = [default, *(name for name in media_types if name != default)]
    if media_types is MEDIA_TYPES:
        names = [name for name in names if name == default or name in writable()]
    qualities = {name: _quality(media_types[name], ranges) for name in names}
    best = max(names, key=lambda name: qualities[name])  # the first of several
    if qualities[best] <= 0:
        types = ", ".join(media_types[name] for name in names)
        raise Problem(406, f"None of what Accept names can be written. There are: {types}.")
    return best


def _parsed(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return kind, quality if 0 <= quality <= 1 else 0.0


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Of the range that speaks most closely of `media_type`."""
    main = media_type.split("/")[0]
    for pattern in (media_type, f"{main}/*", "*/*"):
        found = [quality for kind, quality in ranges if kind == pattern]
        if found:
            return max(found)
    return 0.0
