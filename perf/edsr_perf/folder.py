"""How much of the server's own throughput `edsr batch` reaches: reading, decoding, encoding and writing included."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from .analyzer.metrics import difference, read_metrics
from .analyzer.runner import run_window
from .analyzer.scenarios import Load
from .analyzer.session import own_server
from .analyzer.tool import find_tool
from .errors import reported
from .machine import machine
from .sections import write_json

IN_FLIGHT = 4
KINDS = (("jpg", "jpeg"), ("png", "png"))


def add_command(commands: Any) -> None:
    """Register `folder`."""
    parser = commands.add_parser("folder", help="edsr batch against perf_analyzer on the same shapes")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.add_argument("--precision", default="auto", help="of the server (default: %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="of the pictures, LR pixels (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    from edsr_client import Upscaler

    tool = find_tool(args.root / ".venv" / "perf_analyzer", tell)
    load = Load("folder", args.side, args.side, concurrency=IN_FLIGHT, requests=args.pictures)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="edsr-folder-") as name:
        folder = Path(name)
        for extension, _ in KINDS:
            _make(folder / extension, extension, args.pictures, args.side)
        with own_server(args.root, args.model, args.precision) as endpoint:
            with Upscaler(endpoint.http) as upscaler:
                info = upscaler.model_info()
                upscaler.upscale(np.zeros((args.side, args.side, 3), np.uint8))
            for number in range(args.rounds):
                bare = bare_rate(run_window(tool, load, info.name, endpoint.http, info.scale).throughput, args.pictures)
                for extension, format_ in KINDS:
                    out = folder / f"out-{extension}-{number}"
                    before = read_metrics(endpoint.metrics, info.name)
                    seconds = batch(endpoint.http, folder / extension, out, format=format_)
                    grown = difference(before, read_metrics(endpoint.metrics, info.name))
                    busy = grown.get("edsr_compute_duration_us", 0.0) / 1e6 / seconds
                    rate = args.pictures / seconds
                    rows.append({"kind": extension, "bare": bare, "rate": rate, "share": rate / bare, "busy": busy})
                    tell(
                        f"[{number + 1}/{args.rounds}] {extension}: {rate:.2f}/s of {bare:.2f}/s bare requests "
                        f"({rate / bare:.1%}), the server computes {busy:.1%} of the time"
                    )
    result = {
        "model": info.name,
        "precision": info.inference_precision,
        "side": args.side,
        "pictures": args.pictures,
        "rounds": args.rounds,
        "kinds": {
            extension: {
                key: round(statistics.median(row[key] for row in rows if row["kind"] == extension), 3)
                for key in ("bare", "rate", "share", "busy")
            }
            for extension, _ in KINDS
        },
        "machine": machine(),
    }
    path = args.root / "perf" / "results" / f"folder-{info.name}.json"
    write_json(path, result)
    tell(f"wrote {path}")
    return 0


def bare_rate(by_latency: float, requests: int, in_flight: int = IN_FLIGHT) -> float:
    """Requests a second, of a rate that was computed as requests in flight / mean latency.

    That takes every request to have waited for all others in flight. Those sent at first have not: one waits for none,
    the next for one. The embedded server answers one at a time, so the sum of waits is in_flight (in_flight - 1) / 2
    answers short.
    """
    return by_latency * (1 - (in_flight - 1) / (2 * requests))


def _make(folder: Path, extension: str, count: int, side: int) -> None:
    """Pictures as smooth as photographs: noise enlarged by 8, a little fine noise on it."""
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        fine = np.clip(smooth + random.integers(-3, 4, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(fine).save(folder / f"{index:04}.{extension}")


def batch(url: str, source: Path, out: Path, **finishing: Any) -> float:
    """Seconds that a run over a folder takes; `finishing` as `edsr_client.Finishing` has it."""
    from edsr_client import AsyncUpscaler, Finishing
    from edsr_client.batch import BatchOptions, run_batch

    async def work() -> float:
        async with AsyncUpscaler(url) as upscaler:
            await upscaler.model_info()
            started = time.monotonic()
            await run_batch(upscaler, [str(source)], out, BatchOptions(finishing=Finishing(**finishing)))
            return time.monotonic() - started

    return asyncio.run(work())


def tell(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
