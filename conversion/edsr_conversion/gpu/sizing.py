"""All cards side by side: docs/sizing.md, its chart, and the same on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalogue import Model
from ..convert import write_file
from ..errors import CannotBuildHereError, CardError, PlanError
from ..precisions import FP16
from ..repository import by_size, network_size, shapes_text
from .cards import Card, select
from .planner import DEFAULTS, MIB, Plan, make_plan
from .replaced import CLAIMS, words
from .report import alone_bytes, table, time_text

PAGE, CHART = "sizing.md", "sizing.svg"
REFERENCE = (512, 512)
MEGAPIXEL = 1_000_000
MAX_PRICE = 1_000_000
INTRODUCTION = """\
# Which card for which pictures

<!-- Rendered from models/models.toml and gpus.toml by `make sizing`; a test fails when they differ. -->

Every figure below is a prediction from the cards' published peaks; none was measured on a card yet. `make verify
GPU=<card>` measures them on yours, `make plan GPU=<card>` explains one card in full, and [engines.md](engines.md) the
method.

![Largest request and best possible latency of every card](sizing.svg)

The columns. A pixel is always one of the small picture that is sent (LR, low resolution), MP a million of them; what
comes back has 9 times as many.

- **card**: its name after `GPU=`. **tier**: its memory, in the classes of the service being replaced. **VRAM MiB**: the
  memory the driver reports. MIG slices are parts of a large card that the driver shows as cards of their own.
- **largest request**: height x width of what is answered in one piece; a second and third shape are for wide and tall
  pictures (16:9, 9:16). Larger pictures of any size are cut into tiles of the first shape.
- **memory MiB**: the predicted peak of a server that serves this model alone, with TensorRT in one instance (`make plan
  FLAVOUR=tensorrt-rtx` has the other). {margin:.0%} of the card stay free: for the driver, fragmentation and other
  programs.
- **decided by**: why the largest request is not larger. *time*: it should keep the card for {seconds:g} s at most.
  *request size*: nothing over a 4K picture is planned. *memory*: the card has no more. *tensor elements*: TensorRT
  takes 2^31-1 in a tensor. *context*: its builder plans no larger working memory. *smallest tile*: a tile must be wider
  than its two halos, even if that takes longer.
- **at the limit**: the time no engine can beat, at the card's full peak. **expected**: at {efficiency:.0%} of the peak
  with sums in FP32, or the time to move the data through the memory if that is longer. GeForce RTX cards sum in FP16
  twice as fast, which only the limit counts: there the expected time is about 4 times the limit.
- **512x512**: one picture of that size, computing alone. **1 MP expected**: one of a million pixels. **expected MP/s**:
  million pixels a second.
- **cost of 1,000**: of 1,000 pictures of 1 MP, one after another at the expected speed, for a price per hour that you
  give, in any currency. Only `make sizing PRICES="t4=0.50 l4=0.80"` prints it.
"""


@dataclass(frozen=True)
class Row:
    """One card and one model; `plan` is None where nothing fits."""

    card: Card
    plan: Plan | None


def rows(model: Model, cards: Iterable[Card], precision: str = FP16) -> list[Row]:
    """A plan for every card."""
    found = []
    for card in cards:
        try:
            plan = make_plan(card, network_size(model), precision)
        except PlanError:
            plan = None
        found.append(Row(card, plan))
    return found


def parse_prices(texts: Sequence[str], cards: Mapping[str, Card]) -> dict[str, float]:
    """Prices per hour by card from "t4=0.50", the card in any spelling.

    Raises:
        CardError: not of that form, no such card, or a card twice.
    """
    prices: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if not (name and equals):
            raise CardError(
                f'{text!r} is no price of a card: write card=price per hour, as in PRICES="t4=0.50 l4=0.80".'
            )
        key = select(cards, name).key
        if key in prices:
            raise CardError(f"PRICES has two prices of {key}. Leave one out.")
        prices[key] = _price(text, number)
    return prices


def _price(text: str, number: str) -> float:
    try:
        price = float(number)
    except ValueError:
        raise CardError(f"{text!r}: {number!r} is no number. Write the price of an hour as in t4=0.50.") from None
    if not 0 <= price <= MAX_PRICE:
        raise CardError(f"{text!r}: the price of an hour must be from 0 to {MAX_PRICE:,}.")
    return price


def legend(prices: Mapping[str, float]) -> str:
    """What the table's columns mean, for a terminal."""
    cost = (
        "cost of 1,000: of 1,000 pictures of 1 MP, one after another at the expected speed, in the currency of PRICES; "
        "empty\n  where PRICES has no price per hour\n"
    )
    return (
        "at the limit: no engine can be faster; expected: as far as one should come. MP: a million pixels of the small "
        f'picture.\n{cost if prices else ""}docs/{PAGE} explains all columns; PRICES="t4=0.50 l4=0.80" adds what '
        "pictures cost."
    )


def page(models: Sequence[Model], cards: Sequence[Card]) -> str:
    """docs/sizing.md: every card for every model, without prices, and the service being replaced beside ours."""
    a = DEFAULTS
    parts = [INTRODUCTION.format(efficiency=a.efficiency, margin=a.margin, seconds=a.max_request_s)]
    for name, model in one_of_each_size(models):
        parts.append(f"## {name}: {model.blocks} blocks of {model.filters} filters, fp16\n")
        parts.append(table(columns(rows(model, [card for card in cards if not is_slice(card)]), {})) + "\n")
        parts.append(f"### {name} on MIG slices\n")
        parts.append(table(columns(rows(model, [card for card in cards if is_slice(card)]), {})) + "\n")
    parts.append(_replaced(models, cards))
    return "\n".join(parts)


def one_of_each_size(models: Iterable[Model]) -> list[tuple[str, Model]]:
    """The first model of each size of network, with the names of all: their figures are the same."""
    return [(", ".join(model.name for model in same), same[0]) for same in by_size(models).values()]


def is_slice(card: Card) -> bool:
    """Whether a card is a MIG slice of another."""
    return " MIG " in card.name


def columns(found: Sequence[Row], prices: Mapping[str, float]) -> list[list[str]]:
    """The table of one model as text; the first row is its head."""
    head = ["card", "tier", "VRAM MiB", "largest request", "memory MiB", "decided by"]
    head += ["512x512 at the limit", "expected", "1 MP expected", "expected MP/s"] + (
        ["cost of 1,000"] if prices else []
    )
    result = [head]
    for row in found:
        start = [f"`{row.card.key}`", row.card.tier, f"{row.card.vram_mib:,}"]
        if row.plan is None:
            result.append(start + ["nothing fits"] + [""] * (len(head) - 4))
            continue
        plan = row.plan
        limit, expected, _ = plan.times(REFERENCE[0] * REFERENCE[1])
        megapixel = plan.times(MEGAPIXEL)[1]
        cells = [
            shapes_text(plan).replace(",", ", "),
            f"{plan.total_bytes // MIB:,}",
            plan.decided_by,
            f"{limit * 1e3:.1f} ms",
            f"{expected * 1e3:.1f} ms",
            f"{megapixel * 1e3:,.0f} ms",
            f"{1 / megapixel:,.2f}",
        ]
        if prices:
            price = prices.get(row.card.key)
            cells.append("" if price is None else f"{1000 * megapixel * price / 3600:.3f}")
        result.append(start + cells)
    return result


def as_json(found: Mapping[str, Sequence[Row]], prices: Mapping[str, float]) -> list[dict[str, Any]]:
    """The same for machines: one object per model and card; bytes and seconds."""
    result: list[dict[str, Any]] = []
    for model, model_rows in found.items():
        for row in model_rows:
            facts: dict[str, Any] = {"model": model, "card": row.card.key, "vram_mib": row.card.vram_mib}
            if row.plan is not None:
                limit, expected, _ = row.plan.times(REFERENCE[0] * REFERENCE[1])
                megapixel = row.plan.times(MEGAPIXEL)[1]
                facts |= {
                    "shapes": [list(shape) for shape in row.plan.max_shapes],
                    "instances": row.plan.instances,
                    "total_bytes": row.plan.total_bytes,
                    "decided_by": row.plan.decided_by,
                    "picture_512_at_the_limit_s": limit,
                    "picture_512_expected_s": expected,
                    "megapixel_expected_s": megapixel,
                }
                if row.card.key in prices:
                    facts["cost_of_1000"] = 1000 * megapixel * prices[row.card.key] / 3600
            result.append(facts)
    return result


def draw(models: Sequence[Model], cards: Sequence[Card], path: Path) -> None:
    """The chart: largest request, and best possible latency of 512x512, per card and model. Whole cards only.

    Raises:
        CannotBuildHereError: matplotlib is not installed.
        ConversionError: the file cannot be written; what was there stays.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise CannotBuildHereError(
            "The chart needs matplotlib, which is not installed in this environment. Run `make setup`."
        ) from None

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    whole = [card for card in cards if not is_slice(card)]
    settings = {"svg.hashsalt": "edsr-triton", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with plt.rc_context(settings):
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.34 * len(whole) + 1.4), sharey=True)
        sizes = one_of_each_size(models)
        height = 0.8 / len(sizes)
        for index, (name, model) in enumerate(sizes):
            plans = [row.plan for row in rows(model, whole)]
            places = [place + (index - (len(sizes) - 1) / 2) * height for place in range(len(whole))]
            largest = [p.profiles[0].max_px / 1e6 if p else 0.0 for p in plans]
            latency = [p.times(REFERENCE[0] * REFERENCE[1])[0] * 1e3 if p else 0.0 for p in plans]
            left.barh(places, largest, height, label=name)
            bars = right.barh(places, latency, height, label=name)
            right.bar_label(bars, [time_text(ms / 1e3) for ms in latency], padding=2, fontsize=7)
        left.set_yticks(range(len(whole)), [f"{card.key} ({card.vram_mib / 1024:.0f} GB)" for card in whole])
        left.invert_yaxis()
        left.set_xlabel("largest square request, megapixels (LR)")
        left.legend(loc="lower right")
        right.set_xscale("log")
        right.set_xlabel("512x512 at the physical limit, fp16 (predicted, log scale)")
        right.margins(x=0.15)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="x", alpha=0.3)
        figure.tight_layout()
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    write_file(path, drawn.getvalue())


def _replaced(models: Sequence[Model], cards: Sequence[Card]) -> str:
    by_key = {card.key: card for card in cards}
    sizes = one_of_each_size(models)
    lines = [["card", "picture", "it says", *(f"{name}: ours" for name, _ in sizes)]]
    for key, claims in CLAIMS.items():
        if key not in by_key:
            continue
        for claim in claims:
            cells = [_beside(model, by_key[key], claim.side, claim.latency_ms) for _, model in sizes]
            line = [f"`{key}`", f"{claim.side}x{claim.side}", words(claim, by_key[key].vram_mib), *cells]
            lines.append(line)
    return (
        "## Beside the service being replaced\n\n"
        "What that service, built on Flask and OpenCV, states of itself, and what the plans above say of the same "
        "picture: in one piece or\nin tiles, the memory one such picture alone would take, and the time no engine can "
        "beat. Times it states that are below that limit\nare marked: the card cannot compute this network so fast.\n\n"
        + table(lines)
        + "\n"
    )


def _beside(model: Model, card: Card, side: int, claimed_ms: float | None) -> str:
    plan = make_plan(card, network_size(model), FP16)
    cut = plan.tiling(side, side)
    alone = alone_bytes(plan, side, side)
    limit = plan.times(cut.px)[0]
    how = "fits" if cut.requests == 1 else f"{cut.requests} tiles"
    memory = f", {alone / 1e9:.1f} GB" if alone is not None and cut.requests == 1 else ""
    impossible = ", **its time is below the limit**" if claimed_ms is not None and claimed_ms / 1e3 < limit else ""
    return f"{how}{memory}, {limit * 1e3:,.0f} ms at the limit{impossible}"
