"""The file formats that can be written, and what each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: for messages, and `--format`.
        pillow: Pillow's name of it.
        extensions: the first is the usual one.
        alpha, grey, deep, animated: whether it holds transparency, grey as such, 16 bits a channel, several frames.
        half_alpha: whether it holds alpha between opaque and empty.
        exif, xmp, icc, text, iptc: whether it holds these; text is that of PNG, IPTC stands in Photoshop's resources.
        max_comment_bytes: longest comment, as JPEG and GIF have them; 0 for none.
        quality: the default of the setting from 0 to 100; None if it has none and is lossless.
        max_side_px: longest side it can hold.
    """

    name: str
    pillow: str
    extensions: tuple[str, ...]
    alpha: bool = True
    half_alpha: bool = True
    grey: bool = True
    deep: bool = False
    animated: bool = False
    exif: bool = True
    xmp: bool = True
    icc: bool = True
    text: bool = False
    iptc: bool = False
    max_comment_bytes: int = 0
    quality: int | None = None
    max_side_px: int = 2**31 - 1


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("png", "PNG", (".png", ".apng"), deep=True, animated=True, text=True, iptc=True),
        Format(
            "jpeg",
            "JPEG",
            (".jpg", ".jpeg", ".jpe", ".jfif"),
            alpha=False,
            iptc=True,
            max_comment_bytes=65_533,
            quality=95,
            max_side_px=65_535,
        ),
        Format("webp", "WEBP", (".webp",), grey=False, animated=True, quality=90, max_side_px=16_383),
        Format("tiff", "TIFF", (".tif", ".tiff"), deep=True, iptc=True),
        Format("bmp", "BMP", (".bmp",), alpha=False, exif=False, xmp=False, icc=False),
        Format(
            "gif",
            "GIF",
            (".gif",),
            half_alpha=False,
            animated=True,
            exif=False,
            xmp=False,
            icc=False,
            max_comment_bytes=2**31 - 1,
            max_side_px=65_535,
        ),
        Format("avif", "AVIF", (".avif",), grey=False, quality=80, max_side_px=65_536),
        Format("heic", "HEIF", (".heic", ".heif"), grey=False, quality=80, max_side_px=16_384),
    )
}
ALIASES = {"jpg": "jpeg", "tif": "tiff", "heif": "heic", "apng": "png"}


def format_named(name: str) -> Format:
    """A format by its name or an alias.

    Raises:
        ValueError: it is not known.
    """
    lower = name.lower().lstrip(".")
    try:
        return FORMATS[ALIASES.get(lower, lower)]
    except KeyError:
        raise ValueError(f"unknown format {name!r}; known: {', '.join(FORMATS)}") from None


def format_of(path: Path) -> Format:
    """A format by the extension of a file's name.

    Raises:
        OutputError: it is not known, or there is none.
    """
    extension = path.suffix.lower()
    for format_ in FORMATS.values():
        if extension in format_.extensions:
            return format_
    known = " ".join(extension for format_ in FORMATS.values() for extension in format_.extensions)
    raise OutputError(
        f"Cannot write {path}: unknown extension {extension!r}. Known: {known}; or name one with format=... "
        "(`--format`)."
    )


def check_available(format_: Format) -> None:
    """Raise OutputError if the library that writes a format is not installed."""
    from PIL import Image

    from .plugins import register_plugins

    register_plugins()
    if format_.pillow not in Image.SAVE:
        extra = (
            " Install what does it: pip install 'pillow-heif>=1' (edsr-client's extra [heif])."
            if format_.name == "heic"
            else ""
        )
        raise OutputError(f"{format_.name.upper()} cannot be written with what is installed here.{extra}")
