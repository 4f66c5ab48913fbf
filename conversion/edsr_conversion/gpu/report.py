"""A plan in words: for a terminal. Everything here is prediction, and says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edsr_serving.variants import RTX

from ..repository import shapes_text
from .cards import Card
from .planner import MIB, Plan, peaks
from .replaced import Claim, claims_for, words

PICTURES = ((256, 256), (512, 512), (1024, 1024), (1080, 1920), (2048, 2048), (2160, 3840), (4096, 4096), (8192, 8192))


def card_line(card: Card) -> str:
    """A card in one line."""
    return (
        f"{card.name} ({card.key}): {card.vram_mib:,} MiB, compute capability {card.compute_capability}, "
        f"{card.fp16_tflops:g} TFLOP/s fp16, {card.bandwidth_gb_s:,g} GB/s, tier {card.tier}"
    )


def plan_text(model: str, plan: Plan) -> str:
    """A plan as `make plan` prints it: what will be built, which constraint decided, what to expect."""
    network, a = plan.network, plan.assumptions
    contexts = _contexts(plan)
    process = f"{_mib(plan.process_bytes)} process + " if plan.process_bytes else ""
    deciding = next((limit.reason for limit in plan.limits if limit.name == plan.decided_by), "")
    others = ", ".join(f"{limit.name} {limit.side}" for limit in plan.limits if limit.name != plan.decided_by)
    if not deciding:
        deciding = f"a tile must be wider than two halos of {network.halo_px}; {plan.limits[0].reason}"
    lines = [
        f"{model}: {network.blocks} blocks x {network.filters} filters, x{network.scale}, {plan.precision}",
        f"  largest request  {shapes_text(plan).replace(',', ', ')}; larger pictures go as tiles of "
        f"{plan.side}x{plan.side}, halo {network.halo_px}",
        f"  instances        {plan.instances}, each {process}{_mib(plan.weights_bytes)} weights + {contexts} + "
        f"{_mib(plan.io_bytes)} buffers = {_mib(plan.instance_bytes)}",
        f"  memory           {_mib(plan.total_bytes)} at the peak of {plan.card.vram_mib:,} MiB "
        f"({plan.total_bytes / plan.card.vram_mib / MIB:.0%}), {_mib(plan.server_bytes)} of it the server's",
        f"  reserve          {a.margin:.0%} of the card stay free: for the driver, fragmentation and other programs",
        f"  decided by       {plan.decided_by}: {deciding}",
        f"                   the others would allow: {others}",
        *(f"  {'why' if index == 0 else '   '}              {note}" for index, note in enumerate(plan.notes)),
        f"  a full tile      {time_text(plan.limit_s)} at the physical limit, {time_text(plan.expected_s)} expected, "
        f"{time_text(plan.copy_s)} to copy",
        "",
        *_pictures(plan),
    ]
    return "\n".join(lines)


def _contexts(plan: Plan) -> str:
    if plan.flavour == RTX:
        return f"{_mib(plan.contexts_bytes)} shared by {len(plan.profiles)} contexts"
    counted = Counter(plan.context_sizes)
    parts = (f"{count} x {_mib(size)} context{'s' if count > 1 else ''}" for size, count in counted.items())
    return " + ".join(parts)


def other_plan_text(plan: Plan) -> str:
    """The plan for the other TensorRT in a line, below that in full."""
    shapes = shapes_text(plan).replace(",", ", ")
    return (
        f"  TensorRT for RTX {shapes}; {plan.instances} instance(s); {_mib(plan.total_bytes)}, "
        f"{time_text(plan.expected_s)} for a full tile; FLAVOUR={RTX} has it in full"
    )


def footer(plan: Plan) -> str:
    """What the figures rest on."""
    a = plan.assumptions
    peak, best = (rate / 1e12 for rate in peaks(plan.card, plan.precision, plan.flavour))
    in_fp32, in_fp16 = ("", "") if peak == best else (" with sums in FP32", " with sums in FP16")
    runs = "each instance's process" if plan.process_bytes else "CUDA and TensorRT in it"
    return (
        "Predictions, not measured on a card; `make verify` measures them there.\n"
        f"  expected  {a.efficiency:.0%} of the card's {peak:g} TFLOP/s{in_fp32}, or {a.bandwidth_efficiency:.0%} of "
        f"its {plan.card.bandwidth_gb_s:,g} GB/s, whichever takes longer\n"
        f"  limit     all of its {best:g} TFLOP/s{in_fp16}: no engine can be faster\n"
        f"  memory    activations as TensorRT for RTX's builder counts them; assumed: {_mib(a.server_bytes)} for the "
        f"server, {_mib(a.process_bytes)} for\n            {runs}, {_mib(a.scratch_bytes)} of scratch per context"
    )


def alone_bytes(plan: Plan, height: int, width: int) -> int | None:
    """Memory of one instance for just this picture in one piece; None where no tensor can be that large."""
    px, network = height * width, plan.network
    elements = max(network.filters, network.out_channels) * px
    if elements > 2**31 - 1:
        return None
    activations = network.activations(px, plan.precision) + plan.workspace_bytes
    return plan.server_bytes + plan.process_bytes + plan.weights_bytes + activations + px * network.io_per_px()


def _pictures(plan: Plan) -> list[str]:
    claims = {(claim.side, claim.side): claim for claim in claims_for(plan.card.key)}
    title = ["picture", "requests", "in one piece", "limit", "expected"] + (["replaced service"] if claims else [])
    rows = [title]
    impossible = False
    for height, width in PICTURES:
        cut = plan.tiling(height, width)
        limit, expected, _ = plan.times(cut.px)
        alone = alone_bytes(plan, height, width)
        memory = "2^31 elements" if alone is None else _mib(alone)
        row = [f"{height}x{width}", f"{cut.requests}", memory, time_text(limit), time_text(expected)]
        if claims:
            claim = claims.get((height, width))
            row.append("" if claim is None else _claim(plan, claim, limit))
            impossible = impossible or row[-1].endswith("*")
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(title))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if impossible:
        lines.append("  * faster than the card can compute this network at its peak")
    return lines


def _claim(plan: Plan, claim: Claim, limit_s: float) -> str:
    ours = "fits" if plan.fits(claim.side, claim.side) else f"{plan.tiling(claim.side, claim.side).requests} tiles"
    text = words(claim, plan.card.vram_mib)
    star = " *" if claim.latency_ms is not None and claim.latency_ms / 1e3 < limit_s else ""
    return f"{text}; ours: {ours}{star}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"


def time_text(seconds: float) -> str:
    """ "9.95 ms", "120 ms", "1.2 s": about three digits."""
    if seconds >= 1:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
    milliseconds = seconds * 1e3
    digits = 0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2
    return f"{milliseconds:.{digits}f} ms"
