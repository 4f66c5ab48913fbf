"""Writes a checkpoint as the frozen, 8-bit graph that is shipped."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from edsr_conversion import Block, Conv, Edsr, graph_def

from .network import PIXEL_SCALE, RESIDUAL_SCALE

Weights = dict[str, torch.Tensor]


def network_of(weights: Weights) -> Edsr:
    """The published parametrisation of a checkpoint: 0..255 in and out, a residual scale of 0.1."""

    def conv(name: str, kernel_gain: float = 1.0, bias_gain: float = 1.0) -> Conv:
        kernel = weights[f"{name}.weight"].permute(2, 3, 1, 0).numpy() * np.float32(kernel_gain)
        bias = weights[f"{name}.bias"].numpy() * np.float32(bias_gain)
        return Conv(np.ascontiguousarray(kernel), bias)

    blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("body."))
    unfold = 1 / RESIDUAL_SCALE
    return Edsr(
        head=conv("head", kernel_gain=1 / PIXEL_SCALE),
        blocks=tuple(
            Block(conv(f"body.{index}.first"), conv(f"body.{index}.second", unfold, unfold)) for index in range(blocks)
        ),
        body_end=conv("body_end"),
        tail=depth_to_space_order(conv("tail", PIXEL_SCALE, PIXEL_SCALE)),
        residual_scale=RESIDUAL_SCALE,
    )


def depth_to_space_order(tail: Conv) -> Conv:
    """From pixel_shuffle's channels (colour, row, column) to TensorFlow's depth_to_space (row, column, colour)."""
    order = np.arange(tail.bias.size).reshape(3, -1).T.ravel()
    return Conv(np.ascontiguousarray(tail.kernel[..., order]), tail.bias[order])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("graph", type=Path, help="the .pb to write")
    args = parser.parse_args()
    weights = torch.load(args.checkpoint, map_location="cpu")
    args.graph.write_bytes(graph_def(network_of(weights), quantized=True).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
