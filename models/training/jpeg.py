"""JPEG compression of batches of patches on any device: what a decoder shows of a compressed picture.

Follows libjpeg: JFIF colours, the quantisation tables of ITU-T T.81 Annex K scaled by quality, chroma averaged 2x2 for
4:2:0 and interpolated with the triangle filter ("fancy upsampling"). Entropy coding changes no pixel and is left out.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

BLOCK_PX, MCU_PX = 8, 16
# ITU-T T.81, tables K.1 and K.2, row by row.
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)


def compressed(pixels: Tensor, quality: Tensor, halved: Tensor) -> Tensor:
    """What is seen of `pixels` after JPEG compression.

    Args:
        pixels: float32 [N, 3, H, W] RGB, 0..255; H and W multiples of 16, the grid of blocks starts at the corner.
        quality: float32 [N], 1 to 100, as libjpeg counts it.
        halved: bool [N], whether chroma has half the resolution (4:2:0), else full (4:4:4).

    Returns:
        float32 [N, 3, H, W] RGB, whole numbers from 0 to 255.
    """
    luma, chroma = _to_ycc(pixels).split([1, 2], dim=1)
    luma = _coded(luma, _table(LUMA, quality))
    table = _table(CHROMA, quality)
    small = interpolate(_coded(avg_pool2d(chroma, 2), table), scale_factor=2, mode="bilinear", align_corners=False)
    chroma = torch.where(halved.view(-1, 1, 1, 1), small.round(), _coded(chroma, table))
    return _to_rgb(torch.cat([luma, chroma], dim=1)).round().clamp(0, 255)


def _table(base: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """libjpeg's scaling of a table: float32 [N, 1, 1, 1, 8, 8], 1 to 255."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    table = _constant(base, quality.device)
    return ((table * percent.view(-1, 1, 1, 1, 1, 1) + 50) / 100).floor().clamp(1, 255)


def _coded(plane: Tensor, table: Tensor) -> Tensor:
    """Planes [N, C, H, W] through the transform, rounded to multiples of the table [N, 1, 1, 1, 8, 8]."""
    count, channels, height, width = plane.shape
    blocks = (plane.round() - 128).view(count, channels, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    blocks = blocks.transpose(3, 4)
    transform = _dct(plane.device)
    coefficients = transform @ blocks @ transform.T
    blocks = transform.T @ ((coefficients / table).round() * table) @ transform
    return (blocks.transpose(3, 4).reshape(count, channels, height, width) + 128).round().clamp(0, 255)


@lru_cache(maxsize=8)
def _dct(device: torch.device) -> Tensor:
    """The orthonormal DCT-II of eight values as a matrix."""
    rows = [
        [math.cos(math.pi * (2 * x + 1) * u / 16) * math.sqrt((1 if u == 0 else 2) / 8) for x in range(8)]
        for u in range(8)
    ]
    return torch.tensor(rows, device=device)


@lru_cache(maxsize=8)
def _constant(rows: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32, device=device)


# JFIF 1.02: full range, ITU-R BT.601.
_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
_OFFSET = ((0.0,), (128.0,), (128.0,))


def _to_ycc(pixels: Tensor) -> Tensor:
    mixed = torch.einsum("ij,njhw->nihw", _constant(_YCC, pixels.device), pixels)
    return mixed + _constant(_OFFSET, pixels.device).view(1, 3, 1, 1)


def _to_rgb(ycc: Tensor) -> Tensor:
    centred = ycc - _constant(_OFFSET, ycc.device).view(1, 3, 1, 1)
    return torch.einsum("ij,njhw->nihw", _constant(_RGB, ycc.device), centred)
