"""Random patches of a library of pictures that lies on the device as a whole: nothing is copied while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import data
from .degradation import MARGIN_PX, Degradation


@dataclass(frozen=True)
class Source:
    """One HR/LR pair with a map of where its detail is.

    Attributes:
        hr, lr: uint8 [3H, 3W, 3] and [H, W, 3] RGB.
        detail: float [rows, columns] of cells of PatchLibrary.CELL_PX, how often a patch begins around there.
        is_graphic: rendered, no photograph.
    """

    hr: data.Image8
    lr: data.Image8
    detail: NDArray[np.float64]
    is_graphic: bool = False


class PatchLibrary:
    """Draws random aligned patches, more often where bicubic interpolation fails (edges, texture) than in skies.

    Args:
        sources: pictures; those smaller than a patch must be left out.
        device: where they lie.
        graphics_share: part of the patches that is of graphics.
    """

    CELL_PX = 8  # LR pixels

    def __init__(self, sources: Sequence[Source], device: torch.device, graphics_share: float = 0.0) -> None:
        self._device = device
        self._hr = torch.from_numpy(np.concatenate([s.hr.ravel() for s in sources])).to(device)
        self._lr = torch.from_numpy(np.concatenate([s.lr.ravel() for s in sources])).to(device)
        self._lr_start = self._tensor(np.cumsum([0] + [s.lr.size for s in sources[:-1]]))
        self._hr_start = self._tensor(np.cumsum([0] + [s.hr.size for s in sources[:-1]]))
        self._size = self._tensor([s.lr.shape[:2] for s in sources])
        rows, columns, owners, weights = [], [], [], []
        for number, source in enumerate(sources):
            y, x = np.indices(source.detail.shape)
            rows.append(y.ravel())
            columns.append(x.ravel())
            owners.append(np.full(source.detail.size, number))
            weights.append(source.detail.ravel())
        flat = np.concatenate(weights)
        graphic = np.concatenate([np.full(s.detail.size, s.is_graphic) for s in sources])
        if graphic.any() and not graphic.all():
            flat = np.where(
                graphic, flat / flat[graphic].sum() * graphics_share, flat / flat[~graphic].sum() * (1 - graphics_share)
            )
        self._cumulative = torch.from_numpy(np.cumsum(flat / flat.sum())).to(device)
        self._cells = self._tensor(np.stack([np.concatenate(owners), np.concatenate(rows), np.concatenate(columns)]))

    def _tensor(self, values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.int64)).to(self._device)

    def batch(self, count: int, patch_px: int, degradation: Degradation | None = None) -> tuple[Tensor, Tensor]:
        """Patches, flipped and turned: LR float32 [N, 3, P, P] and HR [N, 3, 3P, 3P], RGB, 0..255.

        Args:
            count: N.
            patch_px: P.
            degradation: what is done to the LR patches, each on its own.
        """
        window = patch_px + (MARGIN_PX if degradation else 0)
        owner, top, left = self._draw(count, window)
        steps = torch.arange(window, device=self._device)
        lr = self._gather(self._lr, self._lr_start[owner], self._size[owner, 1], top, left, *_square(steps, count))
        if degradation:
            lr, row, column = degradation.apply(lr, patch_px)
            top, left = top + row, left + column
        turn = torch.rand(3, count, device=self._device) < 0.5
        rows, columns = _turned(patch_px, turn)
        batch = torch.arange(count, device=self._device).view(-1, 1, 1, 1)
        plane = torch.arange(3, device=self._device).view(1, -1, 1, 1)
        lr = lr[batch, plane, rows[:, None], columns[:, None]]
        scale = data.SCALE
        hr_rows, hr_columns = _turned(patch_px * scale, turn)
        width = self._size[owner, 1] * scale
        hr = self._gather(self._hr, self._hr_start[owner], width, top * scale, left * scale, hr_rows, hr_columns)
        return lr, hr

    def _draw(self, count: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
        at = torch.rand(count, device=self._device, dtype=torch.float64)
        cell = torch.searchsorted(self._cumulative, at).clamp(max=self._cells.shape[1] - 1)
        owner, row, column = self._cells[:, cell]
        jitter = torch.randint(0, self.CELL_PX, (2, count), device=self._device)
        most = self._size[owner] - window
        top = torch.minimum((row * self.CELL_PX + jitter[0] - window // 2).clamp(min=0), most[:, 0])
        left = torch.minimum((column * self.CELL_PX + jitter[1] - window // 2).clamp(min=0), most[:, 1])
        return owner, top, left

    @staticmethod
    def _gather(
        flat: Tensor, start: Tensor, width: Tensor, top: Tensor, left: Tensor, rows: Tensor, columns: Tensor
    ) -> Tensor:
        def each(value: Tensor) -> Tensor:
            return value.view(-1, 1, 1)

        pixel = each(start) + ((each(top) + rows) * each(width) + each(left) + columns) * 3
        return torch.stack([flat[pixel + colour] for colour in range(3)], dim=1).float()


def detail_map(hr: data.Image8, lr: data.Image8) -> NDArray[np.float64]:
    """How often patches begin around each cell: the square root of bicubic interpolation's error, in levels.

    The square root favours detail without letting the few hardest textures fill every batch.
    """
    up = data.resize(lr, hr.shape[1], hr.shape[0]).astype(np.float32)
    error = np.abs(up - hr).mean(axis=2)
    cell = PatchLibrary.CELL_PX * data.SCALE
    rows, columns = error.shape[0] // cell, error.shape[1] // cell
    blocks = error[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).mean(axis=(1, 3))
    return np.asarray(np.sqrt(np.clip(blocks, 0.3, 16.0)), np.float64)


def _square(steps: Tensor, count: int) -> tuple[Tensor, Tensor]:
    side = len(steps)
    return steps.view(1, -1, 1).expand(count, side, side), steps.view(1, 1, -1).expand(count, side, side)


def _turned(side: int, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns [N, side, side] of one of the eight flips and turns for each: bool [3, N]."""
    steps = torch.arange(side, device=turn.device)
    rows, columns = _square(steps, turn.shape[1])
    transposed, flip_rows, flip_columns = (flag.view(-1, 1, 1) for flag in turn)
    rows, columns = torch.where(transposed, columns, rows), torch.where(transposed, rows, columns)
    last = side - 1
    return torch.where(flip_rows, last - rows, rows), torch.where(flip_columns, last - columns, columns)
