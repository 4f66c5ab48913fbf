"""Whether a picture's cost is in proportion to its pixels, from one tile to thousands: figures, and a plot in docs."""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .errors import reported
from .machine import machine
from .publishing import add_options, kind_of, slug, target, where
from .sections import PERFORMANCE, read_results, table, write_json, write_section, write_whole

MARKER = "<!-- scaling table, by `make scaling` -->"
SIDES_PX = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
ROUNDS = 3
# What is larger is measured once in a round less: the largest takes as long as all others together.
LARGE_PX = 4096 * 4096


def add_command(commands: Any) -> None:
    """Register `scaling`."""
    parser = commands.add_parser("scaling", help="time against pixels, 64x64 to 8192x8192: a table and a plot")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--url", help="host:port of a server (default: localhost)")
    parser.add_argument("--protocol", choices=("http", "grpc"), default="http")
    parser.add_argument("--most", type=int, default=SIDES_PX[-1], help="largest side, LR pixels")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    add_options(parser)
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    from edsr_client import EdsrError, Upscaler

    sides = [side for side in SIDES_PX if side <= args.most]
    try:
        with Upscaler(args.url, args.protocol) as upscaler:
            info = upscaler.model_info()
            points = measure(upscaler, sides, args.rounds)
    except EdsrError as error:
        _tell(f"error: {error}", sys.stderr)
        return error.exit_code
    result = {
        "model": info.name,
        "precision": info.inference_precision,
        "protocol": args.protocol,
        "rounds": args.rounds,
        "points": points,
        "machine": machine(),
    }
    path = target(args.root, f"scaling-{info.name}", result, args.publish)
    write_json(path, result)
    _tell(where(path, args.publish))
    if args.publish:
        render(args.root, read_results(args.root, "scaling-*.json"))
        _tell(f"wrote {PERFORMANCE}")
    return 0


def _tell(line: str, stream: TextIO | None = None) -> None:
    out = stream or sys.stdout
    out.write(f"{line}\n")
    out.flush()


def measure(upscaler: Any, sides: Sequence[int], rounds: int) -> list[dict[str, float]]:
    """Median seconds per side, all sides in turns, tiles and stitching included.

    Args:
        upscaler: edsr_client.Upscaler of one server.
        sides: of squares, LR pixels.
        rounds: turns; what is over LARGE_PX has one less, at least one.
    """
    from edsr_client.async_upscaler import grid_for

    largest = max(sides)
    noise = np.random.default_rng(0).integers(0, 256, (largest, largest, 3), dtype=np.uint8)
    info = upscaler.model_info()
    for side in sides:
        shape = grid_for((side, side), info, None, None).shape
        upscaler.upscale(noise[: shape[0], : shape[1]])  # the server prepares each shape of tile once
    times: dict[int, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            if side * side > LARGE_PX and number and number == rounds - 1:
                continue
            picture = noise[:side, :side]
            started = time.perf_counter()
            upscaler.upscale(picture)
            times[side].append(time.perf_counter() - started)
            _tell(f"[{number + 1}/{rounds}] {side}x{side}: {times[side][-1]:.3f} s")
    points = []
    for side in sides:
        grid = grid_for((side, side), info, None, None)
        points.append(
            {
                "side_px": side,
                "tiles": len(grid),
                "sent_share": round(grid.sent_px / side**2, 4),
                "seconds": round(statistics.median(times[side]), 4),
            }
        )
    return points


def deviations(points: Sequence[dict[str, float]]) -> list[float]:
    """Each point's seconds per pixel over the median of all, less 1."""
    costs = [point["seconds"] / point["side_px"] ** 2 for point in points]
    middle = statistics.median(costs)
    return [cost / middle - 1 for cost in costs]


def render(root: Path, results: Sequence[dict[str, Any]]) -> None:
    """Of every machine a plot, and a table in docs/performance.md."""
    for result in results:
        write_whole(root / "docs" / chart_of(result), draw(result["points"]))
    write_section(root, MARKER, "\n".join(section(result) for result in results))


def chart_of(result: dict[str, Any]) -> str:
    """File name of a machine's plot."""
    return f"scaling-{result['model']}-{slug(result['machine'])}.svg"


def section(result: dict[str, Any]) -> str:
    """One machine's plot and table."""
    points, off = result["points"], deviations(result["points"])
    middle = statistics.median(point["seconds"] / point["side_px"] ** 2 for point in points)
    rows = [["picture", "megapixels", "tiles", "sent, halos included", "seconds", "s per megapixel", "off the line"]]
    for point, deviation in zip(points, off, strict=True):
        side = point["side_px"]
        rows.append(
            [
                f"{side}x{side}",
                f"{side**2 / 1e6:.3g}",
                f"{point['tiles']:,}",
                f"{point['sent_share']:.1%}",
                f"{point['seconds']:.3g}",
                f"{point['seconds'] / side**2 * 1e6:.2f}",
                f"{deviation:+.0%}",
            ]
        )
    tiled = [abs(d) for point, d in zip(points, off, strict=True) if point["side_px"] >= 256]
    machine = result["machine"]
    words = (
        f"The line is the median, {middle * 1e6:.2f} s per megapixel; from 256x256 on no size is further from it than "
        f"{max(tiled, default=0.0):.0%}. {result['model']}, {result['precision']}, {result['protocol'].upper()}, "
        f"medians of {result['rounds']} rounds; {machine['processor']}, {machine['cores']} cores, {machine['date']}, "
        f"revision {machine['revision']}.\n"
    )
    title = f"**{kind_of(machine)}**\n\n![Seconds against megapixels, {kind_of(machine)}]({chart_of(result)})"
    return f"{title}\n\n{table(rows, 'lrrrrrr')}\n{words}"


def draw(points: Sequence[dict[str, float]]) -> bytes:
    """SVG: seconds against megapixels, both logarithmic, with the line through the median; below, the deviation."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    settings = {"svg.hashsalt": "edsr-triton", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with plt.rc_context(settings):
        figure, (above, below) = plt.subplots(
            2, 1, figsize=(7, 5), layout="constrained", sharex=True, height_ratios=(3, 1)
        )
        px = [point["side_px"] ** 2 / 1e6 for point in points]
        seconds = [point["seconds"] for point in points]
        middle = statistics.median(s / x for s, x in zip(seconds, px, strict=True))
        above.plot(px, [middle * x for x in px], color="#bbbbbb", linewidth=1, label=f"{middle:.2f} s per megapixel")
        for kind, colour, label in (
            (False, "#1f6f8b", "one tile"),
            (True, "#d1495b", "several tiles"),
        ):
            here = [index for index, point in enumerate(points) if (point["tiles"] > 1) == kind]
            above.plot([px[i] for i in here], [seconds[i] for i in here], "o", color=colour, label=label)
        above.set(ylabel="seconds", xscale="log", yscale="log")
        above.legend(frameon=False)
        below.axhline(0, color="#bbbbbb", linewidth=1)
        below.plot(px, [100 * each for each in deviations(points)], "o", color="#3c3c3c", markersize=4)
        below.set(xlabel="megapixels (LR)", ylabel="off the line, %", xscale="log")
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return file.getvalue()
