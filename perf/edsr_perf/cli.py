"""Command line: ``python -m edsr_perf run``, and the others."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from edsr_serving.edge import unforeseen
from numpy.typing import NDArray

from . import (
    border,
    fairness,
    folder,
    gateway,
    halo_page,
    int8_layers,
    memory,
    png_effort,
    scaling,
    self_ensemble,
    web_load,
)
from .analyzer import cli as analyzer
from .baselines import cli as baselines
from .errors import known
from .gpu import cli as gpu
from .halo import HaloError, as_json, measure, smallest_good
from .machine import machine
from .publishing import add_options, target, where
from .roofline import cli as roofline
from .sections import read_results, sidecar_network, write_json
from .tiled import measure_tiled
from .torture import cli as torture

# The page shows the figures of this model; of others they are kept beside its.
EMBEDDED = "edsr_baseline_x3"
HALOS_PX = (0, 2, 4, 6, 8, 9, 10, 11, 12, 14, 16, 20, 24, 28, 32)
# The picture of seams: which photograph, how much of it, with which halos.
SEAMS_PICTURE, SEAMS_PX, SEAMS_HALOS_PX = 3, 192, (0, 4, 9)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m edsr_perf", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    halo = commands.add_parser("halo", help="what a small halo costs in quality; renders docs/tiling.md")
    halo.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    halo.add_argument("--model", default=EMBEDDED)
    halo.add_argument("--render-only", action="store_true", help="render the page from the figures that are kept")
    add_options(halo)
    halo.set_defaults(run=_halo)
    tiled = commands.add_parser("tiled", help="a large tiled picture against the server's own throughput")
    tiled.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    tiled.add_argument("--url", help="host:port of a server (default: localhost)")
    tiled.add_argument("--protocol", choices=("http", "grpc"), default="http")
    tiled.add_argument("--side", type=int, default=2048, help="of the picture, LR pixels")
    tiled.add_argument("--tile", type=int, default=512)
    tiled.add_argument("--rounds", type=int, default=5)
    tiled.set_defaults(run=_tiled)
    sheet = commands.add_parser("contact-sheet", help="every kind of picture, before and after: docs/pictures.png")
    sheet.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    sheet.add_argument("--url", help="host:port of a server (default: localhost)")
    sheet.set_defaults(run=_contact_sheet)
    border.add_command(commands)
    fairness.add_command(commands)
    self_ensemble.add_command(commands)
    analyzer.add_commands(commands)
    int8_layers.add_command(commands)
    scaling.add_command(commands)
    folder.add_command(commands)
    gateway.add_command(commands)
    png_effort.add_command(commands)
    web_load.add_command(commands)
    memory.add_command(commands)
    baselines.add_command(commands)
    roofline.add_command(commands)
    gpu.add_command(commands)
    torture.add_command(commands)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        if (code := known(error)) is None:
            return unforeseen(error, "edsr_perf")
        sys.stderr.write(f"error: {error}\n")
        return code


def _halo(args: argparse.Namespace) -> int:
    built = args.root / "model_repository" / args.model / "1"
    if not args.render_only:
        if not (built / "model.onnx").is_file():
            print(f"error: {args.model} is not built. Run `make onnx`.", file=sys.stderr)
            return 3
        result = _measured(args, built)
        path = target(args.root, f"halo-{args.model}", result, args.publish)
        write_json(path, result)
        print(where(path, args.publish))
    if args.model != EMBEDDED:
        return 0
    if args.publish:
        _draw_seams(args, built)
    if args.publish or args.render_only:
        halo_page.write(read_results(args.root, f"halo-{args.model}-*.json"), args.root / "docs")
        print(f"wrote docs/{halo_page.PAGE}")
    return 0


def _measured(args: argparse.Namespace, built: Path) -> dict[str, object]:
    import onnx
    from edsr_conversion.runtimes import openvino_runner

    network = sidecar_network(built, "scale", "halo_px")
    run = openvino_runner(onnx.load(built / "model.onnx"))
    pictures = photographs()
    exact = int(network["halo_px"])
    halos = [*(halo for halo in HALOS_PX if halo < exact), exact]
    pixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures)
    print(f"{args.model}: {len(pictures)} pictures, {pixels:,} pixels, halos up to {exact}", flush=True)
    errors = measure(run, int(network["scale"]), pictures, halos, _tell)
    return {
        "model": args.model,
        "exact_halo_px": exact,
        "smallest_good_halo_px": smallest_good(errors),
        "pictures": len(pictures),
        "pixels": pixels,
        "precision": "fp32",
        "errors": as_json(errors),
        "machine": machine(),
    }


def _draw_seams(args: argparse.Namespace, built: Path) -> None:
    import onnx
    from edsr_conversion.runtimes import openvino_runner

    network = sidecar_network(built, "scale", "halo_px")
    picture = photographs()[SEAMS_PICTURE][:SEAMS_PX, :SEAMS_PX]
    halo_page.draw_seams(
        openvino_runner(onnx.load(built / "model.onnx")),
        int(network["scale"]),
        np.ascontiguousarray(picture),
        SEAMS_HALOS_PX,
        args.root / "docs" / halo_page.SEAMS,
    )


def _tiled(args: argparse.Namespace) -> int:
    from edsr_client import EdsrError, Upscaler

    picture = np.random.default_rng(0).integers(0, 256, (args.side, args.side, 3), dtype=np.uint8)
    try:
        with Upscaler(args.url, args.protocol) as upscaler:
            run = measure_tiled(upscaler, picture, args.tile, args.rounds, lambda line: print(line, flush=True))
            model = upscaler.model_info()
    except EdsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    results = args.root / "perf" / "results" / f"tiled-{model.name}-{args.protocol}.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    facts = {"model": model.name, "precision": model.inference_precision, "protocol": args.protocol}
    results.write_text(json.dumps({**facts, **asdict(run), "machine": machine()}, indent=1) + "\n", "utf-8")
    print(f"{run.share:.1%} of the server's throughput on the same tiles ({run.tiles} of {run.tile}); wrote {results}")
    return 0


def _contact_sheet(args: argparse.Namespace) -> int:
    from edsr_client import EdsrError, Upscaler

    from .contact_sheet import make

    target = args.root / "docs" / "pictures.png"
    try:
        with Upscaler(args.url) as upscaler:
            make(upscaler, args.root / "demo" / "photograph.png", target)
    except EdsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {target}")
    return 0


def photographs() -> list[NDArray[np.uint8]]:
    """The held-out photographs as they are, sharp and noisy as cameras make them, and reduced by 3, as in training."""
    from edsr_conversion.pictures import HELD_OUT, pictures
    from PIL import Image

    found = []
    for _, picture in pictures(HELD_OUT):
        size = (picture.shape[1] // 3, picture.shape[0] // 3)
        found += [picture, np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))]
    return found


def _tell(error: HaloError) -> None:
    psnr = f"{error.psnr_db:.1f} dB" if error.psnr_db else "equal"
    print(f"halo {error.halo_px:3}: at most {error.max_levels} level(s), {psnr}", flush=True)
