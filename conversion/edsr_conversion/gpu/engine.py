"""One engine in the model repository: <variant>.plan and its sidecar <variant>.json, built if something changed."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edsr_serving.edge import DAMAGED
from edsr_serving.variants import Variant

from ..convert import folder_lock, write_file, write_pair
from ..derive import Derived
from ..errors import EngineError
from ..json_text import json_text, read_json
from .builder import Build, BuildOptions, Built, Progress, build
from .flavours import RTX
from .planner import MIB, Plan

# Raise when plans change for a reason that none of an identity's parts shows.
FORMAT = 1
# What only a build can tell.
BUILDER_FACTS = {"context_bytes", "weights_bytes", "convolutions", "seconds", "built_at", "built_on"}


@dataclass(frozen=True)
class Engine:
    """An engine file, whether it was built just now, what its sidecar says, and whether only that was written anew."""

    plan: Path
    built: bool
    sidecar: dict[str, Any]
    described_anew: bool = False


def paths(folder: Path, plan: Plan, flavour: str) -> tuple[Path, Path]:
    """Where an engine and its sidecar stand in a model's version folder."""
    name = Variant(plan.card.key, plan.precision, flavour).name
    return folder / f"{name}.plan", folder / f"{name}.json"


def build_engine(
    onnx: Derived,
    plan: Plan,
    flavour: str,
    version: str,
    options: BuildOptions = BuildOptions(),  # noqa: B008  frozen
    *,
    progress: Progress = lambda *_: None,
    report: Callable[[str], None] = lambda _: None,
    cache: Path | None = None,
    device: str = "",
) -> Engine:
    """The engine of `plan` beside `onnx`, built unless the one there was made of the same.

    A sidecar that says something else than it would today, of an engine that need not be built, is written anew.

    Args:
        onnx: the ONNX file of the plan's precision.
        plan: from `make_plan`.
        flavour, version: the TensorRT to use, and its version.
        options: of the builder.
        progress: called for every step of the builder.
        report: called with one line if another process must be waited for.
        cache: folder for timing caches and the builder's logs.
        device: name of the GPU it is built on, for the sidecar; "" where there is none.

    Raises:
        CannotBuildHereError, EngineError: see `build`; nothing was written.
        ConversionError: the files cannot be written; nothing half written is left.
    """
    path, sidecar_path = paths(onnx.path.parent, plan, flavour)
    request = Build(
        onnx=onnx.path.read_bytes(),
        profiles=plan.profiles,
        activations_bytes=plan.activations_bytes,
        workspace_bytes=plan.workspace_bytes,
        flavour=flavour,
        compute_capability=plan.card.compute_capability,
        options=options,
    )
    options.check(flavour)
    identity = _identity(request, version)

    def sidecar_of(content: bytes, builder: dict[str, Any]) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        return {
            "name": onnx.sidecar["name"],
            "identity": identity,
            "engine": {"file": path.name, "sha256": digest, "size_bytes": len(content)},
            **_origin(onnx, plan.following(builder["context_bytes"]), flavour, version, options),
            "builder": builder,
        }

    with folder_lock(path.parent, report):
        if engine := _existing(path, sidecar_path, sidecar_of):
            if engine.described_anew:
                write_file(sidecar_path, _json(engine.sidecar))
            return engine
        name = Variant(plan.card.key, plan.precision, flavour).name
        timing = cache / "timing" / f"{plan.card.key}-{version}.cache" if cache else None
        log = cache / "log" / f"{onnx.sidecar['name']}-{name}.log" if cache else None
        built = build(request, progress, timing, log)
        planned_with(plan, built.context_bytes)
        sidecar = sidecar_of(built.plan, _builder_facts(built, device))
        write_pair(path, built.plan, sidecar_path, _json(sidecar))
    return Engine(path, True, sidecar)


def _builder_facts(built: Built, device: str) -> dict[str, Any]:
    return {
        "context_bytes": list(built.context_bytes),
        "weights_bytes": built.weights_bytes,
        "convolutions": built.convolutions,
        "seconds": round(built.seconds, 2),
        "built_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "built_on": device or f"{platform.machine()} without a GPU",
    }


def _origin(onnx: Derived, plan: Plan, flavour: str, version: str, options: BuildOptions) -> dict[str, Any]:
    """The part of a sidecar that can be told without the engine."""
    return {
        "flavour": flavour,
        "version": version,
        "loads_in": _loads_in(flavour, version, options),
        "precision": plan.precision,
        "card": {
            "key": plan.card.key,
            "name": plan.card.name,
            "compute_capability": plan.card.compute_capability,
            "driver_names": list(plan.card.nvml_names),
        },
        "onnx": {"file": onnx.path.name, "sha256": onnx.sha256},
        "source": onnx.sidecar["source"],
        "parity": onnx.sidecar["parity"],
        "options": asdict(options),
        "plan": describe(plan),
    }


def _json(sidecar: dict[str, Any]) -> bytes:
    return json_text(sidecar).encode() + b"\n"


def describe(plan: Plan) -> dict[str, Any]:
    """A plan as JSON: sizes in bytes, times in seconds."""
    return {
        "card": plan.card.key,
        "precision": plan.precision,
        "flavour": plan.flavour,
        "blocks": plan.network.blocks,
        "filters": plan.network.filters,
        "scale": plan.network.scale,
        "profiles": [
            {"name": p.name, "min": [1, *p.min_hw, 3], "opt": [1, *p.opt_hw, 3], "max": [1, *p.max_hw, 3]}
            for p in plan.profiles
        ],
        "max_shapes": [list(shape) for shape in plan.max_shapes],
        "tile": [plan.side, plan.side],
        "halo_px": plan.network.halo_px,
        "instances": plan.instances,
        "output_copy_stream": plan.output_copy_stream,
        "cuda_graphs": plan.cuda_graphs,
        "workspace_bytes": plan.workspace_bytes,
        "weights_bytes": plan.weights_bytes,
        "context_bytes": plan.context_bytes,
        "contexts_bytes": plan.contexts_bytes,
        "io_bytes": plan.io_bytes,
        "instance_bytes": plan.instance_bytes,
        "process_bytes": plan.process_bytes,
        "server_bytes": plan.server_bytes,
        "total_bytes": plan.total_bytes,
        "budget_bytes": plan.budget_bytes,
        "vram_bytes": plan.card.vram_mib * MIB,
        "tile_at_the_limit_s": plan.limit_s,
        "tile_expected_s": plan.expected_s,
        "tile_copies_s": plan.copy_s,
        "decided_by": plan.decided_by,
        "limits": [asdict(limit) for limit in plan.limits],
        "notes": list(plan.notes),
        "assumptions": asdict(plan.assumptions),
    }


def planned_with(plan: Plan, context_bytes: Sequence[int]) -> Plan:
    """The plan with what the engine itself says of its contexts.

    Raises:
        EngineError: with that it does not fit the card.
    """
    followed = plan.following(context_bytes)
    if followed is not plan and not followed.fits_the_card():
        raise EngineError(
            f"The engine for {plan.card.name} needs {followed.context_bytes // MIB:,} MiB for a context, where "
            f"{plan.context_bytes // MIB:,} were planned, and {followed.total_bytes // MIB:,} MiB in all. The card has "
            f"{plan.budget_bytes // MIB:,} to give; nothing was written. Please report it: the planner's memory model "
            "is wrong for this network."
        )
    return followed


def _loads_in(flavour: str, version: str, options: BuildOptions) -> str:
    if flavour == RTX:
        return f"TensorRT for RTX {version}, on any card of this compute capability; backend tensorrt_rtx"
    newer = " or newer" if options.version_compatible else ""
    return f"TensorRT {version}{newer}, on this card; Triton's backend tensorrt in the container with that version"


def _identity(request: Build, version: str) -> str:
    made_of = {
        "format": FORMAT,
        "onnx": hashlib.sha256(request.onnx).hexdigest(),
        "profiles": [[p.name, p.min_hw, p.opt_hw, p.max_hw] for p in request.profiles],
        "workspace": [request.activations_bytes, request.workspace_bytes],
        "flavour": request.flavour,
        "version": version,
        "compute_capability": request.compute_capability,
        "options": asdict(request.options),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _existing(
    path: Path, sidecar_path: Path, sidecar_of: Callable[[bytes, dict[str, Any]], dict[str, Any]]
) -> Engine | None:
    """The engine that stands there, if it is whole and made of the same, with the sidecar it should have."""
    try:
        said = read_json(sidecar_path)
        today = sidecar_of(path.read_bytes(), said["builder"])
        same = (said["identity"], said["engine"]["sha256"]) == (today["identity"], today["engine"]["sha256"])
        complete = said["builder"].keys() >= BUILDER_FACTS
    except DAMAGED:
        return None
    return Engine(path, False, today, described_anew=said != today) if same and complete else None
