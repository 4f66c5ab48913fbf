"""``python -m edsr_perf gpu``: everything that can be measured of the NVIDIA GPU in this machine, in some minutes."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingModelError, PerfError, reported
from ..sections import write_json
from .steps import FAILED, Clock, SkipStep, Step, run_steps

if TYPE_CHECKING:
    from edsr_conversion.gpu.cards import Card
    from edsr_conversion.gpu.planner import NetworkSize
    from edsr_serving.gpu.devices import Device

# No step is begun that is expected to end later than this.
LIMIT_S, BUILDING_S = 420.0, 60.0
PRECISION = "fp16"


def add_command(commands: Any) -> None:
    """Add the command to an argparse sub-parser action."""
    parser = commands.add_parser("gpu", help="measure the NVIDIA GPU in this machine; fails where there is none")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.add_argument(
        "--random-weights", action="store_true", help="the reference alone, of a network of the model's size"
    )
    parser.add_argument("--seconds", type=float, default=LIMIT_S, help="that it may take; default %(default)g")
    parser.add_argument("--results", type=Path, help="folder for the JSON file; default perf/results")
    parser.add_argument("--device", default="", help="index or UUID of the GPU (`make gpus`); default: the first")
    parser.add_argument("--render-only", action="store_true", help="render the page from the figures that are kept")
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    from . import page

    failed, path = [], None
    if not args.render_only:
        result = measure(args.root, args.model, args.seconds, args.random_weights, args.device)
        path = (args.results or args.root / "perf" / "results") / f"gpu-{result['card']['key']}-{args.model}.json"
        write_json(path, result)
        print(f"wrote {path}")
        failed = [name for name, outcome in result["steps"].items() if outcome["status"] == FAILED]
    if args.results is None:
        print(f"wrote {page.write(args.root)}")
    if failed:
        raise PerfError(f"Not everything could be measured ({', '.join(failed)} failed); the reasons stand in {path}.")
    return 0


def measure(root: Path, model: str, limit_s: float, random_weights: bool = False, device: str = "") -> dict[str, Any]:
    """All steps on one GPU, as JSON of the form of `result`.

    Args:
        root: the repository.
        model: a table of models.toml.
        limit_s: seconds that it may take.
        device: index or UUID of the GPU; "" for the first.
        random_weights: measure a network of the model's size whose graph is not at hand; there is no engine of it.

    Raises:
        NoGpuError: there is no GPU.
        MissingModelError: model.onnx is not built.
        ConversionError: models.toml or gpus.toml does not go with it.
    """
    from edsr_conversion.catalogue import load_models, select
    from edsr_conversion.gpu.cards import load_cards
    from edsr_conversion.gpu.nvml import detect
    from edsr_conversion.repository import network_size
    from edsr_serving.gpu.selection import use

    from ..machine import machine
    from . import result
    from .found import gpus

    if limit_s <= 0:
        raise PerfError("--seconds must be positive.")
    devices = gpus(device)[:1]
    use(devices)  # before anything starts CUDA
    (found,) = select(load_models(root), [model])
    onnx = root / "model_repository" / model / "1" / "model.onnx"
    if not onnx.is_file() and not random_weights:
        raise MissingModelError(f"{model} is not built. Run `make onnx MODEL={model}`, or bring {onnx}.")
    card, clock = detect(load_cards(root).values(), devices), Clock(limit_s)
    size = network_size(found)
    steps = random_steps(size, clock) if random_weights else steps_of(root, model, onnx, card, devices, clock)
    outcomes = run_steps(steps, clock, lambda line: print(line, flush=True))
    return {
        "format": result.FORMAT,
        "model": model,
        "card": asdict(card),
        "device": asdict(devices[0]),
        "network": asdict(size),
        "steps": outcomes,
        "limits_s": limits(card, size, outcomes) if has_peaks(card, devices[0]) else {},
        "machine": machine(),
    }


def steps_of(root: Path, model: str, onnx: Path, card: Card, devices: tuple[Device, ...], clock: Clock) -> list[Step]:
    """What is done, in its order."""
    from .engines import Engines

    engines = Engines(root, model, card, _toolbox(devices), PRECISION, lambda line: print(f"  {line}", flush=True))
    return [
        Step("matrix product", _matrix_product, 10),
        Step("engine", engines.build, BUILDING_S),
        Step("verify", engines.verify, engines.verify_s()),
        Step("concurrency", engines.concurrency, engines.concurrency_s()),
        Step("reference", lambda: reference(onnx, clock), 20),
    ]


def random_steps(size: NetworkSize, clock: Clock) -> list[Step]:
    """The matrix product and the reference; what needs a graph says that there is none."""

    def without_graph() -> dict[str, Any]:
        raise SkipStep("random weights: there is no graph to build an engine of")

    def by_torch() -> dict[str, Any]:
        require_torch()
        from . import reference
        from .torch_network import random_weights

        return {"weights": "random", **reference.measure(random_weights(size), clock)}

    needs_graph = [Step(name, without_graph, 0) for name in ("engine", "verify", "concurrency")]
    return [Step("matrix product", _matrix_product, 10), *needs_graph, Step("reference", by_torch, 20)]


def require_torch() -> None:
    """Raise SkipStep unless PyTorch is there and finds a GPU."""
    if not importlib.util.find_spec("torch"):
        raise SkipStep("PyTorch is not installed")
    import torch

    if not torch.cuda.is_available():
        raise SkipStep("PyTorch finds no GPU")


def reference(onnx: Path, clock: Clock) -> dict[str, Any]:
    """The network through PyTorch and cuDNN, checked against itself in float32 on the CPU.

    Raises:
        SkipStep: no PyTorch, or one without CUDA.
    """
    require_torch()
    from edsr_conversion.parity import real_pictures
    from edsr_conversion.precision_check import MIN_PSNR_DB

    from . import reference as by_torch
    from .torch_network import read_weights

    weights = read_weights(onnx)
    if importlib.util.find_spec("cv2"):
        picture = next(real_pictures())
    else:
        import numpy as np

        picture = np.random.default_rng(0).integers(0, 256, (1, 61, 47, 3), dtype=np.uint8)
    psnr_db, levels = by_torch.difference_from_float32(weights, picture, "cuda")
    if psnr_db is not None and psnr_db < MIN_PSNR_DB:
        raise PerfError(f"fp16 by PyTorch is {psnr_db} dB from float32, {MIN_PSNR_DB:g} are required")
    return {"psnr_db": psnr_db, "max_levels": levels, **by_torch.measure(weights, clock)}


def limits(card: Card, size: NetworkSize, outcomes: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Seconds at the datasheet's fp16 peak for every shape that was timed, engine or reference."""
    from ..roofline.limits import ELEMENT_BYTES, limit, peaks_of, rounded

    shapes = [
        *outcomes["verify"].get("result", {}).get("measured", {}).get("latencies_s", {}),
        *outcomes["reference"].get("result", {}).get("shapes", {}),
    ]
    peak, found = peaks_of(card)[PRECISION], {}
    for shape in dict.fromkeys(shapes):
        height, width = map(int, shape.split("x"))
        bound = limit(size, height * width, ELEMENT_BYTES[PRECISION], peak, card.bandwidth_gb_s * 1e9)
        found[shape] = rounded(bound.seconds)
    return found


def has_peaks(card: Card, device: Device) -> bool:
    """Whether a card's peaks are known: it is listed, or its driver told its cores and clocks."""
    return bool(device.driver) or (device.name in card.nvml_names and not card.source.startswith("read from"))


def _matrix_product() -> dict[str, Any]:
    from .matrix import peaks_here

    found = peaks_here()
    if "reason" in found:
        raise SkipStep(found["reason"])
    return found


def _toolbox(devices: tuple[Device, ...]) -> Any:
    from edsr_conversion.gpu.flavours import RTX, TENSORRT, Toolbox, version

    return Toolbox(version(TENSORRT), version(RTX), devices)
