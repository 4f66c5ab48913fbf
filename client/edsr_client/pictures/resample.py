"""Images to another size, by Lanczos' kernel with antialiasing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alpha import Array, within_neighbours


def final_size(low: tuple[int, int], model_scale: int, scale: float | None, max_side: int | None) -> tuple[int, int]:
    """(width, height) of the result for a picture of `low` (width, height).

    Args:
        low: before upscaling.
        model_scale: what the model multiplies by.
        scale: what the caller wants instead, None for the same.
        max_side: longest side allowed, None for any.
    """
    factor = model_scale if scale is None else scale
    width, height = (max(1, round(length * factor)) for length in low)
    if max_side is not None and max(width, height) > max_side:
        factor = max_side / max(width, height)
        width, height = (max(1, round(length * factor)) for length in (width, height))
    return width, height


def resize(image: Array, size: tuple[int, int]) -> Array:
    """The image, uint8 or uint16 [H, W] or [H, W, C], at `size` (width, height). Alpha is premultiplied meanwhile."""
    if image.shape[1::-1] == size:
        return image
    if image.ndim == 3 and image.shape[2] in (2, 4):
        return _resize_with_alpha(image, size)
    resized = _resize_channels(image if image.ndim == 3 else image[..., None], size)
    return resized if image.ndim == 3 else resized[..., 0]


def _resize_with_alpha(image: Array, size: tuple[int, int]) -> Array:
    """In floats: colour and alpha overshoot an edge by the same factor; clipped first, they would leave a rim."""
    weights = image[..., -1:].astype(np.float32)
    alphas = _resize_channels(weights, size)
    colour = _resize_channels(image[..., :-1] * weights, size) / np.maximum(alphas, 0.5)
    alpha = within_neighbours(_rounded(alphas[..., 0], image.dtype), np.ascontiguousarray(image[..., -1]))[..., None]
    return np.concatenate([np.where(alpha > 0, _rounded(colour, image.dtype), 0), alpha], axis=2, dtype=image.dtype)


def _resize_channels(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """uint8, uint16 or float32 [H, W, C]; floats are not clipped."""
    from PIL import Image

    channels = []
    for index in range(image.shape[2]):
        channel = np.ascontiguousarray(image[..., index])
        deep = channel.dtype == np.uint16
        source = Image.fromarray(channel.astype(np.float32) if deep else channel)
        resized = np.asarray(source.resize(size, Image.Resampling.LANCZOS))
        channels.append(_rounded(resized, channel.dtype) if deep else resized)
    return np.stack(channels, axis=2)


def _rounded(levels: NDArray[Any], dtype: np.dtype[Any]) -> Array:
    rounded: Array = np.clip(np.rint(levels), 0, np.iinfo(dtype).max).astype(dtype)
    return rounded
