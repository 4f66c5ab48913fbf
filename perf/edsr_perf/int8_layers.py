"""What each convolution costs in quality if it alone is in 8 bits: figures, and a bar chart in docs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from .errors import MissingModelError, reported
from .machine import machine

CHART = Path("docs/int8-layers.svg")
PICTURES = 6


def add_command(commands: Any) -> None:
    """Register `int8-layers`."""
    parser = commands.add_parser(
        "int8-layers", help="what each convolution costs in 8 bits; renders docs/int8-layers.svg"
    )
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    import onnx
    from edsr_conversion.int8 import activation_ranges, sensitivity
    from edsr_conversion.pictures import CALIBRATION, pictures

    path = args.root / "model_repository" / args.model / "1" / "model.onnx"
    if not path.is_file():
        raise MissingModelError(f"{args.model} is not built. Run `make onnx`.")
    model = onnx.load(path)
    inputs = [picture[None] for _, picture in pictures(CALIBRATION)]
    ranges = activation_ranges(model, inputs)
    errors = sensitivity(model, ranges, inputs[:PICTURES], lambda name: _tell(name, sys.stderr))
    results = {
        "model": args.model,
        "pictures": PICTURES,
        "mean_squared_error": {name: round(error, 5) for name, error in errors.items()},
        "machine": machine(),
    }
    target = args.root / "perf" / "results" / f"int8-layers-{args.model}.json"
    target.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    draw(results["mean_squared_error"], args.root / CHART)
    _tell(f"wrote {target} and {args.root / CHART}", sys.stdout)
    return 0


def _tell(line: str, stream: TextIO) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def draw(errors: dict[str, float], path: Path) -> None:
    """Bars in the order of the network; what reads the stream of residuals apart from what reads a ReLU.

    Args:
        errors: mean squared error in levels, by convolution, from input to output.
        path: of the SVG.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    settings = {"svg.hashsalt": "edsr-triton", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
        last = len(errors) - 1
        kinds = ["ends" if i in (0, last) else "stream" if i % 2 or i == last - 1 else "relu" for i in range(last + 1)]
        for kind, colour, label in (
            ("ends", "#d1495b", "first and last: kept in floating point"),
            ("stream", "#1f6f8b", "reads the stream of residuals"),
            ("relu", "#edae49", "reads a ReLU"),
        ):
            places = [index for index, each in enumerate(kinds) if each == kind]
            heights = [list(errors.values())[index] for index in places]
            axes.bar(places, heights, color=colour, label=label)
        axes.set(xlabel="convolution, from input to output", ylabel="mean squared error, levels")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
