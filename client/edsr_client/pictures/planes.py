"""Any image array as the uint8 RGB images that a server upscales, and back; pure.

- Grey is sent as three equal channels and comes back as their mean.
- Alpha is sent as a grey image of its own, the colour beside it with what is not seen filled in: see alpha.py.
- 16-bit images: see depth.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import BadImageError
from .alpha import Array, extended, within_neighbours
from .depth import deepen, to_8_bits

Plane = NDArray[np.uint8]


def check_image(image: object) -> None:
    """Raise BadImageError unless `image` is uint8 or uint16, [H, W] or [H, W, C] with C of 1 to 4, H and W from 1."""
    if not isinstance(image, np.ndarray):
        raise BadImageError(f"An image is a numpy array, uint8 [H, W, 3] RGB, not {type(image).__name__}.")
    shape_ok = image.ndim == 2 or (image.ndim == 3 and 1 <= image.shape[2] <= 4)
    if image.dtype not in (np.uint8, np.uint16) or not shape_ok or 0 in image.shape:
        raise BadImageError(
            "An image is uint8 or uint16, [H, W, 3] RGB, [H, W, 4] RGBA, [H, W] grey or [H, W, 2] grey with alpha, "
            f"with at least one pixel, not {image.dtype} {image.shape}."
        )


def to_planes(image: Array) -> list[Plane]:
    """The uint8 [H, W, 3] images to upscale: one, or two where there is transparency.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, C] with C of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
    """
    return [to_8_bits(plane) for plane in _split(image)]


def from_planes(image: Array, upscaled: Sequence[Plane], scale: int) -> Array:
    """The upscaled image, of the same kind as `image`, from the upscaled planes.

    Args:
        image: what `to_planes` was given.
        upscaled: uint8 [scale H, scale W, 3], in the order of `to_planes`.
    """
    if image.dtype == np.uint8:
        planes: Sequence[Array] = upscaled
    else:
        lows = [plane.astype(np.uint16, copy=False) for plane in _split(image)]
        planes = [deepen(low, high, scale) for low, high in zip(lows, upscaled, strict=True)]
    channels = 1 if image.ndim == 2 else image.shape[2]
    colour = planes[0] if channels >= 3 else _mean(planes[0])[..., None]
    if channels in (2, 4):
        top = np.iinfo(image.dtype).max
        if len(planes) == 1:  # opaque
            alpha = np.full(colour.shape[:2], top, image.dtype)
        else:
            alpha = within_neighbours(_mean(planes[1]), np.ascontiguousarray(image[..., -1]))
            colour = np.where(alpha[..., None] > 0, colour, np.zeros_like(colour))
        return np.concatenate([colour, alpha[..., None]], axis=2)
    return colour[..., 0] if image.ndim == 2 else colour


def _split(image: Array) -> list[Array]:
    """The colour, and alpha unless all is opaque; [H, W, 3] in the image's own depth."""
    if image.ndim == 2:
        image = image[..., None]
    has_alpha = image.shape[2] in (2, 4)
    colour, alpha = (image[..., :-1], image[..., -1:]) if has_alpha else (image, None)
    planes = [colour]
    if alpha is not None and (alpha != np.iinfo(image.dtype).max).any():
        planes = [extended(colour, alpha), alpha]
    return [np.ascontiguousarray(np.broadcast_to(plane, (*plane.shape[:2], 3))) for plane in planes]


def _mean(plane: Array) -> Array:
    """Of the three channels, rounded; [H, W]."""
    return np.asarray((plane.sum(axis=2, dtype=np.uint32) + 1) // 3, plane.dtype)
