"""From a card, a network and a precision to what an engine for it should be: pure arithmetic, no GPU, no TensorRT.

Sizes are LR pixels unless a name says otherwise; memory is bytes. One side S describes the largest request: a square
S x S, and, where wide and tall pictures get profiles of their own, 3S/4 x 4S/3 and 4S/3 x 3S/4. Those have the same
number of pixels, and the aspect 16:9.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from edsr_serving.variants import RTX, TENSORRT, engine_precision

from ..errors import PlanError
from .assumptions import DEFAULTS, Assumptions
from .cards import Card
from .plan import Limit, Plan, Tiling, shape_text
from .profiles import SMALL_MAX, SMALL_OPT, Profile, outermost, profiles_of, with_small
from .speed import peaks, times
from .workload import FORMATS, MIB, NetworkSize

__all__ = [
    "DEFAULTS",
    "FORMATS",
    "MAX_ACTIVATIONS",
    "MAX_ELEMENTS",
    "MIB",
    "Assumptions",
    "Limit",
    "NetworkSize",
    "Plan",
    "Profile",
    "Tiling",
    "make_plan",
    "peaks",
    "profiles_of",
    "shape_text",
    "times",
    "tuned_for",
]

# Sides are multiples of this, so that 3/4 and 4/3 of them are whole: 1440 gives 1080x1920, 2880 gives 2160x3840.
SIDE_STEP = 48
# How notes begin that another may take the place of.
GRAPHS, SMALL_NOTE = "CUDA graphs", "1 more profile tuned for"
# TensorRT counts the elements of a tensor in 31 bits (NVIDIA/TensorRT#4123).
MAX_ELEMENTS = 2**31 - 1
# TensorRT for RTX 1.7 plans no more than this as one context's activations (seen in its builder's log).
MAX_ACTIVATIONS = 32_000 * MIB


def make_plan(
    card: Card,
    network: NetworkSize,
    precision: str,
    flavour: str = TENSORRT,
    assumptions: Assumptions = DEFAULTS,
) -> Plan:
    """The plan for a card, and for one of the two TensorRTs.

    First the largest square request that every constraint permits with one instance and one profile; then more
    instances, if they would raise the throughput and fit; then profiles for wide and tall pictures, if they fit.

    Raises:
        PlanError: not even the smallest useful tile fits the card's memory, or the precision is unknown.
    """
    precision = engine_precision(precision)
    if precision not in FORMATS:
        raise PlanError(f"There is no plan for precision {precision!r}. There are: {', '.join(FORMATS)}.")
    limits = _limits(card, network, precision, flavour, assumptions)
    smallest = SIDE_STEP * (2 * network.halo_px // SIDE_STEP + 1)  # a tile must be wider than its two halos
    hard = min((limit for limit in limits if limit.name != "time"), key=lambda limit: limit.side)
    if hard.side < smallest:
        raise PlanError(
            f"No plan fits {card.name} ({card.vram_mib} MiB) for {network.blocks} blocks of {network.filters} filters "
            f"in {precision}: {hard.reason}, but a tile needs {smallest}x{smallest}. Take a larger card"
            + (", or fp16." if precision == "fp32" else ", or a smaller network.")
        )
    decided = min(limits, key=lambda limit: limit.side)
    side = max(decided.side, smallest)
    decided_by = decided.name if decided.side >= smallest else "smallest tile"

    px = side * side
    limit_s, expected_s, copy_s = times(card, network, precision, px, assumptions, flavour)
    server_bytes, process_bytes = _processes(flavour, assumptions)
    plan = Plan(
        card=card,
        network=network,
        precision=precision,
        flavour=flavour,
        profiles=profiles_of(side, wide=False),
        instances=1,
        output_copy_stream=False,
        cuda_graphs=False,
        workspace_bytes=assumptions.scratch_bytes,
        weights_bytes=network.weights_bytes(precision),
        activations_bytes=network.activations(px, precision),
        io_bytes=px * network.io_per_px(),
        process_bytes=process_bytes,
        server_bytes=server_bytes,
        budget_bytes=_budget(card, assumptions),
        limit_s=limit_s,
        expected_s=expected_s,
        copy_s=copy_s,
        decided_by=decided_by,
        limits=tuple(sorted(limits, key=lambda limit: limit.side)),
        assumptions=assumptions,
    )
    return _with_graphs(_with_what_fits(plan))


def tuned_for(plan: Plan, height: int, width: int) -> Plan:
    """The same plan with kernels of profile 0 chosen for pictures of this size.

    Raises:
        PlanError: profile 0 does not take such pictures.
    """
    first, *others = plan.profiles
    if not first.holds(height, width):
        raise PlanError(
            f"An engine for {plan.card.name} cannot be tuned for {height}x{width}: its largest request is "
            f"{shape_text(first.max_hw)}. Name a smaller shape."
        )
    profiles = (replace(first, tuned_for=(height, width)), *others)
    if min(height, width) <= SMALL_MAX:  # it takes the small one's place
        profiles = outermost(profiles)
    gone = SMALL_NOTE if len(profiles) < len(plan.profiles) else GRAPHS
    others_say = (note for note in plan.notes if not note.startswith(gone))
    tuned = f"the kernels of profile {first.name} are tuned for {height}x{width}, as was asked for"
    return _with_graphs(replace(plan, profiles=profiles, notes=(*others_say, tuned)))


def _with_what_fits(plan: Plan) -> Plan:
    """The plan with all that would make it better and has its memory: instances, profiles, buffers, in this order."""
    a, gain = plan.assumptions, plan.copy_s / plan.expected_s
    plan = _with_instances(plan, gain) if plan.flavour == RTX else plan
    three = replace(plan, profiles=profiles_of(plan.side, wide=True))
    notes = (*plan.notes, _profiles_note(three))
    plan = replace(three if three.fits_the_card() else plan, notes=notes)
    plan = _with_small(plan)
    if plan.flavour == RTX:
        return plan
    # Triton's own backend hides copies within one instance; ours answers one request after the other.
    streaming = replace(plan, output_copy_stream=True, io_bytes=2 * plan.io_bytes)
    stream = gain >= a.min_stream_gain and streaming.fits_the_card()
    note = _stream_note(stream, gain, plan.io_bytes)
    return replace(streaming if stream else plan, notes=(*plan.notes, note))


def _with_instances(plan: Plan, gain: float) -> Plan:
    a = plan.assumptions
    wanted = 1 + min(math.ceil(gain), a.max_instances - 1) if gain >= a.min_gain else 1
    fitting = [n for n in range(2, wanted + 1) if replace(plan, instances=n).fits_the_card()]
    instances = max(fitting, default=1)
    return replace(plan, instances=instances, notes=(*plan.notes, _instances_note(instances, wanted, gain)))


def _with_small(plan: Plan) -> Plan:
    """With a profile tuned for everyday pictures, for as large ones as have its memory."""
    for side in (SMALL_MAX, SMALL_OPT):
        wanted = replace(plan, profiles=with_small(plan.profiles, side))
        if wanted.profiles == plan.profiles:
            return plan
        if wanted.fits_the_card():
            note = f"{SMALL_NOTE} {SMALL_OPT}x{SMALL_OPT}, which pictures up to {side}x{side} take"
            return replace(wanted, notes=(*plan.notes, note))
    note = f"none tuned for {SMALL_OPT}x{SMALL_OPT}: its {wanted.context_sizes[-1] // MIB:,} MiB are not left"
    return replace(plan, notes=(*plan.notes, note))


def _with_graphs(plan: Plan) -> Plan:
    """With CUDA graphs where launches are a visible part of what a profile is tuned for.

    Triton's backend captures the shapes that a configuration lists, in every context, and fails in those whose profile
    does not take them: with several profiles they are left out. TensorRT for RTX captures whatever shape comes.
    """
    a = plan.assumptions
    launches_s = plan.network.kernels(plan.precision, plan.flavour) * a.launch_s
    shares = {profile: launches_s / plan.times(profile.opt_px)[1] for profile in plan.profiles}
    visible = [profile for profile, share in shares.items() if share >= a.graphs_worth]
    graphs = bool(visible) and (plan.flavour == RTX or len(plan.profiles) == 1)
    told = dict.fromkeys(f"{share:.1%} of {shape_text(profile.opt_hw)}" for profile, share in shares.items())
    note = f"{GRAPHS} {'on' if graphs else 'off'}: launching kernels takes {', '.join(told)}"
    others = tuple(note for note in plan.notes if not note.startswith(GRAPHS))
    return replace(plan, cuda_graphs=graphs, notes=(*others, note))


def _processes(flavour: str, assumptions: Assumptions) -> tuple[int, int]:
    """Bytes of the server's process, and of each instance's own if it has one."""
    if flavour == RTX:
        return assumptions.server_bytes, assumptions.process_bytes
    return assumptions.server_bytes + assumptions.process_bytes, 0


def _budget(card: Card, assumptions: Assumptions) -> int:
    return int(card.vram_mib * MIB * (1 - assumptions.margin))


def _limits(card: Card, network: NetworkSize, precision: str, flavour: str, assumptions: Assumptions) -> list[Limit]:
    widest = max(network.filters, network.out_channels)
    budget = _budget(card, assumptions)
    processes = sum(_processes(flavour, assumptions))
    left = budget - processes - assumptions.scratch_bytes - network.weights_bytes(precision)

    def expected(px: int) -> float:
        return times(card, network, precision, px, assumptions, flavour)[1]

    def memory(px: int) -> int:
        return network.activations(px, precision) + px * network.io_per_px()

    largest = assumptions.max_request_px
    sides = {
        "request size": _side(lambda px: px <= largest),
        "tensor elements": _side(lambda px: px * widest <= MAX_ELEMENTS),
        "context": _side(lambda px: network.activations(px, precision) <= MAX_ACTIVATIONS),
        "memory": _side(lambda px: memory(px) <= left),
        "time": _side(lambda px: expected(px) <= assumptions.max_request_s),
    }
    reasons = {
        "request size": f"no request is larger than a 4K picture, {largest:,} pixels",
        "tensor elements": f"a tensor of {widest} channels may have 2^31-1 elements: {MAX_ELEMENTS // widest:,} pixels",
        "context": f"one context holds at most {MAX_ACTIVATIONS // MIB:,} MiB of activations",
        "memory": f"{max(left, 0) // MIB:,} MiB are left for activations and buffers (margin, processes, weights)",
        "time": f"one request should keep the card for {assumptions.max_request_s:g} s at most",
    }
    return [Limit(name, side, f"{reasons[name]}, which allows {side}x{side}") for name, side in sides.items()]


def _side(permits: Callable[[int], bool]) -> int:
    """The largest multiple of SIDE_STEP whose square is permitted; 0 if none is. `permits` is monotonous."""
    low, high = 0, 1
    while permits((high * SIDE_STEP) ** 2) and high < 2**12:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if permits((middle * SIDE_STEP) ** 2) else (low, middle)
    return low * SIDE_STEP


def _stream_note(stream: bool, gain: float, io_bytes: int) -> str:
    if stream:
        return (
            f"1 instance: with a second set of buffers, {io_bytes // MIB:,} MiB, it copies over PCIe ({gain:.1%} of "
            "the time) while it computes"
        )
    return f"1 instance: more could only hide the copies over PCIe, {gain:.1%} of the computing time"


def _instances_note(instances: int, wanted: int, gain: float) -> str:
    if wanted == 1:
        return f"1 instance: a second one could only hide the copies over PCIe, {gain:.1%} of the time"
    if instances < wanted:
        return (
            f"{instances} instance(s): {wanted} would hide the copies over PCIe ({gain:.0%}), but do not fit the memory"
        )
    return f"{instances} instances: while one copies over PCIe ({gain:.0%} of the computing time), another computes"


def _profiles_note(plan: Plan) -> str:
    """Of a plan with profiles for wide and tall pictures, whether it fits the card or not."""
    shapes = " and ".join(shape_text(profile.max_hw) for profile in plan.profiles[1:])
    if plan.fits_the_card() and plan.flavour == RTX:
        return f"3 disjoint profiles, whose contexts share their memory: pictures up to {shapes} go in one piece too"
    if plan.fits_the_card():
        return f"3 disjoint profiles: pictures up to {shapes} (16:9, 9:16) go in one piece too"
    return (
        f"1 profile: two more, for {shapes}, would each hold a context of {plan.context_bytes // MIB:,} MiB in every "
        f"instance, {plan.total_bytes // MIB:,} of {plan.budget_bytes // MIB:,} MiB; such pictures are tiled"
    )
