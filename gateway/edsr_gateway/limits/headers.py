"""What a picture's header may claim."""

from __future__ import annotations

from ..errors import Problem
from ..workers.work import Header
from .limits import Limits


def check_pixels(header: Header, limits: Limits) -> None:
    """Refuse a picture that has more pixels than are allowed, before it is decoded.

    Raises:
        Problem: 413.
    """
    if header.pixels > limits.pixels:
        raise Problem(
            413,
            f"The picture has {header.width}x{header.height} pixels"
            + (f" in {header.frames} frames" if header.frames > 1 else "")
            + f", {header.pixels:,} in all; {limits.pixels:,} are allowed. Send it smaller, or in parts.",
            limit_pixels=limits.pixels,
            pixels=header.pixels,
        )
