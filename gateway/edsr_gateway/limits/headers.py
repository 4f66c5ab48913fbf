"""What a picture's header may claim."""

from __future__ import annotations

from ..errors import Problem
from ..workers.work import Header
from .limits import Limits

LARGEST_SCALE = 4
"""A result may have so many times the side of the largest picture."""


def check_pixels(header: Header, limits: Limits) -> None:
    """Refuse a picture that has more pixels than are allowed, before it is decoded.

    Raises:
        Problem: 413.
    """
    if header.frames > limits.frames:
        raise Problem(
            413,
            f"The picture has {header.frames:,} frames; {limits.frames:,} are allowed.",
            limit_frames=limits.frames,
        )
    if header.pixels > limits.pixels:
        raise Problem(
            413,
            f"The picture has {header.width}x{header.height} pixels"
            + (f" in {header.frames} frames" if header.frames > 1 else "")
            + f", {header.pixels:,} in all; {limits.pixels:,} are allowed. Send it smaller, or in parts.",
            limit_pixels=limits.pixels,
            pixels=header.pixels,
        )


def check_result(header: Header, scale: float, max_side: int | None, limits: Limits) -> None:
    """Refuse a result that would have more pixels than are allowed, before the work.

    Args:
        scale: by how much the picture becomes larger.
        max_side: longest side of the result in pixels.

    Raises:
        Problem: 413.
    """
    if max_side is not None:
        scale = min(scale, max_side / max(header.width, header.height))
    pixels, most = round(header.pixels * scale**2), limits.pixels * LARGEST_SCALE**2
    if pixels > most:
        raise Problem(
            413,
            f"The result would have {pixels:,} pixels; {most:,} are allowed. Ask for a smaller scale or max_side.",
            limit_pixels=most,
            pixels=pixels,
        )
