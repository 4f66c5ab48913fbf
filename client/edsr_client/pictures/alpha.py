"""Transparency: what the network is given in the place of invisible colour, and what is made of its answer; pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# uint8 or uint16
Array = NDArray[Any]
# Below this alpha the colour that a file holds is not trusted: it was rounded, or never meant to be seen.
FAINT = 0.125


def premultiplied(colour: Array, alpha: Array) -> Array:
    """Colour [H, W, C] times alpha [H, W, 1], in levels of their type, rounded."""
    top = int(np.iinfo(colour.dtype).max)
    product = colour.astype(np.uint32) * alpha
    return np.asarray((product + top // 2) // top, colour.dtype)


def unpremultiplied(colour: Array, alpha: Array) -> Array:
    """Colour [H, W, C] divided by alpha [H, W]; black where alpha is 0."""
    top = int(np.iinfo(colour.dtype).max)
    divisor = np.maximum(alpha, 1).astype(np.uint32)[..., None]
    divided: Array = np.minimum((colour.astype(np.uint32) * top + divisor // 2) // divisor, top).astype(colour.dtype)
    divided[alpha == 0] = 0
    return divided


def extended(colour: Array, alpha: Array) -> Array:
    """The colour, continued to where nothing is seen: there every pixel takes that of the nearest visible one.

    What stands under transparent pixels has thus no part in the result, and the network finds no edge along the border
    of what is visible. It would sharpen one into a rim: seen with premultiplied colour, whose outside is black, and
    with smooth continuations.

    Args:
        colour: uint8 or uint16 [H, W, C].
        alpha: the same type, [H, W, 1].
    """
    import cv2

    visible = alpha[..., 0] >= FAINT * np.iinfo(alpha.dtype).max
    if not visible.any():
        visible = alpha[..., 0] > 0
    if not visible.any():
        return np.zeros_like(colour)
    hidden = np.where(visible, 0, 255).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    by_label = np.zeros((labels.max() + 1, colour.shape[2]), colour.dtype)
    by_label[labels[visible]] = colour[visible]
    filled: Array = by_label[labels]
    return filled


def within_neighbours(alpha: Array, low: Array, scale: int) -> Array:
    """No alpha is below the least, or above the largest, of the 3x3 LR pixels around it.

    The network sharpens an edge by overshooting on both sides; in a picture that is wanted, in alpha it is a ghost of
    the edge. What is opaque, or empty, all around stays so to the last level.

    Args:
        alpha: upscaled, [scale H, scale W].
        low: before, [H, W].
    """
    import cv2

    window = np.ones((3, 3), np.uint8)
    least, most = (operation(low, window) for operation in (cv2.erode, cv2.dilate))
    limits = [limit.repeat(scale, axis=0).repeat(scale, axis=1) for limit in (least, most)]
    clipped: Array = np.clip(alpha, *limits)
    return clipped


def on_or_off(frame: Array) -> Array:
    """A frame whose last channel, alpha, is nothing but opaque and empty: the nearer of both."""
    top = np.iinfo(frame.dtype).max
    frame = frame.copy()
    frame[..., -1] = np.where(frame[..., -1] > top // 2, top, 0)
    return frame
