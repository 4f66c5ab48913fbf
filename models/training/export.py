"""Writes a checkpoint as the frozen, 8-bit graph that is shipped."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from edsr_conversion import Block, Conv, Edsr, graph_def, read_graph

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


def checkpoint_of(network: Edsr) -> Weights:
    """The inverse of `network_of`: a checkpoint that a run can start from."""
    weights: Weights = {}

    def put(name: str, conv: Conv, kernel_gain: float = 1.0, bias_gain: float = 1.0) -> None:
        weights[f"{name}.weight"] = torch.from_numpy(conv.kernel * np.float32(kernel_gain)).permute(3, 2, 0, 1)
        weights[f"{name}.bias"] = torch.from_numpy(conv.bias * np.float32(bias_gain))

    order = np.arange(network.tail.bias.size).reshape(-1, 3).T.ravel()
    put("head", network.head, kernel_gain=PIXEL_SCALE)
    for index, block in enumerate(network.blocks):
        put(f"body.{index}.first", block.first)
        put(f"body.{index}.second", block.second, network.residual_scale, network.residual_scale)
    put("body_end", network.body_end)
    tail = Conv(np.ascontiguousarray(network.tail.kernel[..., order]), network.tail.bias[order])
    put("tail", tail, 1 / PIXEL_SCALE, 1 / PIXEL_SCALE)
    return weights


def ranges_of(weights: Weights) -> list[float]:
    """The learned ranges of the inputs of the body's convolutions, from input to output."""
    names = [name for name in weights if name.endswith("log_range")]

    def place(name: str) -> tuple[int, int]:
        parts = name.split(".")
        return (int(parts[1]), parts[2] == "inner") if parts[0] == "body" else (len(names), 0)

    return [float(weights[name].exp()) for name in sorted(names, key=place)]


def depth_to_space_order(tail: Conv) -> Conv:
    """From pixel_shuffle's channels (colour, row, column) to TensorFlow's depth_to_space (row, column, colour)."""
    order = np.arange(tail.bias.size).reshape(3, -1).T.ravel()
    return Conv(np.ascontiguousarray(tail.kernel[..., order]), tail.bias[order])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("graph", type=Path, help="the .pb to write")
    parser.add_argument("--back", action="store_true", help="the other way: write the checkpoint of a graph")
    args = parser.parse_args()
    if args.back:
        torch.save(checkpoint_of(read_graph(args.graph).network), args.checkpoint)
        return
    weights = torch.load(args.checkpoint, map_location="cpu")
    args.graph.write_bytes(graph_def(network_of(weights), quantized=True).SerializeToString(deterministic=True))
    if ranges := ranges_of(weights):
        text = json.dumps({"activation_ranges": [float(f"{value:.6g}") for value in ranges]}, indent=1) + "\n"
        args.graph.with_suffix(".ranges.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
