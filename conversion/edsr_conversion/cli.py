"""The command line of the conversion: inspect, onnx, fetch, synthesize, configs; gpu/cli.py adds those about GPUs."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edsr_serving.arguments import Parser
from edsr_serving.edge import unforeseen

from . import catalogue, repository
from .catalogue import Model
from .convert import Conversion, convert, up_to_date, write_atomically
from .errors import CatalogueError, ConversionError, GraphNotFoundError
from .fetch import fetch
from .gpu import cli as gpu_cli
from .gpu.cards import load_cards
from .graph_reader import FrozenGraph, read_bytes, read_graph
from .json_text import json_text
from .opencv_model import check_places, convert_for_opencv, opencv_up_to_date

PUBLISHED = "edsr_x3"
EXAMPLES = """\
examples:
  python -m edsr_conversion inspect models/edsr_baseline_x3.pb
  python -m edsr_conversion onnx                      every model of models.toml whose graph is present
  python -m edsr_conversion onnx EDSR_x4.pb -o out    one graph, into a folder
  python -m edsr_conversion opencv EDSR_x3.pb -o EDSR_x3.onnx
  python -m edsr_conversion fetch --from /mnt/EDSR_x3.pb
  python -m edsr_conversion synthesize --blocks 32 --filters 256 twin.pb
  python -m edsr_conversion plan --gpu t4
  python -m edsr_conversion engines --gpu a10g --model edsr_x3
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit code. Errors a user can act on are one line on standard error."""
    args = _parser().parse_args(argv)
    _quieten()
    try:
        code: int | None = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        return unforeseen(error, "edsr_conversion")
    except KeyboardInterrupt:
        print("interrupted; nothing was left half written", file=sys.stderr)
        return 130
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="edsr_conversion",
        description="EDSR frozen TensorFlow graphs into ONNX models and TensorRT engines, proven to compute the same.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root (default: current folder)")
    commands = parser.add_subparsers(required=True, metavar="command")

    inspect = commands.add_parser("inspect", help="say what a graph is")
    inspect.add_argument("graph", type=Path, metavar="PB")
    inspect.add_argument("--json", action="store_true", help="machine-readable output")
    inspect.set_defaults(run=_inspect)

    onnx = commands.add_parser("onnx", help="convert a graph, or every model of models.toml, to ONNX")
    onnx.add_argument("graph", type=Path, metavar="PB", nargs="?", help="a graph; without one, models.toml is followed")
    onnx.add_argument("-o", "--out", type=Path, help="folder for model.onnx and model.json (with PB)")
    onnx.add_argument("--model", action="append", default=[], help="only this model of models.toml; may be repeated")
    onnx.set_defaults(run=_onnx)

    opencv = commands.add_parser("opencv", help="convert a graph to ONNX for OpenCV's own dnn_superres, 5.1 and newer")
    opencv.add_argument("graph", type=Path, metavar="PB")
    opencv.add_argument(
        *("-o", "--out"),
        type=Path,
        required=True,
        metavar="ONNX",
        help="file to write, EDSR_x3.onnx, and beside it EDSR_x3.onnx.json, which says what it was made of; "
        "what is there is replaced",
    )
    opencv.set_defaults(run=_opencv)

    bring = commands.add_parser("fetch", help="bring EDSR_x3.pb, verified")
    bring.add_argument("--from", dest="source", type=Path, help="take this file instead of downloading")
    bring.add_argument("--model", default=PUBLISHED)
    bring.set_defaults(run=_fetch)

    synthesize = commands.add_parser("synthesize", help="write a graph with random weights and the published structure")
    synthesize.add_argument("graph", type=Path, metavar="PB")
    for name, default in (("blocks", 32), ("filters", 256), ("scale", 3), ("seed", 0)):
        synthesize.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    synthesize.add_argument("--float", dest="quantized", action="store_false", help="float32 instead of 8-bit weights")
    synthesize.set_defaults(run=_synthesize)

    configs = commands.add_parser("configs", help="render model_repository from models.toml and gpus.toml")
    configs.set_defaults(run=_configs)
    gpu_cli.add_commands(commands)
    return parser


def _inspect(args: argparse.Namespace) -> None:
    graph = read_graph(args.graph)
    facts = describe(graph, _published(args.root))
    if args.json:
        print(json_text(facts))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        text = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        print(
            f"{key.replace('_', ' '):{width}}  {text:,}"
            if type(value) is int
            else f"{key.replace('_', ' '):{width}}  {text}"
        )


def describe(graph: FrozenGraph, published: Model | None) -> dict[str, Any]:
    """What `inspect` says of a graph; `published` is the catalogue's entry for EDSR_x3.pb, if there is one."""
    network = graph.network
    return {
        "file": str(graph.path),
        "size_bytes": graph.size_bytes,
        "sha256": graph.sha256,
        "blocks": len(network.blocks),
        "filters": network.filters,
        "scale": network.scale,
        "residual_scale": round(network.residual_scale, 6),
        "parameters": network.parameters,
        "flop_per_lr_pixel": network.flop_per_lr_pixel,
        "halo_px": network.halo_px,
        "quantized": graph.quantized,
        "published_edsr_x3": published is not None and graph.sha256 == published.sha256,
    }


def _published(root: Path) -> Model | None:
    try:
        return catalogue.load_models(root).get(PUBLISHED)
    except CatalogueError:
        return None  # inspecting a file needs no repository


def _onnx(args: argparse.Namespace) -> None:
    if args.graph is not None:
        if args.out is None or args.model:
            raise CatalogueError("`onnx PB` needs `-o DIR` and takes no --model.")
        _convert(args.graph, args.out, args.graph.stem)
        return
    if args.out is not None:
        raise CatalogueError("`-o DIR` goes with `onnx PB`; the models of models.toml have their places.")
    models = catalogue.select(catalogue.load_models(args.root), args.model)
    failed: ConversionError | None = None
    present = [model for model in models if model.graph.exists()]
    for model in models:
        if model not in present:
            print(
                f"{model.name}: no graph at {model.graph}, skipped" + (" (`make fetch` brings it)" if model.url else "")
            )
    if not present:
        raise GraphNotFoundError("No graph to convert. `make fetch` brings EDSR_x3.pb.")
    for model in present:
        try:
            _convert(model.graph, args.root / "model_repository" / model.name / "1", model.name, model)
        except ConversionError as error:  # the other models are built all the same
            if failed is not None:
                print(f"error: {failed}", file=sys.stderr)
            failed = error
    if failed is not None:
        raise failed


def _convert(path: Path, out: Path, name: str, listed: Model | None = None) -> None:
    started = time.monotonic()
    digest = hashlib.sha256(read_bytes(path)).hexdigest()
    # Without TensorFlow, whose import takes longer than all the rest.
    if (listed is None or digest == listed.sha256) and (existing := up_to_date(digest, out, name)):
        if listed is not None:
            listed.check_network(existing.sidecar["network"])
        print(f"{name}: {existing.model} is up to date")
        return
    _step(f"reading {path}")
    graph = read_graph(path)
    if listed is not None:
        listed.check(graph)
    _report(convert(graph, out, name, _step), time.monotonic() - started)


def _opencv(args: argparse.Namespace) -> None:
    started = time.monotonic()
    check_places(args.graph, args.out)
    digest = hashlib.sha256(read_bytes(args.graph)).hexdigest()
    conversion = opencv_up_to_date(digest, args.out, args.graph.stem)
    if conversion is not None:  # found without TensorFlow, as above
        print(f"{args.graph.stem}: {args.out} is up to date")
    else:
        _step(f"reading {args.graph}")
        conversion = convert_for_opencv(read_graph(args.graph), args.out, _step)
        _report(conversion, time.monotonic() - started)
    scale = conversion.sidecar["network"]["scale"]
    print(f'  cv2.dnn_superres of OpenCV 5.1 and newer: readModel("{args.out}"), setModel("edsr", {scale})')


def _step(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _report(conversion: Conversion, seconds: float) -> None:
    sidecar = conversion.sidecar
    parity, network = sidecar["parity"], sidecar["network"]
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{sidecar['name']}: wrote {conversion.model} "
        f"({network['blocks']} blocks x {network['filters']} filters, x{network['scale']}, {sidecar['precision']})\n"
        f"  parity with TensorFlow on {parity['inputs']} inputs: float {parity['float_max_difference']:.1e}, "
        f"uint8 at most {parity['uint8_max_difference']} level on {parity['uint8_differing_fraction']:.4%} of values\n"
        f"  {seconds:.0f} s, {peak_gb:.1f} GiB at most"
    )


def _fetch(args: argparse.Namespace) -> None:
    (model,) = catalogue.select(catalogue.load_models(args.root), [args.model])
    print(f"{fetch(model, args.source)}: present and verified")


def _synthesize(args: argparse.Namespace) -> None:
    from .graph_writer import graph_def
    from .synthetic import random_network

    try:
        network = random_network(args.blocks, args.filters, args.scale, args.seed)
    except (ValueError, MemoryError) as error:
        raise CatalogueError(f"{error}.") from None
    try:
        write_atomically(args.graph, graph_def(network, quantized=args.quantized).SerializeToString())
    except OSError as error:
        raise ConversionError(f"Cannot write {args.graph}: {error.strerror}.") from None
    print(f"{args.graph}: {network.parameters:,} parameters")


def _configs(args: argparse.Namespace) -> None:
    folder = args.root / "model_repository"
    models = catalogue.load_models(args.root).values()
    files = repository.render(models, load_cards(args.root).values(), folder)
    for path in repository.stale(files, folder):
        repository.remove(path)
        print(f"removed {path}: its model or card is not listed any more")
    changed = repository.write(files)
    repository.ignore_own(args.root)
    print("\n".join(f"wrote {path}" for path in changed) or f"all {len(files)} configurations are up to date")


def _quieten() -> None:
    """TensorFlow and tf2onnx speak of GPUs and deprecations that nobody here can act on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # also makes TensorFlow's own kernels the reference
    for name in ("tensorflow", "tf2onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"tf2onnx|tensorflow|keras")
