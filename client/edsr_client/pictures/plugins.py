"""Pillow with the formats that come from other libraries."""

from __future__ import annotations

import functools


@functools.cache
def register_plugins() -> None:
    """Load Pillow's own formats, and HEIC where the extra [heif] is installed. Called once."""
    from PIL import Image

    Image.init()
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()
