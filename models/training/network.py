"""EDSR-baseline in PyTorch, parametrised for training and exported in the published graph's parametrisation."""

from __future__ import annotations

import math
from functools import lru_cache

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
    in_eight_bits = False

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
        if self.in_eight_bits:
            weight = weight + (by_channel(weight) - weight).detach()
        return conv2d(x, weight, self.bias, padding=1)


def min_first(weight: Tensor) -> Tensor:
    """What `weight` becomes when stored as quint8 and read by TensorFlow's Dequantize in mode MIN_FIRST."""
    low, high = weight.min(), weight.max()
    step = (high - low) / 255
    lowest = torch.round(low / step)  # the grid is shifted so that zero lies on it
    return torch.clamp(torch.round(weight / step), lowest, lowest + 255) * step


def by_channel(weight: Tensor) -> Tensor:
    """What `weight` becomes in signed 8 bits with a scale for each output channel, as in `model.int8.onnx`."""
    step = weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-8) / Range.LEVELS
    return torch.round(weight / step) * step


class Range(nn.Module):
    """The range of an activation in signed 8 bits, learned: what `model.int8.onnx` rounds and clips to.

    Learned step size quantisation (Esser et al. 2020, arXiv:1902.08153): the gradient reaches the range through what is
    clipped and what is rounded. Off, it does nothing.
    """

    LEVELS = 127
    active = False

    def __init__(self) -> None:
        super().__init__()
        self.log_range = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        slowing = 1 / math.sqrt(x.numel() * self.LEVELS)
        log_range = self.log_range * slowing + (self.log_range * (1 - slowing)).detach()
        step = log_range.exp() / self.LEVELS
        scaled = (x.float() / step).clamp(-self.LEVELS, self.LEVELS)
        return (scaled + (scaled.round() - scaled).detach()) * step


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))). The published 0.1 is folded into the second convolution while training.

    Adam's steps do not scale with the weights, so a factor of 0.1 after the convolution would slow it tenfold.
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.first = Conv3x3(filters, filters)
        self.second = Conv3x3(filters, filters, gain=RESIDUAL_SCALE)
        self.stream, self.inner = Range(), Range()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream(x)
        return x + self.second(self.inner(torch.relu(self.first(x))))


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
        self.end = Range()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            head = self.head(x)
        # The serving graph rounds the head once, for the first block and for the addition at the end.
        features = head = self.body[0].stream(head)
        for block in self.body:
            features = block(features)
        features = head + self.body_end(self.end(features))
        with torch.autocast(x.device.type, enabled=False):
            channels = self.tail(features.float())
        return pixel_shuffle(channels, self.scale)

    def quantise(self, on: bool) -> None:
        """Switch rounding of all filters to the 8 bits they are stored in on or off."""
        for module in self.modules():
            if isinstance(module, Conv3x3):
                module.quantised = on

    def compute_in_eight_bits(self, on: bool) -> None:
        """Switch on or off what `model.int8.onnx` does: activations and filters of the body in signed 8 bits."""
        for module in self.modules():
            if isinstance(module, Range):
                module.active = on
            elif isinstance(module, Conv3x3) and module not in (self.head, self.tail):
                module.in_eight_bits = on

    def ranges(self) -> list[Range]:
        """Of the inputs of all convolutions of the body, input to output."""
        return [module for block in self.body for module in (block.stream, block.inner)] + [self.end]

    @torch.no_grad()
    def measure_ranges(self, x: Tensor) -> None:
        """Set every range to the largest magnitude that `x` causes there."""
        found: dict[Range, float] = {}
        hooks = [
            module.register_forward_pre_hook(
                lambda module, args: found.update({module: max(found.get(module, 1e-3), float(args[0].abs().max()))})
            )
            for module in self.ranges()
        ]
        self(x)
        for hook in hooks:
            hook.remove()
        for module, largest in found.items():
            module.log_range.fill_(math.log(largest))


def to_network(image: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] RGB -> float32 [N, 3, H, W] BGR, mean subtracted, divided by PIXEL_SCALE."""
    return planes_to_network(image.permute(0, 3, 1, 2).float())


def planes_to_network(pixels: Tensor) -> Tensor:
    """float32 [N, 3, H, W] RGB, 0..255 -> the same BGR, mean subtracted, divided by PIXEL_SCALE."""
    mean = mean_on(pixels.device).view(1, 3, 1, 1)
    return (pixels.flip(1) - mean) / PIXEL_SCALE


def from_network(output: Tensor) -> Tensor:
    """The inverse of `to_network`: rounds half to even, clips, uint8 [N, H, W, 3] RGB."""
    pixels = output.permute(0, 2, 3, 1) * PIXEL_SCALE + mean_on(output.device)
    return pixels.round().clamp(0, 255).to(torch.uint8).flip(-1)


@lru_cache(maxsize=8)
def mean_on(device: torch.device) -> Tensor:
    """MEAN_BGR, float32 [3], on a device."""
    return torch.tensor(MEAN_BGR, device=device)
