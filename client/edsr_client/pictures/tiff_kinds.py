"""What the tags of a TIFF file say of its pixels, where decoders differ or look away (TIFF 6.0, section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEWER_SUBFILE, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 254, 258, 259, 262
SAMPLES_PER_PIXEL, EXTRA_SAMPLES = 277, 338
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
UNSPECIFIED, PREMULTIPLIED, STRAIGHT = 0, 1, 2
JPEG = 7
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, YCBCR: 3}

Tags = Mapping[int, Any]


def main_pages(image: Any) -> list[int]:
    """Indices of the pages that are pictures of their own, not smaller copies; the first page is current again.

    Args:
        image: a TIFF file that Pillow has opened.
    """
    pages = []
    for index in range(int(getattr(image, "n_frames", 1))):
        image.seek(index)
        if not image.tag_v2.get(NEWER_SUBFILE, 0) & 1:
            pages.append(index)
    image.seek(0)
    return pages


def unknown_channels(tags: Tags) -> int:
    """Channels behind colour and transparency of which the file does not say what they are."""
    samples, extras = int(tags.get(SAMPLES_PER_PIXEL, 1)), _extra_samples(tags)
    colours = COLOURS.get(tags.get(PHOTOMETRIC, BLACK_IS_ZERO), samples)
    # Without the tag decoders take the first one for alpha.
    has_alpha = not extras or extras[0] in (PREMULTIPLIED, STRAIGHT)
    return max(0, samples - colours - has_alpha)


def is_premultiplied(tags: Tags) -> bool:
    """Whether colour stands multiplied by alpha."""
    return _extra_samples(tags)[:1] == (PREMULTIPLIED,)


def is_negative(tags: Tags) -> bool:
    """Whether 0 is white."""
    return bool(tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)


def is_rgb_or_grey(tags: Tags) -> bool:
    """Whether a decoder need not convert colours: JPEG inside of TIFF does that by itself."""
    photometric = tags.get(PHOTOMETRIC, BLACK_IS_ZERO)
    return photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE) or (
        photometric == YCBCR and tags.get(COMPRESSION) == JPEG
    )


def _extra_samples(tags: Tags) -> tuple[int, ...]:
    value = tags.get(EXTRA_SAMPLES, ())
    return tuple(value) if isinstance(value, tuple | list) else (int(value),)
