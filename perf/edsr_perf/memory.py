"""The client's memory over the time of one large picture, or of many small ones: figures, and a plot in docs."""

from __future__ import annotations

import argparse
import io
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .errors import PerfError, reported
from .machine import machine
from .sections import read_results, write_json, write_whole

CHART = "memory.svg"
EVERY_S = 0.25
POINTS = 400
# Photographs are smooth: squares of one colour, each pixel with a little noise, compress about as they do.
SQUARE_PX = 16
SMALL_PX = 24
CLIENT = [sys.executable, "-m", "edsr_client"]
Measured = tuple[dict[str, Any], float, list[tuple[float, int]]]


def add_command(commands: Any) -> None:
    """Register `memory`."""
    parser = commands.add_parser("memory", help="the client's memory over time, large picture or many: docs/memory.svg")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--url", default="localhost:8000", help="host:port of a server (default: %(default)s)")
    parser.add_argument("--megapixels", type=float, default=100.0, help="of the picture, LR (default: %(default)g)")
    parser.add_argument("--pictures", type=int, help=f"a folder of so many instead, {SMALL_PX}x{SMALL_PX} px each")
    parser.add_argument("--folder", type=Path, help="for the picture and its result (default: the system's)")
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    from edsr_client import Upscaler

    with Upscaler(args.url) as upscaler:
        info = upscaler.model_info()
    with tempfile.TemporaryDirectory(prefix="edsr-memory-", dir=args.folder) as name:
        measure = _folder if args.pictures else _picture
        found, seconds, points = measure(args, Path(name))
    result = {
        **found,
        "model": info.name,
        "precision": info.inference_precision,
        "seconds": round(seconds, 1),
        "peak_mb": max(mb for _, mb in points),
        "memory_mb": thinned(points),
        "machine": machine(),
    }
    what = f"{args.pictures}-pictures" if args.pictures else f"{round(args.megapixels)}mp"
    path = args.root / "perf" / "results" / f"memory-{what}-{info.name}.json"
    write_json(path, result)
    write_whole(args.root / "docs" / CHART, draw(read_results(args.root, "memory-*.json")))
    _tell(f"{_title(result)} in {seconds:.0f} s: {result['peak_mb']} MB at most; wrote {path}")
    return 0


def _picture(args: argparse.Namespace, folder: Path) -> Measured:
    width = round(math.sqrt(args.megapixels * 1e6 * 4 / 3))
    height = round(args.megapixels * 1e6 / width)
    source, target = folder / "large.tif", folder / "upscaled.tif"
    _tell(f"making a picture of {width}x{height}")
    make_picture(source, width, height)
    seconds, points = watch([*CLIENT, "upscale", str(source), str(target), "-q", "--url", args.url])
    size = [width, height]
    megapixels = round(width * height / 1e6, 1)
    return {"picture": size, "megapixels": megapixels, "result_mb": round(target.stat().st_size / 1e6)}, seconds, points


def _folder(args: argparse.Namespace, folder: Path) -> Measured:
    _tell(f"making {args.pictures:,} pictures")
    make_pictures(folder / "in", args.pictures)
    command = [*CLIENT, "batch", str(folder / "in"), str(folder / "out"), "-q", "--url", args.url]
    seconds, points = watch(command)
    made = sum(path.suffix == ".png" for path in (folder / "out").iterdir())
    if made != args.pictures:
        raise PerfError(f"{made:,} of {args.pictures:,} pictures were made")
    again, _ = watch(command)
    return {"pictures": args.pictures, "side": SMALL_PX, "again_seconds": round(again, 1)}, seconds, points


def _title(result: dict[str, Any]) -> str:
    if "pictures" in result:
        return f"{result['pictures']:,} pictures of {result['side']}x{result['side']}"
    return f"{result['megapixels']:g} megapixels"


def _tell(line: str, stream: TextIO | None = None) -> None:
    out = stream or sys.stdout
    out.write(f"{line}\n")
    out.flush()


def make_picture(path: Path, width: int, height: int) -> None:
    """A tiled, compressed TIFF file of noise on coloured squares, made piece by piece."""
    import pyvips

    random = np.random.default_rng(0)
    squares = random.integers(20, 236, (height // SQUARE_PX + 1, width // SQUARE_PX + 1, 3), dtype=np.uint8)
    coarse = pyvips.Image.new_from_array(squares).zoom(SQUARE_PX, SQUARE_PX).crop(0, 0, width, height)
    noise = pyvips.Image.gaussnoise(width, height, sigma=3)
    (coarse + noise).cast("uchar").copy(interpretation="srgb").tiffsave(
        str(path), compression="deflate", tile=True, bigtiff=True
    )


def make_pictures(folder: Path, count: int) -> None:
    """Small PNG files in one folder, no two alike."""
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (SMALL_PX, SMALL_PX, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:07}.png", compress_level=0)


def watch(command: list[str]) -> tuple[float, list[tuple[float, int]]]:
    """Seconds a command takes, and its resident memory meanwhile: (seconds, MB).

    Raises:
        PerfError: it fails.
    """
    started = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    points = []
    while process.poll() is None:
        points.append((round(time.monotonic() - started, 2), resident_mb(process.pid)))
        time.sleep(EVERY_S)
    if process.returncode:
        told = process.stderr.read().strip() if process.stderr else ""
        raise PerfError(f"{' '.join(command[:4])} failed: {told}")
    return time.monotonic() - started, points


def resident_mb(pid: int) -> int:
    """Resident memory of a process in MB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return round(kilobytes * 1024 / 1e6)


def thinned(points: list[tuple[float, int]], most: int = POINTS) -> list[tuple[float, int]]:
    """At most so many points, each the highest of those it stands for."""
    step = -(-len(points) // most)
    return [max(points[at : at + step], key=lambda point: point[1]) for at in range(0, len(points), step)]


def draw(results: list[dict[str, Any]]) -> bytes:
    """SVG: memory over the part of the time that has passed, for every result."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    settings = {"svg.hashsalt": "edsr-triton", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
        for result in sorted(results, key=lambda each: each.get("megapixels", math.inf)):
            seconds = [at / result["seconds"] * 100 for at, _ in result["memory_mb"]]
            label = f"{_title(result)}, {result['model']}, {result['seconds']:.0f} s"
            axes.plot(seconds, [mb for _, mb in result["memory_mb"]], label=label, linewidth=1)
        axes.axhline(1000, color="#bbbbbb", linewidth=1, linestyle="--")
        axes.set(xlabel="% of the time", ylabel="MB, the client's process", ylim=(0, 1350))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return file.getvalue()
