"""How fast a CPU is with a model, measured when the server starts, and the tile that follows from it.

Requests are answered one after the other, so whoever comes while a tile is computed waits for it. Half a second is what
a tile should take. But the smaller a tile, the larger the part of it that is halo, computed and thrown away: where half
a second would make the halo expensive, a tile may take up to 0.85 seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TILE_S, LONGEST_TILE_S = 0.5, 0.85
# Sides of tiles in halos: from here on the halo is cheap (9% of the work, 5% more than with tiles of any size); below
# the other it would be most of the work, and no tile is so small however slow the machine.
CHEAP_HALOS, LEAST_HALOS = 48, 16
STEP_PX = 16  # kernels and tensor cores like whole blocks
FILE = "speed.json"
FIRST_SIDE_PX, LAST_SIDE_PX, LONG_ENOUGH_S = 64, 512, 0.08
# Threads of one inference wait for each other, but hardly longer than this, against the time in which they work.
IDLE_SHARE = 1.5
# In a process of its own, whose memory is given back.
MEASURE = "from edsr_serving.speed import main; main()"
MEASURING_TIMEOUT_S = 120.0


def tile_side(pixels_per_s: float, halo_px: int, largest_px: int) -> int:
    """The side of the square tiles that suit a machine, in LR pixels.

    Args:
        pixels_per_s: LR pixels that one instance computes in a second.
        halo_px: of the tiles, on each side.
        largest_px: what the model's memory allows.
    """
    usual, longest = (math.isqrt(int(pixels_per_s * s)) for s in (TILE_S, LONGEST_TILE_S))
    side = max(usual, min(CHEAP_HALOS * halo_px, longest), LEAST_HALOS * halo_px, STEP_PX)
    return largest_px if side >= largest_px else side // STEP_PX * STEP_PX


def key(model: Path, precision: str, threads: int) -> str:
    """Under which the speed of a model file is kept."""
    return f"{model.parent.parent.name} {model.stat().st_mtime_ns} {precision} {threads}"


def measured(model: Path, precision: str, threads: int, known: Path, again: bool = False) -> float | None:
    """LR pixels a second of one instance; None if that cannot be measured.

    The fastest that was ever seen with this model file is kept in `known`, a JSON file: a machine that is busy now
    is not slow for ever, and tiles, so results, are the same after the next start. With `again`, in place of a server
    that has just ended, nothing is measured that is known: clients wait.
    """
    name = key(model, precision, threads)
    before = _read(known)
    if again and name in before:
        return before[name]
    command = [sys.executable, "-c", MEASURE, str(model.absolute()), precision, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MEASURING_TIMEOUT_S, check=True)
        fastest = max(float(done.stdout), before.get(name, 0.0))
    except (OSError, subprocess.SubprocessError, ValueError):
        return before.get(name)
    with contextlib.suppress(OSError):
        known.write_text(json.dumps({**before, name: fastest}, indent=1) + "\n", "utf-8")
    return fastest


def parameters(told: Mapping[str, str], pixels_per_s: float | None) -> dict[str, str]:
    """What clients are told: the speed, and the tile instead of that of the configuration.

    Args:
        told: the configuration's own `parameters`.
        pixels_per_s: as measured; None changes nothing.
    """
    if pixels_per_s is None:
        return {}
    found = {"lr_pixels_per_second": str(round(pixels_per_s))}
    halo_px = told.get("default_halo_px") or told.get("halo_px")
    if halo_px and "tile" in told:
        side = tile_side(pixels_per_s, int(halo_px), min(map(int, told["tile"].split("x"))))
        found["tile"] = f"{side}x{side}"
    return found


def _read(known: Path) -> dict[str, float]:
    try:
        return {str(name): float(speed) for name, speed in json.loads(known.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def measure(model: Path, precision: str, threads: int) -> float:
    """LR pixels a second, of the first size that takes long enough to be timed."""
    import numpy as np

    from .openvino_model import compile_for_cpu

    compiled = compile_for_cpu(model, precision, threads)
    infer = compiled.create_infer_request()
    side = FIRST_SIDE_PX
    while True:
        image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        infer.infer([image])  # the first of a shape prepares it
        took = min(_seconds(infer, image, threads) for _ in range(2))
        if took >= LONG_ENOUGH_S or side >= LAST_SIDE_PX:
            return side * side / took
        side *= 2


def _seconds(infer: Any, image: Any, threads: int) -> float:
    """Of one inference, as if nothing else ran: a busy machine lets threads wait, and gives them no time meanwhile."""
    started, worked = time.perf_counter(), time.process_time()
    infer.infer([image])
    took, work = time.perf_counter() - started, time.process_time() - worked
    return min(took, IDLE_SHARE * work / threads)


def main() -> None:
    """MODEL PRECISION THREADS -> pixels a second, on standard output."""
    model, precision, threads = sys.argv[1:]
    sys.stdout.write(f"{measure(Path(model), precision, int(threads))}\n")
