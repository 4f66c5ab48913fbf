"""What a served model takes in one request, as its `parameters` say; pure, for every backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The largest request: `max_lr_pixels` over the batch, and the largest height x width of each profile.

    A picture must fit one of `shapes`, if there are any; None and () mean no limit.
    """

    max_lr_pixels: int | None = None
    shapes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Limits:
        """From a model's `parameters`: `max_lr_pixels` "2073600", `max_shapes` "1440x1440,1080x1920".

        Raises:
            ValueError: they do not look like that.
        """
        texts = [text for text in parameters.get("max_shapes", "").split(",") if text]
        shapes = []
        for text in texts:
            height, _, width = text.strip().partition("x")
            shapes.append((int(height), int(width)))
        return cls(int(parameters.get("max_lr_pixels", 0)) or None, tuple(shapes))

    def refusal(self, shape: tuple[int, ...]) -> str:
        """Why a request for uint8 [N, H, W, 3] is refused, in a sentence for the client; "" if it is not."""
        pixels = math.prod(shape[:3])
        if pixels == 0:
            return f"image has no pixels: {list(shape)}; height and width must be at least 1"
        if self.max_lr_pixels and pixels > self.max_lr_pixels:
            return (
                f"image of {list(shape)} has {pixels} pixels, more than the {self.max_lr_pixels} this server takes "
                "in one request; send smaller pictures or tiles"
            )
        height, width = shape[1:3]
        if self.shapes and not any(height <= most_h and width <= most_w for most_h, most_w in self.shapes):
            largest = ", ".join(f"{most_h}x{most_w}" for most_h, most_w in self.shapes)
            return (
                f"image of {height}x{width} fits none of the shapes this server takes (at most {largest}); send tiles"
            )
        return ""
