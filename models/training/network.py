"""EDSR-baseline in PyTorch, parametrised for training and exported in the published graph's parametrisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle

# Mean of DIV2K as the published graph subtracts it, in the order of the channels: blue, green, red.
MEAN_BGR = (103.1545782, 111.561547, 114.35629928)
RESIDUAL_SCALE = 0.1
# The body works on values around one; 0..255 is folded into the first and last convolution on export.
PIXEL_SCALE = 127.5


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution whose filters can be rounded to the 8 bits they are stored in (straight-through gradient)."""

    quantised = False

    def __init__(self, channels_in: int, channels_out: int, gain: float = 1.0) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            self.weight.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self.quantised:
            weight = weight + (min_first(weight) - weight).detach()
        return conv2d(x, weight, self.bias, padding=1)


def min_first(weight: Tensor) -> Tensor:
    """What `weight` becomes when stored as quint8 and read by TensorFlow's Dequantize in mode MIN_FIRST."""
    low, high = weight.min(), weight.max()
    step = (high - low) / 255
    lowest = torch.round(low / step)  # the grid is shifted so that zero lies on it
    return torch.clamp(torch.round(weight / step), lowest, lowest + 255) * step


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))). The published 0.1 is folded into the second convolution while training.

    Adam's steps do not scale with the weights, so a factor of 0.1 after the convolution would slow it tenfold.
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.first = Conv3x3(filters, filters)
        self.second = Conv3x3(filters, filters, gain=RESIDUAL_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(x)))


class Edsr(nn.Module):
    """EDSR with one convolution and a depth-to-space as its upsampler.

    Takes float32 [N, 3, H, W] BGR, mean subtracted and divided by PIXEL_SCALE; returns [N, 3, 3H, 3W] likewise.
    The first and last convolutions and the residual stream stay float32 under autocast: bfloat16 cannot hold
    256 levels around the mean.
    """

    def __init__(self, blocks: int = 16, filters: int = 64, scale: int = 3) -> None:
        super().__init__()
        self.scale = scale
        self.head = Conv3x3(3, filters, gain=0.5)
        self.body = nn.ModuleList(ResidualBlock(filters) for _ in range(blocks))
        self.body_end = Conv3x3(filters, filters, gain=RESIDUAL_SCALE)
        self.tail = Conv3x3(filters, 3 * scale * scale, gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            head = self.head(x)
        features = head
        for block in self.body:
            features = block(features)
        features = head + self.body_end(features)
        with torch.autocast("cpu", enabled=False):
            channels = self.tail(features.float())
        return pixel_shuffle(channels, self.scale)

    def quantise(self, on: bool) -> None:
        """Switch rounding of all filters to 8 bits on or off."""
        for module in self.modules():
            if isinstance(module, Conv3x3):
                module.quantised = on


def to_network(image: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] RGB -> float32 [N, 3, H, W] BGR, mean subtracted, divided by PIXEL_SCALE."""
    mean = torch.tensor(MEAN_BGR)
    return ((image.flip(-1).float() - mean) / PIXEL_SCALE).permute(0, 3, 1, 2)


def from_network(output: Tensor) -> Tensor:
    """The inverse of `to_network`: rounds half to even, clips, uint8 [N, H, W, 3] RGB."""
    pixels = output.permute(0, 2, 3, 1) * PIXEL_SCALE + torch.tensor(MEAN_BGR)
    return pixels.round().clamp(0, 255).to(torch.uint8).flip(-1)
