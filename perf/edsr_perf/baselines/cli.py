"""``python -m edsr_perf baselines``: our server beside every other way to run the same network."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from ..errors import PerfError, reported
from ..publishing import add_options, target, where
from ..sections import write_json

SHAPES = "256x256,512x512"
# Logs of what was started, and the pictures that went to and fro.
LOGS = Path(".run/baselines")


def add_command(commands: Any) -> None:
    """Add the command to an argparse sub-parser action."""
    parser = commands.add_parser("baselines", help="the server against OpenCV, Flask, ONNX Runtime, OpenVINO, bicubic")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.add_argument("--shapes", type=shapes_of, default=shapes_of(SHAPES), help=f"LR pixels; default {SHAPES}")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; default %(default)s")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave one out; repeatable")
    parser.add_argument("--results", type=Path, help="folder for the JSON file")
    add_options(parser)
    parser.add_argument("--render-only", action="store_true", help="render the page from the figures that are kept")
    parser.set_defaults(run=reported(_run))


def shapes_of(text: str) -> list[tuple[int, int]]:
    """[(256, 256)] of "256x256"; several with commas."""
    parts = [re.fullmatch(r"(\d{1,5})x(\d{1,5})", part.strip()) for part in text.split(",")]
    if not all(parts) or any(int(side) < 1 for part in parts if part for side in part.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 256x256,512x512")
    return [(int(part[1]), int(part[2])) for part in parts if part]


def _run(args: argparse.Namespace) -> int:
    from . import page

    if not args.render_only:
        result = _measured(args)
        path = target(args.root, f"baselines-{args.model}", result, args.publish, args.results)
        write_json(path, result)
        print(where(path, args.publish))
    if (args.publish or args.render_only) and args.results is None:
        print(f"wrote {page.write(args.root)}")
    return 0


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    import openvino
    from edsr_serving.cpu import inference_precision, usable_cpus

    from ..machine import machine
    from .catalogue import compared
    from .contestants import subject_of
    from .measure import REFERENCE, measure

    if args.rounds < 1:
        raise PerfError("--rounds must be at least 1.")
    subject = subject_of(args.root, args.model, usable_cpus())
    served = inference_precision("auto", openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    native = tuple(dict.fromkeys(["f32", served])) + (("int8",) if subject.file_for("int8").is_file() else ())
    all_of_them = compared(served, native)
    names = [baseline.key for baseline in all_of_them]
    if unknown := sorted(set(args.without) - set(names)):
        raise PerfError(f"There is no baseline {unknown[0]!r}. There are: {', '.join(names)}.")
    if needed := {REFERENCE, "ours"} & set(args.without):
        raise PerfError(f"{min(needed)} cannot be left out: the others are compared with it.")
    chosen = [baseline for baseline in all_of_them if baseline.key not in args.without]
    folder = args.root / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(subject, chosen, args.shapes, args.rounds, folder, lambda line: print(line, flush=True))
    return {**found, "machine": machine()}
