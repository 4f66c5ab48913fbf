"""docs/roofline.svg: on the left this processor, on the right the claims about cards beside their limits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..publishing import kind_of
from ..sections import write_whole

COLOURS = {"f32": "#1f6f8b", "bf16": "#d1495b", "int8": "#5b8c3a"}
MARKERS = ("o", "s", "^", "D")
# Operations per byte.
FEWEST, MOST = 1.0, 1e4


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draw the results of the first one's machine, and its claims: no chart mixes machines."""
    results = [result for result in results if kind_of(result["machine"]) == kind_of(results[0]["machine"])]
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    settings = {"svg.hashsalt": "edsr-triton", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with plt.rc_context(settings):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
        _processor(left, results)
        _claims(right, results[0]["claims"])
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=7)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    write_whole(path, file.getvalue())


def _processor(axes: Any, results: list[dict[str, Any]]) -> None:
    bandwidth = results[0]["bandwidth_bytes_s"]
    intensity = np.geomspace(FEWEST, MOST, 200)
    for precision, peak in results[0]["peaks"].items():
        roof = np.minimum(peak["flop_s"], intensity * bandwidth) / 1e9
        axes.plot(intensity, roof, color=COLOURS.get(precision, "#555555"), label=f"{precision}: measured peak")
    for result, marker in zip(results, MARKERS, strict=False):
        for precision in dict.fromkeys(row["precision"] for row in result["served"]):
            row = [row for row in result["served"] if row["precision"] == precision][-1]
            size = f"{row['shape'][0]}x{row['shape'][1]}"
            axes.plot(
                row["flop"] / row["layer_bytes"],
                row["flop"] / row["measured_s"] / 1e9,
                marker,
                color=COLOURS.get(precision, "#555555"),
                label=f"{result['model']}, {precision}, {size}",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte, every layer through memory")
    axes.set_ylabel(f"GFLOP/s on {kind_of(results[0]['machine'])}")


def _claims(axes: Any, claims: list[dict[str, Any]]) -> None:
    places = range(len(claims))
    axes.plot([claim["claimed_ms"] for claim in claims], places, "kx", label="claimed")
    for name, colour in zip(claims[0]["networks"] if claims else (), ("#d1495b", "#1f6f8b", "#5b8c3a"), strict=False):
        limits = [claim["networks"][name]["limit_ms"] for claim in claims]
        axes.plot(limits, places, "|", markersize=14, markeredgewidth=2, color=colour, label=f"limit of {name}")
    axes.set_yticks(places, [f"{claim['card']}, {claim['side']}x{claim['side']}" for claim in claims])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms, fp16 (datasheets; nothing measured on a card)")
