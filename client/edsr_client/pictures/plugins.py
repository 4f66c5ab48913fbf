"""Pillow with the formats that come from other libraries."""

from __future__ import annotations

import functools

from .budget import MAX_UNPACKED_BYTES


@functools.cache
def register_plugins() -> None:
    """Load Pillow's own formats, and HEIC where the extra [heif] is installed. Called once."""
    from PIL import Image, PngImagePlugin

    Image.init()
    # Pillow allows 1 MB, and profiles of printers and scanners have more.
    PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_UNPACKED_BYTES)
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()
