"""What self-ensemble gains on the held-out photographs, and what it costs, on a running server."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .machine import machine
from .publishing import add_options, target, where
from .sections import write_json


@dataclass(frozen=True)
class Pair:
    """One photograph, reduced and upscaled without and with self-ensemble.

    Attributes:
        psnr_y_db, ensemble_psnr_y_db: PSNR-Y in dB against the original.
        seconds, ensemble_seconds: of the upscaling.
    """

    psnr_y_db: float
    ensemble_psnr_y_db: float
    seconds: float
    ensemble_seconds: float


def add_command(commands: Any) -> None:
    """`python -m edsr_perf self-ensemble`."""
    parser = commands.add_parser("self-ensemble", help="gain and cost of self-ensemble, on a running server")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--url", default="localhost:8000", help="host:port of a server (default: %(default)s)")
    parser.add_argument("--model", help="default: as for `edsr upscale`")
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from edsr_client import EdsrError, Upscaler

    try:
        with (
            Upscaler(args.url, model=args.model) as plain,
            Upscaler(args.url, model=args.model, self_ensemble=True) as ensemble,
        ):
            model = plain.model_info()
            pairs = measure(plain, ensemble, model.scale)
    except EdsrError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    facts = {
        "model": model.name,
        "precision": model.inference_precision,
        "gain_db": round(statistics.fmean(pair.ensemble_psnr_y_db - pair.psnr_y_db for pair in pairs), 4),
        "times": round(statistics.median(pair.ensemble_seconds / pair.seconds for pair in pairs), 2),
        "pairs": [asdict(pair) for pair in pairs],
        "machine": machine(),
    }
    path = target(args.root, f"self-ensemble-{model.name}-{model.inference_precision}", facts, args.publish)
    write_json(path, facts)
    print(f"{facts['gain_db']:+.3f} dB for {facts['times']:.1f} times the time; {where(path, args.publish)}")  # noqa: T201
    return 0


def measure(plain: Any, ensemble: Any, scale: int) -> list[Pair]:
    """Every held-out photograph, by two `Upscaler`s in turns; the first is upscaled once before, to warm up."""
    from edsr_conversion.pictures import held_out_pairs
    from edsr_conversion.quality import psnr_y

    pairs: list[Pair] = []
    for hr, lr in held_out_pairs(scale):
        found = []
        for upscaler in (plain, ensemble):
            if not pairs:
                upscaler.upscale(lr)
            started = time.perf_counter()
            picture = upscaler.upscale(lr)
            found.append((round(psnr_y(picture, hr, scale), 4), round(time.perf_counter() - started, 4)))
        (usual, seconds), (better, longer) = found
        pairs.append(Pair(usual, better, seconds, longer))
    return pairs
