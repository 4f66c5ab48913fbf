"""Draws the training curve from a run's log.json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--bicubic", type=float, required=True, help="PSNR-Y of bicubic on the validation set, dB")
    args = parser.parse_args()
    run = json.loads(args.log.read_text(encoding="utf-8"))
    steps = [row["step"] for row in run["log"]]
    figure, (quality, loss) = plt.subplots(2, 1, sharex=True, figsize=(8, 7), layout="constrained")
    quality.plot(steps, [row["psnr_y"] for row in run["log"]], marker=".", label="moving average, 8-bit weights")
    quality.axhline(args.bicubic, color="grey", linestyle="--", label=f"bicubic, {args.bicubic:.2f} dB")
    quality.set_ylabel("PSNR-Y on 7 validation photographs (dB)")
    quality.legend(loc="center right")
    loss.plot(steps, [row["l1"] for row in run["log"]], marker=".", color="tab:orange")
    loss.set_ylabel("L1 on training patches (levels)")
    loss.set_xlabel("step")
    rate = loss.twinx()
    rate.plot(steps, [row["rate"] for row in run["log"]], color="tab:green", linestyle=":")
    rate.set_ylabel("learning rate (dotted)")
    for axes in (quality, loss):
        axes.grid(alpha=0.3)
    figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
