"""`make engines`: an engine for every card and model asked for, and what came of each in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edsr_serving.gpu.selection import compute_capability_of_first
from edsr_serving.variants import Variant

from .. import repository
from ..catalogue import Model
from ..derive import Derived, derive
from ..errors import CannotBuildHereError, CardError, ConversionError
from .builder import BuildOptions, Progress
from .cards import Card
from .engine import Engine, build_engine, planned_with
from .flavours import RTX, TENSORRT, Toolbox, choose, is_card, supports_rtx
from .layers import convolutions_text
from .planner import MIB, Plan, make_plan, tuned_for

if TYPE_CHECKING:
    from tqdm import tqdm

CACHE = Path(".cache/engines")
REFRESH_S = 0.1


@dataclass(frozen=True)
class Made:
    """An engine, what it was planned and made from, and the configurations that changed with it."""

    model: Model
    plan: Plan
    onnx: Derived
    engine: Engine
    configurations: list[Path]


@dataclass(frozen=True)
class Outcome:
    """What came of one engine, or, if `elsewhere`, of a card for which this machine builds none: `made` or `error`."""

    card: Card
    model: Model | None
    made: Made | None = None
    error: ConversionError | None = None

    @property
    def elsewhere(self) -> bool:
        return self.model is None


@dataclass
class Workshop:
    """What engines are made with: the repository's root, the precision, the builder's options, the two TensorRTs.

    `tuned_for` is the (height, width) of the pictures that kernels are chosen for, None for the largest.
    """

    root: Path
    precision: str
    flavour: str
    options: BuildOptions
    toolbox: Toolbox
    report: Callable[[str], None]
    tuned_for: tuple[int, int] | None = None
    _derived: dict[str, Derived | ConversionError] = field(default_factory=dict)

    def choose(self, card: Card) -> str:
        """The flavour for a card; raises as `flavours.choose` does."""
        return choose(self.flavour, card, self.toolbox, self.precision)

    def onnx(self, model: Model) -> Derived:
        """The ONNX file of the precision asked for, of the network that the model's table describes; made once.

        Raises:
            ConversionError: see `derive` and `Model.check_network`; the same again for the next card.
        """
        if model.name not in self._derived:
            try:
                onnx = derive(self.root / "model_repository" / model.name / "1", self.precision, self.report)
                model.check_network(onnx.sidecar["network"])
                self._derived[model.name] = onnx
            except ConversionError as error:
                self._derived[model.name] = error
        found = self._derived[model.name]
        if isinstance(found, ConversionError):
            raise found
        return found

    def make(self, model: Model, card: Card, flavour: str) -> Made:
        """The engine of a model for a card with its configurations, built unless it is there."""
        onnx = self.onnx(model)
        plan = make_plan(card, repository.network_size(model), self.precision, flavour)
        if self.tuned_for:
            plan = tuned_for(plan, *self.tuned_for)
        devices = self.toolbox.devices if flavour == TENSORRT else ()
        if flavour == TENSORRT:
            check_builds_on(card, compute_capability_of_first())
        with _progress_bar(f"{model.name} for {card.key}") as progress:
            engine = build_engine(
                onnx,
                plan,
                flavour,
                self.version(flavour),
                self.options,
                progress=progress,
                report=self.report,
                cache=self.root / CACHE,
                device=next((device.name for device in devices if is_card(device, card)), ""),
            )
        plan = planned_with(plan, engine.sidecar["builder"]["context_bytes"])
        files = repository.render_card(model, card, self.precision, self.root / "model_repository", plan)
        return Made(model, plan, onnx, engine, repository.write(files))

    def version(self, flavour: str) -> str:
        """Of an installed flavour."""
        return str({TENSORRT: self.toolbox.tensorrt, RTX: self.toolbox.rtx}[flavour])

    def outcomes(self, cards: Sequence[Card], models: Sequence[Model]) -> Iterator[Outcome]:
        """Make every engine; one that fails is no reason not to make the others."""
        for card in cards:
            try:
                flavour = self.choose(card)
            except (CannotBuildHereError, CardError) as error:
                yield Outcome(card, None, error=error)
                continue
            for model in models:
                try:
                    yield Outcome(card, model, self.make(model, card, flavour))
                except ConversionError as error:
                    yield Outcome(card, model, error=error)


def check_builds_on(card: Card, capability: str) -> None:
    """Raise CardError if CUDA's first GPU, on which TensorRT builds, is known to have another compute capability."""
    if capability not in ("", card.compute_capability):
        raise CardError(
            f"TensorRT would build on a GPU of compute capability {capability}, not on {card.name} "
            f"({card.compute_capability}). Build for one card at a time, and name its GPU: DEVICE= takes an index or a "
            "UUID that `make gpus` lists."
        )


@dataclass(frozen=True)
class Table:
    """One line for each outcome, in columns wide enough for all that will come."""

    card: int
    model: int
    file: int

    @classmethod
    def of(cls, cards: Sequence[Card], models: Sequence[Model], precision: str) -> Table:
        files = [f"{Variant(card.key, precision, RTX).name}.plan" for card in cards]
        return cls(*(max(map(len, texts)) for texts in ([c.key for c in cards], [m.name for m in models], files)))

    def head(self) -> str:
        return self._line("card", "model", "engine", "MB", "")

    def line(self, outcome: Outcome) -> str:
        made, model = outcome.made, outcome.model.name if outcome.model else "-"
        if made is None:
            error = outcome.error
            short = error.short if isinstance(error, CannotBuildHereError) else "another card is in this machine"
            result = f"not here: {short}" if outcome.elsewhere else "failed"
            return self._line(outcome.card.key, model, "-", "-", result)
        builder = made.engine.sidecar["builder"]
        result = f"built in {builder['seconds']:.1f} s" if made.engine.built else "up to date"
        if formats := convolutions_text(builder["convolutions"]):
            result += f"; {formats}"
        megabytes = f"{made.engine.sidecar['engine']['size_bytes'] / 1e6:.1f}"
        return self._line(outcome.card.key, model, made.engine.plan.name, megabytes, result)

    def _line(self, card: str, model: str, file: str, megabytes: str, result: str) -> str:
        columns = f"{card:{self.card}}  {model:{self.model}}  {file:{self.file}}  {megabytes:>6}  {result}"
        return columns.rstrip()


def summary(outcomes: Sequence[Outcome], precision: str) -> str:
    """What came of all, and what to do next."""
    made = [outcome.made for outcome in outcomes if outcome.made]
    elsewhere = [outcome.card for outcome in outcomes if outcome.elsewhere]
    built = sum(each.engine.built for each in made)
    failed = len(outcomes) - len(made) - len(elsewhere)
    lines = [
        f"engines built: {built}, up to date: {len(made) - built}, failed: {failed}; cards not here: {len(elsewhere)}; "
        f"configurations written: {sum(len(each.configurations) for each in made)}"
    ]
    options = Variant("CARD", precision).make_options
    rtx = [Variant.parse(each.engine.plan.stem).flavour == RTX for each in made]
    if any(rtx):
        lines.append(f"  make serve {options}  serves an engine called ...-rtx, where the card is")
    if not all(rtx):
        lines.append(f"  make up {options}  serves any other, where the card and Docker are")
    if elsewhere:
        lines.append(f"  make engines-container {options}  builds what is not here, where the card and Docker are")
    return "\n".join(lines)


def together_text(made: Sequence[Made]) -> str:
    """Whether the engines of several models fit one card at a time; "" for one model."""
    plans = [each.plan for each in made]
    if len(plans) < 2:
        return ""
    needed = sum(p.instances * p.instance_bytes for p in plans) + max(p.server_bytes for p in plans)
    card, budget = plans[0].card, min(p.budget_bytes for p in plans)
    figures = (
        f"{needed // MIB:,} MiB by their plans; {budget // MIB:,} of the card's {card.vram_mib:,} may be planned, the "
        "rest stays free as a reserve for the driver and what else runs there"
    )
    if needed <= budget:
        return f"  together they fit: {figures}"
    names = ", ".join(each.model.name for each in made)
    return f"  together they do not fit: {figures}. Serve one at a time: MODEL= one of {names}"


def made_text(made: Made) -> str:
    """One engine in full."""
    written = "".join(f"  wrote {path}\n" for path in made.configurations)
    model, plan, engine = made.model, made.plan, made.engine
    if not engine.built:
        anew = ", described anew in its sidecar" if engine.described_anew else ""
        formats = convolutions_text(engine.sidecar["builder"]["convolutions"])
        return f"{written}  {model.name}: {engine.plan} is up to date{anew}" + (f"; {formats}" if formats else "")
    builder, parity = engine.sidecar["builder"], made.onnx.sidecar["parity"]
    contexts = ", ".join(f"{size // MIB:,}" for size in builder["context_bytes"]) or "not told"
    planned = ", ".join(f"{(size - plan.workspace_bytes) // MIB:,}" for size in plan.context_sizes)
    text = (
        f"{written}  {model.name}: built {engine.plan} ({engine.sidecar['engine']['size_bytes'] / 1e6:.1f} MB, "
        f"{builder['seconds']:.1f} s)\n"
        f"    profiles {repository.shapes_text(plan).replace(',', ', ')}; {plan.instances} instance(s); "
        f"{plan.total_bytes // MIB:,} of {plan.card.vram_mib:,} MiB planned\n"
        f"    contexts need {contexts} MiB (builder), {planned} planned, "
        f"{plan.workspace_bytes // MIB:,} of scratch beside it"
    )
    if formats := convolutions_text(builder["convolutions"]):
        text += f"\n    {formats}, as the builder's log lists them"
    if plan.told_context_bytes:
        text += (
            f"\n    warning: {plan.notes[-1]}; the configuration and the sidecar follow the engine, which fits the card"
        )
    if "psnr_db" not in parity:
        return text
    return text + (
        f"\n    {plan.precision} against fp32 on real pictures: {parity['psnr_db']:.1f} dB, at most "
        f"{parity['max_difference']} level(s); largest activation {parity['max_activation']:.0f} of "
        f"{parity['format_max']:.0f}"
    )


def next_steps(card: Card, flavour: str, precision: str) -> str:
    """What to do with a card's engines."""
    options = Variant(card.key, precision).make_options
    if flavour == RTX:
        return (
            f"  loads in TensorRT for RTX: `make serve {options}` where the card is, no container\n"
            f"  for TensorRT, in NVIDIA's container on the card: make engines-container {options}"
        )
    also = f"\n  for TensorRT for RTX, built anywhere: make engines {options} FLAVOUR={RTX}"
    return f"  loads in Triton's container with the same TensorRT, on this card: make up {options}" + (
        also if supports_rtx(card, precision) else ""
    )


@contextmanager
def _progress_bar(name: str) -> Iterator[Progress]:
    """A bar per engine on a terminal, nothing elsewhere; it shows the builder's phase and its steps."""
    from tqdm import tqdm

    bar: tqdm[Any] = tqdm(
        desc=name, leave=False, disable=None, bar_format="{desc} {bar:30} {n_fmt}/{total_fmt}{postfix}"
    )

    shown = 0.0

    def progress(phase: str, done: int, steps: int) -> None:
        nonlocal shown
        bar.total, bar.n = steps, done
        if time.monotonic() - shown > REFRESH_S:  # the builder reports thousands of steps
            shown = time.monotonic()
            bar.set_postfix_str(phase)

    with bar:
        yield progress
