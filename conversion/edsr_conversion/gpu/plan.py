"""A plan: what to build for a card, and what is predicted of it. Sizes are LR pixels, memory is bytes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edsr_serving.variants import RTX

from .assumptions import Assumptions
from .cards import Card
from .profiles import Profile, outermost
from .speed import times
from .workload import MIB, NetworkSize


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
    and an answer is copied to the host while the next picture is computed. `told_context_bytes` are an engine's own
    figures of its contexts, one per profile, in place of the predicted ones; see `following`.
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
    notes: tuple[str, ...] = ()
    told_context_bytes: tuple[int, ...] = ()

    @property
    def side(self) -> int:
        """Side of the largest square request, which is also the tile."""
        return self.profiles[0].max_hw[0]

    @property
    def max_shapes(self) -> tuple[tuple[int, int], ...]:
        """Largest (height, width) of every profile that does not lie within another: a picture must fit one of them."""
        return tuple(profile.max_hw for profile in outermost(self.profiles))

    @property
    def context_sizes(self) -> tuple[int, ...]:
        """Bytes of each profile's execution context: activations and working memory."""
        if self.told_context_bytes:
            return self.told_context_bytes
        px = (profile.max_px for profile in self.profiles)
        return tuple(self.network.activations(each, self.precision) + self.workspace_bytes for each in px)

    @property
    def context_bytes(self) -> int:
        """Of the largest of them."""
        return max(self.context_sizes)

    @property
    def contexts_bytes(self) -> int:
        """Of all contexts of an instance: with TensorRT for RTX they share the memory of the largest."""
        return max(self.context_sizes) if self.flavour == RTX else sum(self.context_sizes)

    @property
    def has_contexts_of_one_size(self) -> bool:
        """Whether a context that can hold every profile takes no more than one for its own."""
        return len(set(self.context_sizes)) == 1

    @property
    def instance_bytes(self) -> int:
        """What an instance adds: its process if it has one, weights, contexts, input and output buffers.

        Triton's instances share none of it.
        """
        return self.process_bytes + self.weights_bytes + self.contexts_bytes + self.io_bytes

    @property
    def total_bytes(self) -> int:
        """Predicted peak on the card."""
        return self.server_bytes + self.instances * self.instance_bytes

    def fits_the_card(self) -> bool:
        """Whether all of it is within what may be planned."""
        return self.total_bytes <= self.budget_bytes

    def following(self, context_bytes: Sequence[int]) -> Plan:
        """The same plan with an engine's own figures of its contexts, where one of them is larger than predicted.

        A builder may choose kernels that need more than activations and scratch. That is no reason to refuse an engine
        which fits the card all the same, see `fits_the_card`; but what is told of its memory has to be true.
        """
        sizes = tuple(context_bytes)
        if self.flavour == RTX:  # whose builder tells the activations alone
            sizes = tuple(size + self.workspace_bytes for size in sizes)
        if len(sizes) != len(self.profiles) or all(map(operator.le, sizes, self.context_sizes)):
            return self
        predicted, needed = self.context_bytes // MIB, max(sizes) // MIB
        note = f"the engine needs {needed:,} MiB for its largest context, and {predicted:,} were predicted"
        return replace(self, told_context_bytes=sizes, notes=(*self.notes, note))

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


def shape_text(hw: tuple[int, int]) -> str:
    """ "1080x1920", height x width."""
    return "x".join(map(str, hw))
