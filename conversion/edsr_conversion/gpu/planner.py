"""From a card, a network and a precision to what an engine for it should be: pure arithmetic, no GPU, no TensorRT.

Sizes are LR pixels unless a name says otherwise; memory is bytes. One side S describes the largest request: a square
S x S, and, where wide and tall pictures get profiles of their own, 3S/4 x 4S/3 and 4S/3 x 3S/4. Those have the same
number of pixels, the aspect 16:9, and ranges that are disjoint, which Triton's choice between profiles needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from edsr_serving.variants import INT8, RTX, TENSORRT, engine_precision

from ..errors import PlanError
from .cards import Card
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
    "times",
]

# Sides are multiples of this, so that 3/4 and 4/3 of them are whole: 1440 gives 1080x1920, 2880 gives 2160x3840.
SIDE_STEP = 48
# TensorRT counts the elements of a tensor in 31 bits (NVIDIA/TensorRT#4123).
MAX_ELEMENTS = 2**31 - 1
# TensorRT for RTX 1.7 plans no more than this as one context's activations (seen in its builder's log).
MAX_ACTIVATIONS = 32_000 * MIB


@dataclass(frozen=True)
class Assumptions:
    """What the arithmetic cannot know. None of it was measured on a GPU yet.

    Attributes:
        margin: part of the memory that stays free.
        server_bytes: CUDA context and memory pool of the tritonserver process.
        process_bytes: CUDA context and libraries of one instance; TensorRT for RTX has a process for each.
        scratch_bytes: working memory of one context beside its activations; the builder's workspace limit.
        efficiency: part of the dense peak that convolutions reach.
        bandwidth_efficiency: part of the memory bandwidth that is reached.
        max_request_s: longest time one request may keep the card, at that efficiency: others wait behind it.
        max_request_px: largest request whatever the card; a 4K picture, whose answer has 224 MB.
        min_gain: gain in throughput below which another instance is not worth its memory.
        min_stream_gain: the same of a second set of input and output buffers, which is far smaller.
        max_instances: more never helped to hide copies behind computation: one copies in, one computes, one copies out.
        launch_s: time to launch one kernel.
        graphs_worth: part of a request's time that launches must take before CUDA graphs are switched on.
    """

    margin: float = 0.10
    server_bytes: int = 300 * MIB
    process_bytes: int = 700 * MIB
    scratch_bytes: int = 128 * MIB
    efficiency: float = 0.5
    bandwidth_efficiency: float = 0.8
    max_request_s: float = 5.0
    max_request_px: int = 2880 * 2880
    min_gain: float = 0.05
    min_stream_gain: float = 0.01
    max_instances: int = 3
    launch_s: float = 5e-6
    graphs_worth: float = 0.02


DEFAULTS = Assumptions()


@dataclass(frozen=True)
class Profile:
    """A TensorRT optimization profile of input `image` [1, H, W, 3]: the largest is also what it is tuned for."""

    name: str
    min_hw: tuple[int, int]
    max_hw: tuple[int, int]

    def holds(self, height: int, width: int) -> bool:
        (h0, w0), (h1, w1) = self.min_hw, self.max_hw
        return h0 <= height <= h1 and w0 <= width <= w1

    @property
    def max_px(self) -> int:
        return self.max_hw[0] * self.max_hw[1]


@dataclass(frozen=True)
class Limit:
    """What one constraint permits: the largest square's side, and why."""

    name: str
    side: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """What to build for a card, and what is predicted of it. `limits` and `notes` say why.

    With `output_copy_stream`, Triton's `tensorrt` backend has two sets of input and output buffers, both in `io_bytes`,
    and an answer is copied to the host while the next picture is computed.
    """

    card: Card
    network: NetworkSize
    precision: str
    flavour: str
    profiles: tuple[Profile, ...]
    instances: int
    output_copy_stream: bool
    cuda_graphs: bool
    workspace_bytes: int
    weights_bytes: int
    activations_bytes: int
    io_bytes: int
    process_bytes: int
    server_bytes: int
    budget_bytes: int
    limit_s: float
    expected_s: float
    copy_s: float
    decided_by: str
    limits: tuple[Limit, ...]
    assumptions: Assumptions
    notes: tuple[str, ...] = field(default=())

    @property
    def side(self) -> int:
        """Side of the largest square request, which is also the tile."""
        return self.profiles[0].max_hw[0]

    @property
    def context_bytes(self) -> int:
        """One execution context: activations and working memory. Each profile of each instance has one."""
        return self.activations_bytes + self.workspace_bytes

    @property
    def instance_bytes(self) -> int:
        """Process, weights, a context per profile, input and output buffers. Triton's instances share none of it."""
        contexts = len(self.profiles) * self.context_bytes
        return self.process_bytes + self.weights_bytes + contexts + self.io_bytes

    @property
    def total_bytes(self) -> int:
        """Predicted peak on the card."""
        return self.server_bytes + self.instances * self.instance_bytes

    def times(self, px: int) -> tuple[float, float, float]:
        """`times` of a request on this card."""
        return times(self.card, self.network, self.precision, px, self.assumptions, self.flavour)

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture is answered in one request."""
        return any(profile.holds(height, width) for profile in self.profiles)

    def tiling(self, height: int, width: int) -> Tiling:
        """How a picture is cut: one piece if it fits, else equal tiles with the exact halo on every inner side."""
        if self.fits(height, width):
            return Tiling(1, 1, height, width)
        halos = 2 * self.network.halo_px

        def along(length: int) -> tuple[int, int]:
            count = 1 if length <= self.side else math.ceil((length - halos) / (self.side - halos))
            return count, math.ceil((length + (count - 1) * halos) / count)

        (rows, tile_height), (columns, tile_width) = along(height), along(width)
        return Tiling(rows, columns, tile_height, tile_width)


@dataclass(frozen=True)
class Tiling:
    """A picture as rows x columns requests of one shape, in LR pixels."""

    rows: int
    columns: int
    tile_height: int
    tile_width: int

    @property
    def requests(self) -> int:
        return self.rows * self.columns

    @property
    def px(self) -> int:
        """Pixels computed, halos included."""
        return self.requests * self.tile_height * self.tile_width


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
    gain = copy_s / expected_s
    budget = _budget(card, assumptions)
    context = network.activations(px, precision) + assumptions.scratch_bytes
    io_bytes = px * network.io_per_px()
    fixed = assumptions.process_bytes + network.weights_bytes(precision)

    def total(instances: int, profiles: int, buffers: int = 1) -> int:
        return assumptions.server_bytes + instances * (fixed + profiles * context + buffers * io_bytes)

    wanted = 1 + min(math.ceil(gain), assumptions.max_instances - 1) if gain >= assumptions.min_gain else 1
    wanted = 1 if flavour == TENSORRT else wanted
    instances = max(n for n in range(1, wanted + 1) if n == 1 or total(n, 1) <= budget)
    three = total(instances, 3) <= budget
    # Triton's own backend hides copies within one instance; ours answers one request after the other.
    stream = flavour == TENSORRT and gain >= assumptions.min_stream_gain
    stream = stream and total(instances, 3 if three else 1, 2) <= budget
    launches_s = network.kernels(precision, flavour) * assumptions.launch_s
    graphs = launches_s >= assumptions.graphs_worth * expected_s
    notes = (
        _stream_note(stream, gain, io_bytes) if flavour == TENSORRT else _instances_note(instances, wanted, gain),
        _profiles_note(three, context, total(instances, 3), budget, side),
        f"CUDA graphs {'on' if graphs else 'off'}: launching kernels takes {launches_s / expected_s:.1%} of the "
        "largest request",
    )
    return Plan(
        card=card,
        network=network,
        precision=precision,
        flavour=flavour,
        profiles=profiles_of(side, wide=three),
        instances=instances,
        output_copy_stream=stream,
        cuda_graphs=graphs,
        workspace_bytes=assumptions.scratch_bytes,
        weights_bytes=network.weights_bytes(precision),
        activations_bytes=network.activations(px, precision),
        io_bytes=(2 if stream else 1) * io_bytes,
        process_bytes=assumptions.process_bytes,
        server_bytes=assumptions.server_bytes,
        budget_bytes=budget,
        limit_s=limit_s,
        expected_s=expected_s,
        copy_s=copy_s,
        decided_by=decided_by,
        limits=tuple(sorted(limits, key=lambda limit: limit.side)),
        assumptions=assumptions,
        notes=notes,
    )


def profiles_of(side: int, *, wide: bool) -> tuple[Profile, ...]:
    """Profile 0 for everything up to side x side; with `wide`, two more for 16:9 and 9:16 of the same area.

    Their ranges are disjoint: only the wide one has W > side, only the tall one H > side.
    """
    square = Profile("square", (1, 1), (side, side))
    if not wide:
        return (square,)
    short, long = side * 3 // 4, side * 4 // 3
    return (square, Profile("wide", (1, side + 1), (short, long)), Profile("tall", (side + 1, 1), (long, short)))


def times(
    card: Card,
    network: NetworkSize,
    precision: str,
    px: int,
    assumptions: Assumptions = DEFAULTS,
    flavour: str = TENSORRT,
) -> tuple[float, float, float]:
    """Seconds for a request of `px`: at the physical limit, as expected, and for its copies over PCIe.

    The limit: all FLOP at the dense peak, or input, output and weights once through memory, whichever is longer.
    Expected: FLOP at `efficiency` of the peak, or every feature map through memory, whichever is longer.
    """
    peak, best = peaks(card, precision, flavour)
    flop = float(px) * network.flop_per_px
    bandwidth = card.bandwidth_gb_s * 1e9
    once = px * network.io_per_px() + network.weights_bytes(precision)
    limit = max(flop / best, once / bandwidth)
    through_memory = px * network.traffic_per_px(precision, flavour) / (bandwidth * assumptions.bandwidth_efficiency)
    expected = max(flop / (peak * assumptions.efficiency), through_memory, limit)
    return limit, expected, px * network.io_per_px() / (card.pcie_gb_s * 1e9)


def peaks(card: Card, precision: str, flavour: str = TENSORRT) -> tuple[float, float]:
    """FLOP/s to expect from, and FLOP/s nothing can exceed: fp16 may add up in FP32 or, on some cards faster, in FP16.

    TF32 is off in fp32 engines: fp16 has the same mantissa. The peak of int8 is expected of TensorRT alone, where
    nobody measured it yet; TensorRT for RTX lists int8 for weights only.
    """
    if precision == INT8:
        return (card.fp16_tflops if flavour == RTX else card.int8_tops) * 1e12, card.int8_tops * 1e12
    if precision == "fp32":
        return card.fp32_tflops * 1e12, card.fp32_tflops * 1e12
    return card.fp16_tflops * 1e12, max(card.fp16_tflops, card.fp16_fast_tflops) * 1e12


def _budget(card: Card, assumptions: Assumptions) -> int:
    return int(card.vram_mib * MIB * (1 - assumptions.margin))


def _limits(card: Card, network: NetworkSize, precision: str, flavour: str, assumptions: Assumptions) -> list[Limit]:
    widest = max(network.filters, network.out_channels)
    budget = _budget(card, assumptions)
    processes = assumptions.server_bytes + assumptions.process_bytes
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
            f"1 instance: with a second set of buffers, {io_bytes // MIB:,} MiB, it copies over PCIe ({gain:.1%} of the "
            "time) while it computes"
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


def _profiles_note(three: bool, context: int, needed: int, budget: int, side: int) -> str:
    shapes = f"{side * 3 // 4}x{side * 4 // 3} and {side * 4 // 3}x{side * 3 // 4}"
    if three:
        return f"3 disjoint profiles: pictures up to {shapes} (16:9, 9:16) go in one piece too"
    return (
        f"1 profile: two more, for {shapes}, would each hold a context of {context // MIB:,} MiB in every instance, "
        f"{needed // MIB:,} of {budget // MIB:,} MiB; such pictures are tiled"
    )
