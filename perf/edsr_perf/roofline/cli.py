"""``python -m edsr_perf roofline``: the physical limit of this processor and of the cards, and what is reached."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..baselines.cli import shapes_of
from ..errors import MissingModelError, PerfError, reported
from ..publishing import add_options, target, where
from ..sections import read_results, write_json

if TYPE_CHECKING:
    from edsr_conversion.gpu.cards import Card
    from edsr_conversion.gpu.planner import NetworkSize

    from .peaks import Peak

SHAPES = "256x256,512x512"
CARD_SHAPES = [(512, 512), (1024, 1024)]


def add_command(commands: Any) -> None:
    """Add the command to an argparse sub-parser action."""
    parser = commands.add_parser(
        "roofline", help="the physical limit of this processor and of cards, and what is reached"
    )
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.add_argument("--shapes", type=shapes_of, default=shapes_of(SHAPES), help=f"LR pixels; default {SHAPES}")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each; default %(default)s")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--gpu", help="print the limits of a card of gpus.toml instead; nothing is measured")
    which.add_argument("--all", action="store_true", help="the same for all cards")
    which.add_argument("--render-only", action="store_true", help="render the page from the figures that are kept")
    parser.add_argument("--results", type=Path, help="folder for the JSON file")
    add_options(parser)
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    from . import page

    if args.gpu or args.all:
        print(_cards_in_words(args))
        return 0
    if args.render_only:
        for result in read_results(args.root, "roofline-*.json"):
            path = target(args.root, f"roofline-{result['model']}", result, True, args.results)
            write_json(path, result | datasheets(args.root, result["model"]))
    else:
        result = _measured(args) | datasheets(args.root, args.model)
        path = target(args.root, f"roofline-{args.model}", result, args.publish, args.results)
        write_json(path, result)
        print(where(path, args.publish))
    if (args.publish or args.render_only) and args.results is None:
        print("wrote " + ", ".join(map(str, page.write(args.root))))
    return 0


def datasheets(root: Path, model: str) -> dict[str, Any]:
    """What follows from gpus.toml and models.toml alone: limits of whole cards, and the claims judged."""
    from edsr_conversion.gpu.cards import load_cards
    from edsr_conversion.gpu.sizing import is_slice

    from .limits import card_limits, judge_all

    cards = {key: card for key, card in load_cards(root, local=False).items() if not is_slice(card)}
    size = network(root, model)
    return {
        "cards": [card_limits(card, size, CARD_SHAPES) for card in cards.values()],
        "claims": judge_all(cards, claimed_networks(root)),
    }


def network(root: Path, model: str) -> NetworkSize:
    """The size of a model of models.toml."""
    from edsr_conversion.catalogue import load_models, select
    from edsr_conversion.repository import network_size

    (found,) = select(load_models(root), [model])
    return network_size(found)


def claimed_networks(root: Path) -> dict[str, NetworkSize]:
    """The committed networks, one of each size: the replaced service's claims do not say which one they are of."""
    from edsr_conversion.catalogue import load_models
    from edsr_conversion.repository import by_size

    return {models[0].name: size for size, models in by_size(load_models(root, local=False).values()).items()}


def _cards_in_words(args: argparse.Namespace) -> str:
    from edsr_conversion.gpu.cards import load_cards, select

    from . import page
    from .limits import card_limits, judge_all

    cards = load_cards(args.root)
    chosen: dict[str, Card] = cards if args.all else {(card := select(cards, args.gpu)).key: card}
    size = network(args.root, args.model)
    limits = [card_limits(card, size, args.shapes) for card in chosen.values()]
    text = f"{args.model} at the limit of the datasheet; not measured on a card\n\n{page.card_table(limits)}"
    claims = judge_all(chosen, claimed_networks(args.root))
    return text + (f"\nWhat the service being replaced claims\n\n{page.claims_table(claims)}" if claims else "")


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    from edsr_serving.cpu import usable_cpus

    from ..gpu.matrix import peaks_here
    from ..machine import machine
    from . import peaks
    from .limits import rounded

    built = args.root / "model_repository" / args.model / "1"
    size, threads = network(args.root, args.model), usable_cpus()
    if not (built / "model.onnx").is_file():
        raise MissingModelError(f"{args.model} is not built. Run `make onnx MODEL={args.model}`.")
    if args.rounds < 1:
        raise PerfError("--rounds must be at least 1.")
    bytes_s = peaks.bandwidth_bytes_s(threads)
    print(f"copying memory: {bytes_s / 1e9:.1f} GB/s", flush=True)
    found: list[peaks.Peak] = []
    rows: list[dict[str, Any]] = []
    for precision in peaks.native_precisions():
        reached, seconds = _in_turns(built, precision, args.shapes, threads, size.flop_per_px, args.rounds)
        found += reached
        best = peaks.best(found)[precision]
        print(f"{precision}: {best['flop_s'] / 1e9:,.0f} GFLOP/s ({best['what']})", flush=True)
        for (height, width), took in seconds.items():
            rows.append(_row(size, precision, (height, width), took, best["flop_s"], bytes_s))
            print(f"  {height}x{width}: {took * 1e3:,.1f} ms, {rows[-1]['reached']:.0%} of the limit", flush=True)
    return {
        "model": args.model,
        "network": asdict(size),
        "threads": threads,
        "rounds": args.rounds,
        "bandwidth_bytes_s": rounded(bytes_s),
        "benchmarks": [asdict(peak) | {"flop_s": rounded(peak.flop_s)} for peak in found],
        "peaks": {p: best | {"flop_s": rounded(best["flop_s"])} for p, best in peaks.best(found).items()},
        "served": rows,
        "gpu": peaks_here(),
        "machine": machine(),
    }


def _in_turns(
    built: Path, precision: str, shapes: list[tuple[int, int]], threads: int, flop_per_px: int, rounds: int
) -> tuple[list[Peak], dict[tuple[int, int], float]]:
    """What each benchmark reached at its fastest, and the served model's median seconds by shape, if it is there."""
    from .peaks import Peak, benchmarks, take_turns
    from .served import file_of, served

    works = benchmarks(precision, threads)
    there = shapes if file_of(built, precision).is_file() else []
    if there:
        works = [*works, *served(built, precision, shapes, threads, flop_per_px)]
    seconds = take_turns(works, rounds)
    count = len(works) - len(there)
    found = [
        Peak(precision, work.what, work.flop / min(took))
        for work, took in zip(works[:count], seconds[:count], strict=True)
    ]
    return found, {shape: median(took) for shape, took in zip(there, seconds[count:], strict=True)}


# The planner's name of a precision whose feature maps take as many bytes.
SAME_SIZE = {"f32": "fp32", "bf16": "fp16", "int8": "int8"}


def _row(
    size: NetworkSize, precision: str, shape: tuple[int, int], seconds: float, flop_s: float, bytes_s: float
) -> dict[str, Any]:
    from .limits import ELEMENT_BYTES, limit, minimum_bytes, rounded

    px, element = shape[0] * shape[1], ELEMENT_BYTES[precision]
    bound = limit(size, px, element, flop_s, bytes_s)
    return {
        "precision": precision,
        "shape": list(shape),
        "flop": px * size.flop_per_px,
        "minimum_bytes": minimum_bytes(size, px, element),
        "layer_bytes": px * size.traffic_per_px(SAME_SIZE[precision]),
        "limit_s": rounded(bound.seconds),
        "bound_by": bound.bound_by,
        "measured_s": rounded(seconds),
        "reached": rounded(bound.seconds / seconds),
    }
