"""Transparency: what the network is given in the place of invisible colour, and what is made of its answer; pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# uint8 or uint16
Array = NDArray[Any]
# Below this alpha the colour that a file holds is not trusted: it was rounded, or never meant to be seen.
FAINT = 0.125


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


def within_neighbours(alpha: Array, before: Array) -> Array:
    """No alpha is below the least, or above the largest, of the pixels around it before it was resized.

    What sharpens an edge overshoots on both sides, the network as well as Lanczos' kernel; in a picture that is wanted,
    in alpha it is a ghost of the edge. What is opaque, or empty, all around stays so to the last level.

    Args:
        alpha: [H, W], from `before` by any method.
        before: [h, w] of the same type. Around a pixel are 3x3, or more where `before` was larger.
    """
    import cv2

    height, width = alpha.shape
    window = np.ones([2 * -(-max(old, new) // new) + 1 for old, new in zip(before.shape, alpha.shape, strict=True)])
    limits = [
        cv2.resize(operation(before, window.astype(np.uint8)), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        for operation in (cv2.erode, cv2.dilate)
    ]
    clipped: Array = np.clip(alpha, *limits)
    return clipped


def on_or_off(frame: Array) -> Array:
    """A frame whose last channel, alpha, is nothing but opaque and empty: the nearer of both."""
    top = np.iinfo(frame.dtype).max
    frame = frame.copy()
    frame[..., -1] = np.where(frame[..., -1] > top // 2, top, 0)
    return frame
