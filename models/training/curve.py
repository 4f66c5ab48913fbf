"""Draws the training curve from a run's log.json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes


def draw_quality(axes: Axes, log: list[dict[str, Any]], bicubic: float | None) -> None:
    """PSNR-Y by step: a line for each kind of input, as far as the log tells them apart."""
    steps = [row["step"] for row in log]
    kinds = list(log[0].get("by_input", {}))
    for kind in kinds:
        axes.plot(steps, [row["by_input"][kind] for row in log], marker=".", label=kind)
    if not kinds:
        axes.plot(steps, [row["psnr_y"] for row in log], marker=".", label="moving average, 8-bit weights")
    if bicubic is not None:
        axes.axhline(bicubic, color="grey", linestyle="--", label=f"bicubic, {bicubic:.2f} dB")
    axes.set_ylabel("PSNR-Y on the validation photographs (dB)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False)


def draw_loss(axes: Axes, log: list[dict[str, Any]]) -> None:
    """The loss, in the unit of the log, and the learning rate by step; a run's first row has seen no patch yet."""
    name, label = ("l1", "L1 on training patches (levels)") if "l1" in log[0] else ("loss", "loss on training patches")
    trained = [row for row in log if row["step"]]
    steps = [row["step"] for row in trained]
    axes.plot(steps, [row[name] for row in trained], marker=".", color="tab:orange")
    axes.set_ylabel(label)
    axes.set_xlabel("step")
    rate = axes.twinx()
    rate.plot(steps, [row["rate"] for row in trained], color="tab:green", linestyle=":")
    rate.set_ylabel("learning rate (dotted)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--bicubic", type=float, help="PSNR-Y of bicubic on the validation set, dB")
    args = parser.parse_args()
    log = json.loads(args.log.read_text(encoding="utf-8"))["log"]
    figure, (quality, loss) = plt.subplots(2, 1, sharex=True, figsize=(8, 7), layout="constrained")
    draw_quality(quality, log, args.bicubic)
    draw_loss(loss, log)
    for axes in (quality, loss):
        axes.grid(alpha=0.3)
    figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
