"""EDSR as numbers: the weights of one network, and what follows from them. No TensorFlow here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Mean of DIV2K, blue, green, red: what OpenCV's dnn_superres subtracts before, and adds after, the network.
MEAN_BGR = (103.1545782, 111.561547, 114.35629928)


@dataclass(frozen=True)
class Conv:
    """A 3x3 convolution with SAME padding: `kernel` float32 [3, 3, in, out] (HWIO), `bias` float32 [out]."""

    kernel: Array
    bias: Array

    def __post_init__(self) -> None:
        if self.kernel.ndim != 4 or self.kernel.shape[:2] != (3, 3) or self.bias.shape != self.kernel.shape[3:]:
            raise ValueError(f"not a 3x3 convolution: kernel {self.kernel.shape}, bias {self.bias.shape}")

    @property
    def parameters(self) -> int:
        return int(self.kernel.size + self.bias.size)

    def scaled(self, factor: float) -> Conv:
        """The convolution whose output is `factor` times this one's."""
        return Conv((self.kernel * np.float32(factor)), (self.bias * np.float32(factor)))


@dataclass(frozen=True)
class Block:
    """A residual block: x + residual_scale * second(relu(first(x)))."""

    first: Conv
    second: Conv


@dataclass(frozen=True)
class Edsr:
    """EDSR with one convolution and a depth-to-space as upsampler, as OpenCV's EDSR_x2/x3/x4.pb have it.

    Takes BGR minus MEAN_BGR, float32 [N, H, W, 3]; gives the same, [N, scale H, scale W, 3].
    """

    head: Conv
    blocks: tuple[Block, ...]
    body_end: Conv
    tail: Conv
    residual_scale: float = 0.1

    def convolutions(self) -> Iterator[tuple[str, Conv]]:
        """Yield (name, convolution) from input to output."""
        yield "head", self.head
        for index, block in enumerate(self.blocks):
            yield f"block {index}, first", block.first
            yield f"block {index}, second", block.second
        yield "body end", self.body_end
        yield "tail", self.tail

    @property
    def filters(self) -> int:
        return int(self.head.kernel.shape[3])

    @property
    def scale(self) -> int:
        return math.isqrt(self.tail.bias.size // 3)

    @property
    def parameters(self) -> int:
        return sum(conv.parameters for _, conv in self.convolutions())

    @property
    def flop_per_lr_pixel(self) -> int:
        """Multiplications and additions of the convolutions per input pixel (a multiply-add is two)."""
        return sum(2 * conv.kernel.size for _, conv in self.convolutions())

    @property
    def halo_px(self) -> int:
        """Radius of the receptive field in LR pixels."""
        return receptive_radius_px(len(self.blocks))

    def fold_residual_scale(self) -> Edsr:
        """The same function with `residual_scale` multiplied into the second convolution of each block."""
        folded = tuple(Block(b.first, b.second.scaled(self.residual_scale)) for b in self.blocks)
        return replace(self, blocks=folded, residual_scale=1.0)

    def swap_red_and_blue(self) -> Edsr:
        """The same function on RGB: input channels of the head and output channels of the tail change places.

        The tail's output channel is (row * scale + column) * 3 + colour, depth-to-space order.
        """
        order = np.arange(self.tail.bias.size).reshape(-1, 3)[:, ::-1].ravel()
        head = Conv(np.ascontiguousarray(self.head.kernel[:, :, ::-1]), self.head.bias)
        tail = Conv(np.ascontiguousarray(self.tail.kernel[..., order]), self.tail.bias[order])
        return replace(self, head=head, tail=tail)


def receptive_radius_px(blocks: int) -> int:
    """How far an output pixel sees, in LR pixels: one per 3x3 convolution on the longest path."""
    return 2 * blocks + 3
