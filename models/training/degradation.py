"""What happens to pictures on their way: a little blur, a little noise, JPEG once or twice; on any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from .jpeg import MCU_PX, compressed

# LR pixels around a patch: the grid of blocks may start anywhere, twice.
MARGIN_PX = 2 * MCU_PX


@dataclass(frozen=True)
class Degradation:
    """How often and how much; every patch draws its own.

    Attributes:
        clean_share: patches that are left as they are.
        quality: of JPEG, smallest and largest; drawn evenly between.
        halved_share: of 4:2:0 among the compressed, the rest is 4:4:4.
        twice_share: compressed a second time, with another quality and grid.
        blur_share, blur_px: patches blurred before compression, and the largest standard deviation, LR pixels.
        noise_share, noise_levels: the same for grain.
    """

    clean_share: float = 0.14
    quality: tuple[float, float] = (25.0, 97.0)
    halved_share: float = 0.7
    twice_share: float = 0.12
    blur_share: float = 0.15
    blur_px: float = 0.6
    noise_share: float = 0.15
    noise_levels: float = 3.0

    def apply(self, pixels: Tensor, patch_px: int) -> tuple[Tensor, Tensor, Tensor]:
        """Degrade patches.

        Args:
            pixels: float32 [N, 3, P, P] RGB, 0..255, P = patch_px + MARGIN_PX.
            patch_px: side of what comes back, LR pixels.

        Returns:
            float32 [N, 3, P, P], and int64 [N] twice: row and column at which the patch begins.
        """
        count, device = len(pixels), pixels.device

        def drawn(share: float) -> Tensor:
            return torch.rand(count, device=device) < share

        def any_of(shape: tuple[int, ...], low: float, high: float) -> Tensor:
            return torch.rand(shape, device=device) * (high - low) + low

        def choose(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
            return torch.where(chosen.view(-1, 1, 1, 1), yes, no)

        dirty = choose(drawn(self.blur_share), blurred(pixels, any_of((count,), 0.2, self.blur_px)), pixels)
        grain = torch.randn_like(pixels) * any_of((count, 1, 1, 1), 0.0, self.noise_levels)
        dirty = choose(drawn(self.noise_share), dirty + grain, dirty).round().clamp(0, 255)
        dirty = compressed(dirty, any_of((count,), *self.quality), drawn(self.halved_share))
        # The second grid starts elsewhere: a picture that was cropped, or a screenshot of one.
        shift = torch.randint(0, MCU_PX, (2, count), device=device)
        once = shifted(dirty, shift[0], shift[1], patch_px + MCU_PX)
        again = compressed(once, any_of((count,), *self.quality), drawn(self.halved_share))
        dirty = choose(drawn(self.twice_share), again, once)
        clean = shifted(pixels, shift[0], shift[1], patch_px + MCU_PX)
        dirty = choose(drawn(self.clean_share), clean, dirty)
        start = torch.randint(0, MCU_PX + 1, (2, count), device=device)
        return shifted(dirty, start[0], start[1], patch_px), shift[0] + start[0], shift[1] + start[1]


def shifted(pixels: Tensor, top: Tensor, left: Tensor, side_px: int) -> Tensor:
    """The square [N, C, side, side] of each picture [N, C, H, W] that begins at its own int64 [N] row and column."""
    count, channels, _, _ = pixels.shape
    steps = torch.arange(side_px, device=pixels.device)
    batch = torch.arange(count, device=pixels.device).view(-1, 1, 1, 1)
    plane = torch.arange(channels, device=pixels.device).view(1, -1, 1, 1)
    rows = (top.view(-1, 1) + steps).view(count, 1, side_px, 1)
    columns = (left.view(-1, 1) + steps).view(count, 1, 1, side_px)
    return pixels[batch, plane, rows, columns]


def blurred(pixels: Tensor, sigma_px: Tensor) -> Tensor:
    """A Gaussian of its own standard deviation [N] over each picture [N, C, H, W], five taps each way."""
    count, channels, height, width = pixels.shape
    steps = torch.arange(-2, 3, device=pixels.device, dtype=torch.float32)
    taps = torch.exp(-0.5 * (steps / sigma_px.view(-1, 1)) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = pad(pixels.reshape(1, count * channels, height, width), (2, 2, 2, 2), mode="replicate")
    planes = conv2d(planes, taps.view(-1, 1, 5, 1), groups=count * channels)
    planes = conv2d(planes, taps.view(-1, 1, 1, 5), groups=count * channels)
    return planes.view(count, channels, height, width)
