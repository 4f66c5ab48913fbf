"""How long somebody's small picture takes while a large one is upscaled on the same server, and what that costs it.

The large one is upscaled by a process of its own, with the tile that suits the server and, in turns, with another;
small requests come at random moments meanwhile, whether or not those before are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .machine import machine
from .publishing import add_options, target
from .sections import write_json

SMALL = (72, 96)
# On average one small request in so many seconds.
EVERY_S = 1.5
ALONE, BESIDE = "alone", "beside small ones"
WORK = """
import sys, time
import numpy as np
from edsr_client import Upscaler
url, height, width, tile = sys.argv[1], *map(int, sys.argv[2:])
noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
picture = np.ascontiguousarray(noise.repeat(8, 0).repeat(8, 1))
with Upscaler(url) as upscaler:
    tiles = []
    started = time.perf_counter()
    upscaler.upscale(picture, tile=tile or None, progress=lambda _, total: tiles.append(total))
    print(time.perf_counter() - started, tiles[0])
"""


@dataclass(frozen=True)
class Run:
    """One large picture.

    Attributes:
        tile: largest side that was asked for; 0 for what suits the server.
        tiles: it was cut into.
        beside: ALONE, or BESIDE small requests.
        seconds: that it took.
        small: how many small requests were answered meanwhile.
        small_p50_s, small_p99_s, small_max_s: how long these took; None without any.
    """

    tile: int
    tiles: int
    beside: str
    seconds: float
    small: int
    small_p50_s: float | None
    small_p99_s: float | None
    small_max_s: float | None


def add_command(commands: Any) -> None:
    """`python -m edsr_perf fairness`."""
    parser = commands.add_parser("fairness", help="small requests beside a large picture, on a running server")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--url", default="localhost:8000", help="host:port of a server (default: %(default)s)")
    parser.add_argument("--megapixels", type=float, default=12.0, help="of the large one (default: %(default)g)")
    parser.add_argument("--tile", type=int, default=1152, help="what the server's own is compared with")
    parser.add_argument("--rounds", type=int, default=2)
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from edsr_client import EdsrError, Upscaler

    def say(words: str) -> None:
        print(words, flush=True)  # noqa: T201

    try:
        with Upscaler(args.url) as upscaler:
            model = upscaler.model_info()
        shape = shape_of(args.megapixels)
        runs = [run for _ in range(args.rounds) for run in asyncio.run(measure_round(args.url, shape, args.tile, say))]
    except EdsrError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    facts = {
        "model": model.name,
        "precision": model.inference_precision,
        "picture": list(shape),
        "small": list(SMALL),
        "server_tile": list(model.tile or ()),
        "lr_pixels_per_second": model.lr_pixels_per_second,
        "slower": slower(runs),
        "runs": [asdict(run) for run in runs],
        "machine": machine(),
    }
    path = target(args.root, f"fairness-{model.name}-{model.inference_precision}", facts, args.publish)
    write_json(path, facts)
    say(f"with the server's own tile the large picture takes {facts['slower']:+.1%}; wrote {path}")
    return 0


def shape_of(megapixels: float) -> tuple[int, int]:
    """(height, width), 3 to 4, of about so many, in whole blocks."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5 / 16) * 16
    return max(16, width * 3 // 4 // 16 * 16), max(16, width)


def slower(runs: list[Run]) -> float:
    """How much longer the large picture takes with the server's own tile, alone: by the medians."""
    own, other = (
        statistics.median([run.seconds for run in runs if run.beside == ALONE and bool(run.tile) == is_other])
        for is_other in (False, True)
    )
    return round(own / other - 1, 4)


async def measure_round(url: str, shape: tuple[int, int], tile: int, say: Callable[[str], None]) -> list[Run]:
    """The large picture with both tiles, alone and beside small ones, in turns."""
    runs = []
    for beside in (ALONE, BESIDE):
        for side in (0, tile):
            runs.append(await _one(url, shape, side, beside))
            say(str(runs[-1]))
    return runs


async def _one(url: str, shape: tuple[int, int], tile: int, beside: str) -> Run:
    from edsr_client import AsyncUpscaler

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORK, url, *map(str, shape), str(tile), stdout=asyncio.subprocess.PIPE
    )
    output = asyncio.ensure_future(process.communicate())
    took: list[float] = []
    pending: set[asyncio.Task[None]] = set()
    async with AsyncUpscaler(url) as upscaler:
        try:
            while beside == BESIDE and not output.done():
                await asyncio.wait({output}, timeout=random.expovariate(1 / EVERY_S))
                if not output.done():
                    pending.add(asyncio.ensure_future(_small(upscaler, took)))
            out, _ = await output
            await asyncio.gather(*pending)
        finally:
            for task in (*pending, output):
                task.cancel()
            if process.returncode is None:
                process.kill()
    if process.returncode:
        raise RuntimeError("the large picture was not upscaled; its error stands above")
    seconds, tiles = out.split()
    shares = np.percentile(took, [50, 99, 100]).round(3).tolist() if took else [None] * 3
    return Run(tile, int(tiles), beside, round(float(seconds), 2), len(took), *shares)


async def _small(upscaler: Any, took: list[float]) -> None:
    picture = np.zeros((*SMALL, 3), np.uint8)
    started = time.perf_counter()
    await upscaler.upscale(picture)
    took.append(time.perf_counter() - started)
