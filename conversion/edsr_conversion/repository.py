"""Renders Triton's model repository from models.toml and gpus.toml: config.pbtxt for CPUs, configs/<gpu>.pbtxt."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edsr_serving.variants import Variant

from .catalogue import Model
from .convert import write_file
from .errors import ConversionError, PlanError
from .gpu.cards import Card
from .gpu.flavours import RTX, TENSORRT, supports_rtx
from .gpu.planner import NetworkSize, Plan, make_plan, shape_text
from .gpu.profiles import outermost
from .network import receptive_radius_px
from .precisions import FP16
from .serving_graph import INPUT, OUTPUT

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

CONFIG_FILE, CONFIGS_FOLDER = "config.pbtxt", "configs"
HEADER = "# Rendered from models/models.toml by `make configs`; a test fails when the two differ.\n"
GPU_HEADER = "# Rendered from models/models.toml and gpus.toml by `make configs`; a test fails when they differ.\n"
# EDSR is compute-bound: a batch costs what its pictures cost one by one. Batches only save round trips.
# Requests that may wait on a CPU: each holds its picture, and one that comes later is refused at once.
CPU_QUEUE_SIZE = 32
MAX_BATCH_SIZE = 8
# On a GPU a profile's memory grows with its largest batch: the same memory serves larger pictures instead.
GPU_MAX_BATCH_SIZE = 1
# A CPU keeps three float32 feature maps alive at a time (measured with OpenVINO).
CPU_BYTES_PER_FILTER = 12
CPU_TILE_BYTES = 2**30
HALOS_PER_TILE, TILE_STEP_PX = 16, 64


def cpu_config(model: Model) -> str:
    """config.pbtxt of a model on a CPU: the `openvino` backend on model.onnx.

    No `dynamic_batching`: with one instance Triton's batcher can miss a wake-up and then sleeps 500 ms, and batching
    gains nothing here. The limit of the queue is a parameter, from which the launcher of the embedded server makes one.
    """
    from tritonclient.grpc import model_config_pb2

    config = _contract(model, MAX_BATCH_SIZE)
    config.backend = "openvino"
    config.default_model_filename = "model.onnx"
    config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    side = cpu_tile_px(model)
    own = {"max_queue_size": str(CPU_QUEUE_SIZE), "tile": f"{side}x{side}"}
    return _text(config, parameters(model) | own, HEADER)


def cpu_tile_px(model: Model) -> int:
    """Side of the tiles that suit a CPU, where nothing but memory and patience asks for tiles.

    The feature maps of a tile take about CPU_TILE_BYTES; but a tile is not so small that its halo is most of the work,
    and never over the model's limit.
    """
    pixels = CPU_TILE_BYTES // (CPU_BYTES_PER_FILTER * model.filters)
    side = max(math.isqrt(pixels), HALOS_PER_TILE * default_halo_px(model))
    side = min(side, math.isqrt(model.max_lr_pixels))
    return max(1, side // TILE_STEP_PX * TILE_STEP_PX) if side >= TILE_STEP_PX else side


def default_halo_px(model: Model) -> int:
    """The halo a client takes by itself: the smallest that was measured to do, else the exact one."""
    return receptive_radius_px(model.blocks) if model.default_halo_px is None else model.default_halo_px


def gpu_config(model: Model, plan: Plan) -> str:
    """configs/<gpu>.pbtxt of a model on a card: `tensorrt_plan`, or the `tensorrt_rtx` backend, on <gpu>.plan.

    - One instance group, whose instances hold every profile: Triton hands a request to any free instance.
    - Warm-up at every profile's largest shape: the first request of each would otherwise pay for lazy loading, and a
      card that cannot hold what was planned refuses at the start, not at night. The small profile's at what it is
      tuned for.
    - Contexts are allocated at the start, either way: Triton gives each its one profile when it loads. STATIC makes all
      as large as the largest; where there is a small profile, ON_PROFILE_CHANGE makes each as large as its own.
    - A stream of its own for answers where copies are a visible part of a request: Triton's backend then copies one
      answer while it computes the next, with a second set of buffers, and needs no second instance for it.
    - CUDA graphs, in Triton's own backend for the tile's exact shape, where launches are a visible part of a request.
    - No response cache: a picture is rarely sent twice, and its answer is nine times as large.
    """
    from tritonclient.grpc import model_config_pb2

    config = _contract(model, GPU_MAX_BATCH_SIZE)
    if plan.flavour == RTX:
        config.backend = "tensorrt_rtx"
    else:
        config.platform, config.backend = "tensorrt_plan", "tensorrt"
    config.default_model_filename = f"{Variant(plan.card.key, plan.precision, plan.flavour).name}.plan"
    group = config.instance_group.add(count=plan.instances, kind=model_config_pb2.ModelInstanceGroup.KIND_GPU)
    if (
        plan.flavour == TENSORRT
    ):  # Triton takes the field for its own backend only; ours uses every profile of the engine
        group.profile.extend(str(index) for index in range(len(plan.profiles)))
    for profile in plan.profiles:
        is_small = profile not in outermost(plan.profiles)
        sample = config.model_warmup.add(name=profile.name if is_small else f"largest {profile.name}", batch_size=1)
        sample.inputs[INPUT].data_type = model_config_pb2.TYPE_UINT8
        sample.inputs[INPUT].dims.extend([*(profile.opt_hw if is_small else profile.max_hw), 3])
        sample.inputs[INPUT].random_data = True
    config.response_cache.enable = False
    if plan.output_copy_stream:
        config.optimization.cuda.output_copy_stream = True
    if plan.cuda_graphs:
        config.optimization.cuda.graphs = True
        if plan.flavour == TENSORRT:
            graph = config.optimization.cuda.graph_spec.add(batch_size=1)
            graph.input[INPUT].dim.extend([plan.side, plan.side, 3])
    allocation = "STATIC" if plan.has_contexts_of_one_size else "ON_PROFILE_CHANGE"
    strategy = {} if plan.flavour == RTX else {"execution_context_allocation_strategy": allocation}
    return _text(config, parameters(model) | gpu_parameters(plan) | strategy, GPU_HEADER)


def parameters(model: Model) -> dict[str, str]:
    """What a client may want to know about a model, as Triton's `parameters`."""
    purpose = {"inputs": model.inputs} if model.inputs else {}
    return purpose | {
        "blocks": str(model.blocks),
        "default_halo_px": str(default_halo_px(model)),
        "filters": str(model.filters),
        "halo_px": str(receptive_radius_px(model.blocks)),
        "max_lr_pixels": str(model.max_lr_pixels),
        "precision": "fp32",
        "scale": str(model.scale),
        "source": model.graph.name,
        "source_sha256": model.sha256,
    }


def gpu_parameters(plan: Plan) -> dict[str, str]:
    """What follows from the plan: `max_shapes` are the largest HxW; a picture must fit one of them."""
    return {
        "gpu": plan.card.key,
        "flavour": plan.flavour,
        "precision": plan.precision,
        "max_lr_pixels": str(max(profile.max_px for profile in plan.profiles)),
        "max_shapes": shapes_text(plan),
        "tile": f"{plan.side}x{plan.side}",
        # Of this model alone; several models on a card share its server and its budget.
        "planned_model_mib": str(math.ceil(plan.instances * plan.instance_bytes / 2**20)),
        "planned_server_mib": str(math.ceil(plan.server_bytes / 2**20)),
        "vram_budget_mib": str(plan.budget_bytes // 2**20),
        "plan_decided_by": plan.decided_by,
    }


def shapes_text(plan: Plan) -> str:
    """ "1440x1440,1080x1920,1920x1080": the plan's `max_shapes`."""
    return ",".join(map(shape_text, plan.max_shapes))


def network_size(model: Model) -> NetworkSize:
    """What the planner needs of a model."""
    return NetworkSize(model.blocks, model.filters, model.scale)


def by_size(models: Iterable[Model]) -> dict[NetworkSize, list[Model]]:
    """The models of each size of network, in their order: what a card can do depends on nothing else of them."""
    found: dict[NetworkSize, list[Model]] = {}
    for model in models:
        found.setdefault(network_size(model), []).append(model)
    return found


def render(models: Iterable[Model], cards: Iterable[Card], repository: Path) -> dict[Path, str]:
    """Every configuration of these models and cards, by path; cards no plan fits have none."""
    files: dict[Path, str] = {}
    cards = list(cards)
    for model in models:
        folder = repository / model.name
        files[folder / CONFIG_FILE] = cpu_config(model)
        for card in cards:
            files |= render_card(model, card, FP16, repository)
    return files


def render_card(
    model: Model, card: Card, precision: str, repository: Path, known: Plan | None = None
) -> dict[Path, str]:
    """The configurations of one model on one card: TensorRT's, and TensorRT for RTX's where that supports the card.

    `known` is the plan for one of the two, where more is known than the planner can tell.
    """
    files = {}
    for flavour in [TENSORRT, RTX] if supports_rtx(card, precision) else [TENSORRT]:
        try:
            plan = (
                known
                if known and known.flavour == flavour
                else make_plan(card, network_size(model), precision, flavour)
            )
        except PlanError:
            continue
        name = f"{Variant(card.key, precision, flavour).name}.pbtxt"
        files[repository / model.name / CONFIGS_FOLDER / name] = gpu_config(model, plan)
    return files


def write(files: dict[Path, str]) -> list[Path]:
    """Write what differs, each file whole or not at all; returns the files that changed.

    Raises:
        ConversionError: a file cannot be read or written.
    """
    changed = []
    for path, text in files.items():
        content = text.encode()
        if path.exists() and _read(path) == content:
            continue
        write_file(path, content)
        changed.append(path)
    return changed


def remove(path: Path) -> None:
    """Remove a file.

    Raises:
        ConversionError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConversionError(f"Cannot remove {path}: {error.strerror}.") from None


def ignore_own(root: Path) -> None:
    """Tell git of the configurations of cards that are not in gpus.toml: they are this machine's own.

    They stand among those that are committed; a `.gitignore` beside them, which names itself too, keeps `git status`
    clean.

    Raises:
        ConversionError: it cannot be written.
        CatalogueError, CardError: gpus.toml is wrong.
    """
    from .gpu.cards import load_cards

    listed = load_cards(root, local=False)
    for folder in (root / "model_repository").glob(f"*/{CONFIGS_FOLDER}"):
        own = sorted(path.name for path in folder.glob("*.pbtxt") if Variant.parse(path.stem).card not in listed)
        ignoring = folder / ".gitignore"
        if own:
            lines = [
                "# Written by `make configs` and `make engines`: cards that are not in gpus.toml.",
                ".gitignore",
                *own,
            ]
            write_file(ignoring, ("\n".join(lines) + "\n").encode())
        elif ignoring.exists():
            remove(ignoring)


def stale(files: dict[Path, str], repository: Path) -> list[Path]:
    """Rendered configurations in `repository` of models or cards that are listed no more, `files` being those of all.

    `files` are of one precision; other precisions of their cards stay, and so does whatever an engine is there for: a
    card that GPU=auto found is in no list.

    Raises:
        ConversionError: a file cannot be read, and so not told from one written by hand.
    """
    found = [*repository.glob(f"*/{CONFIG_FILE}"), *repository.glob(f"*/{CONFIGS_FOLDER}/*.pbtxt")]
    return sorted(path for path in found if not _is_wanted(path, files) and _is_rendered(path))


def _is_wanted(path: Path, files: dict[Path, str]) -> bool:
    if path in files or path.name == CONFIG_FILE:
        return path in files
    model, found = path.parent.parent, Variant.parse(path.stem)
    is_listed = path.with_stem(replace(found, precision=FP16).name) in files
    has_engine = any(Variant.parse(plan.stem).card == found.card for plan in (model / "1").glob("*.plan"))
    return is_listed or (has_engine and model / CONFIG_FILE in files)


def _is_rendered(path: Path) -> bool:
    return _read(path).startswith(b"# Rendered from models/models.toml")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConversionError(f"Cannot read {path}: {error.strerror}. Mend or remove it.") from None


def _contract(model: Model, max_batch_size: int) -> ModelConfig:
    """The wire contract, the same everywhere: uint8 RGB [N, H, W, 3] in and out."""
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=model.name, max_batch_size=max_batch_size)
    config.input.add(name=INPUT, data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    config.output.add(name=OUTPUT, data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    return config


def _text(config: ModelConfig, values: dict[str, str], header: str) -> str:
    from google.protobuf import text_format

    for key, value in sorted(values.items()):
        config.parameters[key].string_value = value
    return header + text_format.MessageToString(config)
