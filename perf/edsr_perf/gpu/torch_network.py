"""The served network in PyTorch, with the weights of model.onnx: same uint8 pixels in, same uint8 pixels out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from edsr_conversion.network import MEAN_BGR
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from ..errors import PerfError

if TYPE_CHECKING:
    from edsr_conversion.gpu.planner import NetworkSize


@dataclass(frozen=True)
class Weights:
    """Of model.onnx: float32 kernels [out, in, 3, 3] with their biases [out], input to output; the mean that is taken
    off, RGB; the scale."""

    convolutions: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    mean_rgb: NDArray[np.float32]

    @property
    def blocks(self) -> int:
        """Residual blocks: all convolutions but the first and the last two, in pairs."""
        return (len(self.convolutions) - 3) // 2

    @property
    def filters(self) -> int:
        return int(self.convolutions[0][0].shape[0])

    @property
    def scale(self) -> int:
        return math.isqrt(self.convolutions[-1][0].shape[0] // 3)


def read_weights(path: Path) -> Weights:
    """The weights of a serving graph.

    Raises:
        PerfError: there is no such file, or it is not a serving graph of an EDSR.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except OSError as error:
        raise PerfError(f"Cannot read {path}: {error.strerror}. Run `make onnx`.") from None
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = [tuple(tensors[name] for name in node.input[1:3]) for node in graph.node if node.op_type == "Conv"]
    if len(found) < 3 or len(found) % 2 == 0 or "mean_rgb" not in tensors:
        raise PerfError(f"{path} is not the serving graph of an EDSR: {len(found)} convolutions. Run `make onnx`.")
    return Weights([(kernel, bias) for kernel, bias in found], tensors["mean_rgb"].reshape(3))


def random_weights(size: NetworkSize, seed: int = 0) -> Weights:
    """Weights of a network of that size which keep activations in the range of pictures; they show nothing."""
    random = np.random.default_rng(seed)
    inner = size.filters
    ends = [(3, inner), *[(inner, inner)] * (2 * size.blocks + 1), (inner, 3 * size.scale**2)]

    def convolution(given: int, made: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        kernel = random.standard_normal((made, given, 3, 3), np.float32) * np.float32(0.1 / math.sqrt(9 * given))
        return kernel, np.zeros(made, np.float32)

    return Weights([convolution(*pair) for pair in ends], np.array(MEAN_BGR[::-1], np.float32))


class Network(nn.Module):  # type: ignore[misc]
    """uint8 [N, H, W, 3] RGB -> uint8 [N, scale H, scale W, 3]; the body in `dtype`, mean and rounding in float32.

    As in the fp16 file that engines are built from.
    """

    mean: Tensor

    def __init__(self, weights: Weights, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype, self.scale = dtype, weights.scale
        arrays = list(weights.convolutions)
        # DepthToSpace counts colours fastest, pixel_shuffle slowest.
        kernel, bias = arrays[-1]
        order = np.arange(len(bias)).reshape(-1, 3).T.ravel()
        arrays[-1] = (kernel[order], bias[order])
        self.convolutions = nn.ModuleList(_convolution(*pair) for pair in arrays)
        self.register_buffer("mean", torch.tensor(weights.mean_rgb.copy()).view(1, 3, 1, 1))
        self.convolutions.to(dtype=dtype, memory_format=torch.channels_last)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        # A permuted NHWC picture is channels-last already.
        x = (image.permute(0, 3, 1, 2).float() - self.mean).to(self.dtype)
        head, *pairs, body_end, tail = self.convolutions
        first = x = head(x)
        for index in range(0, len(pairs), 2):
            x = x + pairs[index + 1](torch.relu_(pairs[index](x)))
        pixels = pixel_shuffle(tail(first + body_end(x)), self.scale).float() + self.mean
        return pixels.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _convolution(kernel: NDArray[Any], bias: NDArray[Any]) -> nn.Conv2d:
    made = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(kernel))
        made.bias.copy_(torch.tensor(bias))
    return made
