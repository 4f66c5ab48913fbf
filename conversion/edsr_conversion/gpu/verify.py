"""An engine on its card: parity with float32, memory and latency, beside what was planned. Needs the GPU."""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edsr_serving.edge import DAMAGED
from edsr_serving.gpu import selection
from edsr_serving.variants import Variant
from numpy.typing import NDArray

from ..convert import MODEL_FILE, folder_lock, write_file
from ..derive import Derived
from ..errors import CardError, EngineError, ParityError
from ..json_text import json_text, read_json
from ..precision_check import MIN_PSNR_DB, check_inputs
from .engine import describe, paths
from .flavours import MODULES, RTX, Toolbox, is_card
from .planner import MIB, Plan, times

if TYPE_CHECKING:
    from edsr_serving.gpu.runner import EngineRunner

Upscale = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Measured:
    """What the card showed: bytes, seconds (medians, copies included), levels and dB."""

    memory_bytes: int
    context_bytes: tuple[int, ...]
    load_s: float
    latencies_s: dict[str, float]
    psnr_db: float
    max_difference: int


def verify(
    onnx: Derived, plan: Plan, flavour: str, toolbox: Toolbox, repeat: int, report: Callable[[str], None]
) -> str:
    """Measure an engine, write <variant>.verify.json beside it, and return the comparison as text.

    Raises:
        CardError: the card is not in this machine.
        EngineError: there is no such engine, or it is damaged or stale, or does not load.
        ParityError: it is too far from float32; the figures are written all the same.
    """
    device = next((d for d in toolbox.devices if is_card(d, plan.card)), None)
    if device is None:
        here = ", ".join(f"{d.name} ({d.vram_mib:,} MiB)" for d in toolbox.devices) or "no NVIDIA GPU"
        raise CardError(
            f"Verifying needs {plan.card.name} itself ({plan.card.vram_mib:,} MiB); this machine has {here}."
        )
    selection.use((device,))  # which is CUDA's device 0 from here on
    path, sidecar_path = paths(onnx.path.parent, plan, flavour)
    sidecar = check_artefact(path, sidecar_path, onnx, plan, flavour)
    from edsr_serving.gpu.host import CudaError

    try:
        measured = _measure(path, MODULES[flavour], device.uuid, onnx, plan, repeat, report)
    except CudaError as error:
        raise EngineError(f"{path} does not run on {device.name}: {error}.") from None
    result = {
        "name": sidecar["name"],
        "engine": sidecar["engine"],
        "flavour": flavour,
        "version": sidecar["version"],
        "device": asdict(device),
        "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "repeat": repeat,
        "planned": describe(plan),
        "measured": asdict(measured),
    }
    out = path.with_suffix(".verify.json")
    with folder_lock(out.parent):
        write_file(out, json_text(result).encode() + b"\n")
    if not measured.psnr_db >= MIN_PSNR_DB:
        raise ParityError(
            f"{path.name} is {measured.psnr_db:.1f} dB from float32 on real pictures, {MIN_PSNR_DB:g} are required. Do "
            f"not serve it; build it with fp32. The figures are in {out}."
        )
    return f"{comparison(sidecar['name'], plan, measured)}\nwrote {out}"


def check_artefact(path: Path, sidecar_path: Path, onnx: Derived, plan: Plan, flavour: str) -> dict[str, Any]:
    """The sidecar of an engine that is whole, and made of this ONNX file by this plan.

    Raises:
        EngineError: it is missing, damaged, or made of something else; the message has the command.
    """
    target = "engines" if flavour == RTX else "engines-container"
    options = Variant(plan.card.key, plan.precision).make_options
    again = f"`make {target} {options} MODEL={onnx.path.parent.parent.name}` builds it"
    try:
        sidecar: dict[str, Any] = read_json(sidecar_path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        intact, same_onnx = sidecar["engine"]["sha256"] == digest, sidecar["onnx"]["sha256"] == onnx.sha256
        same_plan = ranges_of(sidecar["plan"]["profiles"]) == ranges_of(describe(plan)["profiles"])
    except FileNotFoundError:
        raise EngineError(f"There is no {path} with its sidecar: {again}.") from None
    except DAMAGED:
        raise EngineError(f"The sidecar {sidecar_path} is damaged: {again}.") from None
    if not intact:
        raise EngineError(f"{path} is not the file its sidecar describes: {again}.")
    if not same_onnx:
        raise EngineError(f"{path} was built from an older {onnx.path.name}: {again}.")
    if not same_plan:
        raise EngineError(f"{path} was built for another plan than today's: {again}.")
    return sidecar


def ranges_of(profiles: Sequence[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Smallest and largest shape of every profile in a sidecar: what it is tuned for is its builder's choice."""
    return [(profile["min"], profile["max"]) for profile in profiles]


def comparison(name: str, plan: Plan, measured: Measured) -> str:
    """Measured beside planned, as text."""
    lines = [
        f"{name} on {plan.card.name}: {measured.psnr_db:.1f} dB against fp32, "
        f"at most {measured.max_difference} level(s)",
        f"  memory   {measured.memory_bytes / MIB:,.0f} MiB measured, {plan.total_bytes / MIB:,.0f} planned "
        f"({measured.memory_bytes / plan.total_bytes:.0%})",
    ]
    contexts, planned = (
        ", ".join(f"{size / MIB:,.0f}" for size in sizes) for sizes in (measured.context_bytes, plan.context_sizes)
    )
    lines.append(f"  contexts {contexts} MiB, {planned} planned")
    for shape, seconds in measured.latencies_s.items():
        height, width = map(int, shape.split("x"))
        limit, expected, copies = times(plan.card, plan.network, plan.precision, height * width, plan.assumptions)
        lines.append(
            f"  {shape:9} {seconds * 1e3:,.1f} ms; {(expected + copies) * 1e3:,.1f} expected, "
            f"{limit * 1e3:,.1f} at the limit ({limit / seconds:.0%} of the peak)"
        )
    return "\n".join(lines)


def compare(
    reference: Upscale, engine: Upscale, inputs: Iterator[tuple[str, bool, NDArray[np.uint8]]]
) -> tuple[float, int]:
    """(PSNR in dB on real pictures, 999 if equal; largest difference in levels on any input) of two upscalers."""
    squares, values, worst = 0, 0, 0
    for _, is_real, image in inputs:
        levels = np.abs(reference(image).astype(np.int64) - engine(image))
        worst = max(worst, int(levels.max()))
        if is_real:
            squares += int((levels**2).sum())
            values += levels.size
    return (10 * math.log10(255**2 * values / squares) if squares else 999.0), worst


def shapes_to_time(plan: Plan) -> list[tuple[int, int]]:
    """Every profile's largest shape, and squares of everyday sizes that fit."""
    everyday = [(side, side) for side in (64, 256, 512, 1024) if plan.fits(side, side)]
    return list(dict.fromkeys([*everyday, *(profile.max_hw for profile in plan.profiles)]))


def _measure(
    path: Path, module: str, uuid: str, onnx: Derived, plan: Plan, repeat: int, report: Callable[[str], None]
) -> Measured:
    import onnx as onnx_package
    from edsr_serving.gpu.devices import used_bytes
    from edsr_serving.gpu.runner import EngineRunner

    from ..runtimes import openvino_runner

    before = used_bytes(uuid)
    report(f"loading {plan.instances} instance(s) of {path.name}")
    started = time.perf_counter()
    runners = [EngineRunner(path, module, cuda_graphs=plan.cuda_graphs, eager=True) for _ in range(plan.instances)]
    load_s = time.perf_counter() - started
    try:
        latencies, peak = {}, 0
        for height, width in shapes_to_time(plan):
            report(f"timing {height}x{width}")
            latencies[f"{height}x{width}"] = _latency(runners, height, width, repeat)
            peak = max(peak, used_bytes(uuid) - before)
        report("comparing with fp32")
        reference = openvino_runner(onnx_package.load(onnx.path.parent / MODEL_FILE))
        psnr, worst = compare(reference, runners[0].run, check_inputs())
        return Measured(peak, runners[0].context_bytes(), load_s, latencies, psnr, worst)
    finally:
        for runner in runners:
            runner.close()


def _latency(runners: Sequence[EngineRunner], height: int, width: int, repeat: int) -> float:
    """Median seconds of one picture of noise on the first instance; every instance has run it once, to warm up."""
    image = np.random.default_rng(height * width).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    for runner in runners:
        runner.run(image)
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        runners[0].run(image)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
