"""Networks with random weights and the exact structure of the published ones, for tests and benchmarks."""

from __future__ import annotations

import numpy as np

from .network import Block, Conv, Edsr


def random_network(blocks: int, filters: int, scale: int = 3, seed: int = 0, residual_scale: float = 0.1) -> Edsr:
    """A network whose output spans about the 256 levels of a picture, so that precision behaves as in a trained one.

    Args:
        blocks: residual blocks, 0 and up.
        filters: channels of the feature maps, 1 and up.
        scale: factor of the upsampling, 2 and up.
        seed: of the generator; the same seed gives the same weights.
        residual_scale: factor on each block's residual.

    Raises:
        ValueError: a size is out of range.
    """
    if blocks < 0 or filters < 1 or scale < 2:
        raise ValueError(f"need blocks >= 0, filters >= 1, scale >= 2, got {blocks}, {filters}, {scale}")
    random = np.random.default_rng(seed)

    def conv(channels_in: int, channels_out: int, gain: float = 1.0) -> Conv:
        # He initialisation: the variance of a ReLU network's activations stays the same from layer to layer.
        deviation = gain * np.sqrt(2 / (9 * channels_in))
        kernel = random.normal(0, deviation, (3, 3, channels_in, channels_out)).astype(np.float32)
        return Conv(kernel, random.normal(0, 1, channels_out).astype(np.float32))

    return Edsr(
        head=conv(3, filters, gain=0.7),
        blocks=tuple(Block(conv(filters, filters), conv(filters, filters)) for _ in range(blocks)),
        body_end=conv(filters, filters, gain=0.5),
        tail=conv(filters, 3 * scale * scale, gain=0.3),
        residual_scale=residual_scale,
    )
