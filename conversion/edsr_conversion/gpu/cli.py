"""The commands about GPUs: gpus, plan, sizing, engines, verify. Added to the command line of the conversion."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edsr_serving.errors import InstallationError
from edsr_serving.gpu import selection
from edsr_serving.gpu.devices import Device, devices
from edsr_serving.variants import AUTO as ANY_PRECISION
from edsr_serving.variants import Variant, engine_precision

from .. import catalogue, repository
from ..catalogue import Model
from ..derive import Derived, derive
from ..errors import CannotBuildHereError, CardError, CatalogueError, ConversionError, EngineError, PlanError
from ..json_text import json_text
from ..precisions import FP16, PRECISIONS
from .builder import HARDWARE_COMPATIBILITY, PROFILING, BuildOptions
from .cards import Card, load_cards
from .engine import describe, paths
from .flavours import (
    AUTO,
    FLAVOURS,
    RTX,
    TENSORRT,
    Toolbox,
    check_release,
    check_rtx,
    is_card,
    rtx_warning,
    supports_rtx,
    version,
)
from .nvml import as_toml, choose_card, choose_cards, detect, means_all
from .planner import DEFAULTS, MIB, Assumptions, Plan, make_plan, tuned_for
from .report import card_line, footer, other_plan_text, plan_text
from .sizing import CHART, PAGE, as_json, columns, draw, legend, page, parse_prices, rows
from .verify import check_artefact, verify
from .workshop import Table, Workshop, made_text, next_steps, summary, together_text

if TYPE_CHECKING:
    pass

DAY_S = 86_400


def add_commands(commands: Any) -> None:
    """Add the commands to an argparse sub-parser action."""
    gpus = commands.add_parser("gpus", help="list the cards of gpus.toml; --detect describes the one in this machine")
    gpus.add_argument("--detect", action="store_true", help="print this machine's card as a table for gpus.local.toml")
    gpus.add_argument("--check", metavar="CARDS", help="say nothing if these are cards, and what is wrong if not")
    gpus.add_argument("--docker", metavar="CARD", help="print what `docker run --gpus` takes for this card")
    _add_device(gpus)
    gpus.add_argument("--json", action="store_true", help="machine-readable output")
    gpus.set_defaults(run=_gpus)

    plan = commands.add_parser("plan", help="say what fits a card, what it will use, how fast it can be at best")
    _add_target(plan, "a card of gpus.toml, or auto for the one in this machine")
    plan.add_argument("--flavour", choices=FLAVOURS, default=AUTO, help="default: tensorrt, and rtx in a line")
    _add_tuned_for(plan)
    plan.add_argument("--json", action="store_true", help="machine-readable output")
    plan.add_argument("--efficiency", type=float, default=DEFAULTS.efficiency, help="of the peak; default %(default)s")
    plan.add_argument("--max-request-seconds", type=float, default=DEFAULTS.max_request_s, help="default %(default)s")
    plan.set_defaults(run=_plan)

    sizing = commands.add_parser("sizing", help="all cards side by side; --write renders docs/sizing.md")
    sizing.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    sizing.add_argument("--price", action="append", default=[], metavar="CARD=PRICE", help="per hour, as in t4=0.50")
    sizing.add_argument("--json", action="store_true", help="machine-readable output")
    sizing.add_argument("--write", action="store_true", help="write docs/sizing.md and its chart")
    sizing.set_defaults(run=_sizing)

    engines = commands.add_parser("engines", help="build engines for a card, and render its configurations")
    _add_target(engines, "a card, several with commas, auto, or all")
    _add_device(engines)
    engines.add_argument("--flavour", choices=FLAVOURS, default=AUTO, help="default: %(default)s")
    engines.add_argument("--version-compatible", action="store_true", help="TensorRT only; see docs/engines.md")
    engines.add_argument("--hardware-compatibility", choices=HARDWARE_COMPATIBILITY, default="none")
    engines.add_argument("--profiling", choices=PROFILING, default="detailed", help="default: %(default)s")
    engines.add_argument("--optimization-level", type=int, choices=range(6), help="0-5; default: the builder's")
    _add_tuned_for(engines)
    engines.set_defaults(run=_engines)

    verify = commands.add_parser("verify", help="measure engines on their card: parity, memory, latency")
    _add_target(verify, "a card, or auto")
    _add_device(verify)
    verify.add_argument("--flavour", choices=FLAVOURS, default=AUTO, help="default: %(default)s")
    verify.add_argument("--repeat", type=int, default=5, help="runs per shape; default %(default)s")
    verify.set_defaults(run=_verify)

    precision = commands.add_parser(
        "precision", help="write model.<precision>.onnx beside model.onnx, checked against it"
    )
    precision.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    _add_precision(precision)
    precision.set_defaults(run=_precision)

    container = commands.add_parser(
        "container-check", help="name the configuration of engines that load in Triton's container of a release"
    )
    container.add_argument("--gpu", help="a card; without one there is nothing to check")
    container.add_argument("--model", action="append", default=[], help="the model to be served")
    _add_precision(container)
    container.add_argument("--release", required=True, help="of the containers, as in 26.07")
    container.set_defaults(run=_container_check)


def _add_target(parser: argparse.ArgumentParser, gpu_help: str) -> None:
    parser.add_argument("--gpu", required=True, help=gpu_help)
    parser.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    _add_precision(parser)


def _add_precision(parser: argparse.ArgumentParser) -> None:
    words = f"{', '.join(PRECISIONS)} or {ANY_PRECISION}; default: %(default)s"
    parser.add_argument("--precision", type=engine_precision, choices=PRECISIONS, default=FP16, help=words)


def _add_device(parser: argparse.ArgumentParser) -> None:
    words = "index or UUID of the GPU, or of a MIG slice (`make gpus`); default: the first that is the card"
    parser.add_argument("--device", default="", help=words)


def _add_tuned_for(parser: argparse.ArgumentParser) -> None:
    words = "pictures that the kernels for all up to the tile are chosen for; default: the largest"
    parser.add_argument("--tuned-for", type=_shape, metavar="HxW", help=words)


def _shape(text: str) -> tuple[int, int]:
    """ "1080x1920" as (height, width)."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) > 0 < int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape: write height x width, as in 1080x1920")
    return int(height), int(width)


def _gpus(args: argparse.Namespace) -> None:
    cards = load_cards(args.root)
    if args.check is not None:
        choose_cards(cards, args.check, _devices)
    elif args.docker is not None:
        card = choose_card(cards, args.docker, lambda: _devices(args.device))
        print(selection.docker_gpus(_of_card(card, _devices(args.device), named=bool(args.device))))
    elif args.detect:
        print("".join(f"# {selection.device_line(device)}\n" for device in _all_devices()), end="")
        print(as_toml(detect(cards.values(), _devices(args.device))), end="")
    elif args.json:
        print(json_text([card.__dict__ | {"tier": card.tier} for card in cards.values()]))
    else:
        print("\n".join(card_line(card) for card in cards.values()))
        print("in this machine (DEVICE=):" if _all_devices() else "in this machine: no NVIDIA GPU, or no driver")
        print("".join(f"  {selection.device_line(device)}\n" for device in _all_devices()), end="")


def _plan(args: argparse.Namespace) -> None:
    if not (0.01 <= args.efficiency <= 1 and 0.01 <= args.max_request_seconds <= DAY_S):
        raise PlanError(f"--efficiency must be from 0.01 to 1, --max-request-seconds from 0.01 to {DAY_S}.")
    assumptions = Assumptions(efficiency=args.efficiency, max_request_s=args.max_request_seconds)
    card = choose_card(load_cards(args.root), args.gpu, _devices)
    models = catalogue.select(catalogue.load_models(args.root), args.model)
    flavour = TENSORRT if args.flavour == AUTO else args.flavour
    if flavour == RTX:
        check_rtx(card, args.precision)
    sizes = {model.name: repository.network_size(model) for model in models}
    plans = {name: make_plan(card, size, args.precision, flavour, assumptions) for name, size in sizes.items()}
    if args.tuned_for:
        plans = {name: tuned_for(plan, *args.tuned_for) for name, plan in plans.items()}
    if args.json:
        print(json_text({name: describe(plan) for name, plan in plans.items()}))
        return
    print(card_line(card))
    for name, plan in plans.items():
        print(f"\n{plan_text(name, plan)}")
        if args.flavour == AUTO and supports_rtx(card, args.precision):
            print(other_plan_text(make_plan(card, sizes[name], args.precision, RTX, assumptions)))
    print()
    if len(plans) > 1:
        print(_together(list(plans.values())))
    print(footer(next(iter(plans.values()))))


def _together(plans: list[Plan]) -> str:
    total = plans[0].server_bytes + sum(plan.instances * plan.instance_bytes for plan in plans)
    fits = total <= plans[0].budget_bytes
    text = f"Served together: {total // MIB:,} of {plans[0].budget_bytes // MIB:,} MiB"
    return text + (", fits." if fits else ", does not fit: each plan takes the card for itself. Serve one: MODEL=name.")


def _sizing(args: argparse.Namespace) -> None:
    cards = load_cards(args.root)
    models = catalogue.select(catalogue.load_models(args.root), args.model)
    prices = parse_prices(args.price, cards)
    found = {model.name: rows(model, cards.values()) for model in models}
    if args.write:
        _write_sizing(args.root)
    if args.json:
        print(json_text(as_json(found, prices)))
        return
    for name, model_rows in found.items():
        print(f"{name}, fp16 (predicted)")
        lines = columns(model_rows, prices)
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        for line in lines:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        print()
    print(legend(prices))


def _write_sizing(root: Path) -> None:
    """Of the committed catalogues alone: a card or model of one's own does not change the project's documents."""
    models = list(catalogue.load_models(root, local=False).values())
    cards = list(load_cards(root, local=False).values())
    folder = root / "docs"
    for path in repository.write({folder / PAGE: page(models, cards)}):
        print(f"wrote {path}", file=sys.stderr)
    draw(models, cards, folder / CHART)
    print(f"wrote {folder / CHART}", file=sys.stderr)


def _engines(args: argparse.Namespace) -> int:
    options = BuildOptions(
        args.version_compatible, args.hardware_compatibility, args.profiling, args.optimization_level
    )
    found = _devices(args.device)
    cards = choose_cards(load_cards(args.root), args.gpu, lambda: found)
    toolbox = _toolbox(found, cards)
    workshop = Workshop(args.root, args.precision, args.flavour, options, toolbox, _step, args.tuned_for)
    if len(cards) > 1:
        return _engines_of_many(args, workshop, cards)
    (card,) = cards
    models = _built_models(args)
    flavour = workshop.choose(card)
    print(f"{card.name}: {flavour} {workshop.version(flavour)}, compute capability {card.compute_capability}")
    if warning := rtx_warning(card, args.precision) if flavour == RTX else "":
        print(f"warning: {warning}", file=sys.stderr)
    outcomes = []
    for outcome in workshop.outcomes(cards, models):
        outcomes.append(outcome)
        if outcome.made:
            print(made_text(outcome.made), flush=True)
    if together := together_text([outcome.made for outcome in outcomes if outcome.made]):
        print(together)
    repository.ignore_own(args.root)
    if any(outcome.made for outcome in outcomes):
        print(next_steps(card, flavour, args.precision))
    return _tell_errors([outcome.error for outcome in outcomes if outcome.error])


def _engines_of_many(args: argparse.Namespace, workshop: Workshop, cards: list[Card]) -> int:
    models = _built_models(args)
    table = Table.of(cards, models, args.precision)
    print(table.head(), flush=True)
    outcomes = []
    for outcome in workshop.outcomes(cards, models):
        outcomes.append(outcome)
        print(table.line(outcome), flush=True)
    print(f"\n{summary(outcomes, args.precision)}", flush=True)
    for card in cards:
        if "not fit" in (text := together_text([o.made for o in outcomes if o.made and o.card is card])):
            print(f"{card.key}:{text[1:]}")
    repository.ignore_own(args.root)
    errors = [o.error for o in outcomes if o.error and not (o.elsewhere and means_all(args.gpu))]
    if not errors and not any(outcome.made for outcome in outcomes):
        errors = [outcome.error for outcome in outcomes if outcome.error][:1]
    return _tell_errors(errors)


def _tell_errors(errors: list[ConversionError]) -> int:
    """Print them, those that say the same once; returns the exit code of the first."""
    for message in dict.fromkeys(map(str, errors)):
        print(f"error: {message}", file=sys.stderr)
    return errors[0].exit_code if errors else 0


def _verify(args: argparse.Namespace) -> None:
    found = _devices(args.device)
    card = choose_card(load_cards(args.root), args.gpu, lambda: found)
    toolbox = _toolbox(found, [card])
    for model in _built_models(args):
        folder = args.root / "model_repository" / model.name / "1"
        flavour = args.flavour if args.flavour != AUTO else _built_flavour(folder, card, args.precision)
        plan = make_plan(card, repository.network_size(model), args.precision, flavour)
        onnx = _derived(args, model)
        print(verify(onnx, plan, flavour, toolbox, args.repeat, _step))


def _built_flavour(folder: Path, card: Card, precision: str) -> str:
    """The flavour whose plan is there; TensorRT's if both are."""
    return next(
        (f for f in (TENSORRT, RTX) if (folder / f"{Variant(card.key, precision, f).name}.plan").exists()), TENSORRT
    )


def _precision(args: argparse.Namespace) -> None:
    for model in _built_models(args):
        derived = _derived(args, model)
        print(f"{model.name}: {derived.path} {'written' if derived.built else 'is up to date'}")


def _container_check(args: argparse.Namespace) -> None:
    if not args.gpu:
        return
    card = choose_card(load_cards(args.root), args.gpu, _devices)
    for model in catalogue.select(catalogue.load_models(args.root), args.model or ["edsr_baseline_x3"]):
        folder = args.root / "model_repository" / model.name / "1"
        plan = make_plan(card, repository.network_size(model), args.precision)
        onnx = _derived(args, model)
        sidecar = check_artefact(*paths(folder, plan, TENSORRT), onnx, plan, TENSORRT)
        if mismatch := check_release(sidecar["version"], args.release):
            raise EngineError(
                f"{model.name}: the engine for {card.name} was {mismatch}. Run `make engines-container "
                f"{Variant(card.key, args.precision).make_options}`."
            )
    print(Variant(card.key, args.precision, TENSORRT).name)


def _toolbox(devices: Sequence[Device], cards: Sequence[Card]) -> Toolbox:
    """What is here, with the GPUs that are one of these cards first, which CUDA is told before anything starts it."""
    ours = [device for device in devices if any(is_card(device, card) for card in cards)]
    ordered = (*ours, *(device for device in devices if device not in ours))
    selection.use(ordered)
    return Toolbox(version(TENSORRT), version(RTX), ordered)


def _of_card(card: Card, devices: Sequence[Device], *, named: bool) -> tuple[Device, ...]:
    """The GPUs that are a card, or, if somebody named them, these.

    Raises:
        CardError: a GPU that was named is another card.
    """
    ours = tuple(device for device in devices if is_card(device, card))
    if named and (others := [device for device in devices if device not in ours]):
        lines = "; ".join(map(selection.device_line, others))
        raise CardError(f"DEVICE= names GPUs that are not {card.name}: {lines}. Leave them out, or name their card.")
    return ours


def _all_devices() -> tuple[Device, ...]:
    """The GPUs of this machine, whatever CUDA_VISIBLE_DEVICES leaves of them."""
    try:
        return devices()
    except InstallationError as error:
        raise CannotBuildHereError(str(error)) from None


def _devices(wanted: str = "") -> tuple[Device, ...]:
    try:
        return selection.here(wanted)
    except InstallationError as error:
        raise CannotBuildHereError(str(error)) from None


def _built_models(args: argparse.Namespace) -> list[Model]:
    """The models asked for, or every one whose model.onnx is there."""
    models = catalogue.select(catalogue.load_models(args.root), args.model)
    if args.model:
        return models
    built = []
    for model in models:
        if (args.root / "model_repository" / model.name / "1" / "model.onnx").exists():
            built.append(model)
        else:
            print(f"{model.name}: skipped, it is not converted to ONNX (`make onnx`, once its graph is in models/)")
    if not built:
        raise CatalogueError("No model is converted to ONNX yet. Run `make onnx`.")
    return built


def _derived(args: argparse.Namespace, model: Model) -> Derived:
    """The ONNX file of the precision asked for, of the network that the model's table describes."""
    onnx = derive(args.root / "model_repository" / model.name / "1", args.precision, _step)
    model.check_network(onnx.sidecar["network"])
    return onnx


def _step(text: str) -> None:
    if sys.stderr.isatty():
        print(f"  {text}", file=sys.stderr, flush=True)
