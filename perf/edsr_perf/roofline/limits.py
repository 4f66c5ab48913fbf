"""What follows from a network's size, a peak and a bandwidth: the shortest time a picture can take. Pure arithmetic.

A convolution is counted directly: two operations per multiplication and addition. Winograd's algorithm does with
fewer, so a runtime that uses it (float32, mostly) may come nearer to, or past, such a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edsr_conversion.gpu.cards import Card
    from edsr_conversion.gpu.planner import NetworkSize
    from edsr_conversion.gpu.replaced import Claim

Shape = tuple[int, int]
ELEMENT_BYTES = {"f32": 4, "bf16": 2, "int8": 1, "fp32": 4, "fp16": 2}


@dataclass(frozen=True)
class Limit:
    """Seconds that computing and moving data take at least; they can overlap, so the longer one counts."""

    compute_s: float
    memory_s: float

    @property
    def seconds(self) -> float:
        return max(self.compute_s, self.memory_s)

    @property
    def bound_by(self) -> str:
        """ "computation" or "memory" """
        return "computation" if self.compute_s >= self.memory_s else "memory"


def minimum_bytes(network: NetworkSize, px: int, element: int) -> int:
    """Input, output and weights once through memory; feature maps never leave the processor.

    Args:
        network: its size.
        px: LR pixels.
        element: bytes of a weight.
    """
    return px * network.io_per_px() + network.parameters * element


def limit(network: NetworkSize, px: int, element: int, flop_s: float, bytes_s: float) -> Limit:
    """The shortest time for a picture of `px` LR pixels at a peak in FLOP/s and a bandwidth in bytes/s."""
    return Limit(float(px) * network.flop_per_px / flop_s, minimum_bytes(network, px, element) / bytes_s)


def peaks_of(card: Card) -> dict[str, float]:
    """FLOP/s by precision from the datasheet: the highest the card has for each."""
    fp16 = max(card.fp16_tflops, card.fp16_fast_tflops)
    return {"fp32": card.fp32_tflops * 1e12, "fp16": fp16 * 1e12, "int8": card.int8_tops * 1e12}


def card_limits(card: Card, network: NetworkSize, shapes: list[Shape]) -> dict[str, Any]:
    """A card's datasheet, and the limit in seconds per shape and precision, as JSON."""
    bytes_s = card.bandwidth_gb_s * 1e9
    return {
        "key": card.key,
        "name": card.name,
        "source": f"datasheet: {card.source}",
        "peak_tflops": {precision: flop_s / 1e12 for precision, flop_s in peaks_of(card).items()},
        "bandwidth_gb_s": card.bandwidth_gb_s,
        "limit_s": {
            f"{height}x{width}": {
                precision: rounded(limit(network, height * width, ELEMENT_BYTES[precision], flop_s, bytes_s).seconds)
                for precision, flop_s in peaks_of(card).items()
            }
            for height, width in shapes
        },
    }


def judge(claim: Claim, card: Card, networks: Mapping[str, NetworkSize]) -> dict[str, Any]:
    """A claimed time beside what the card would have to do for it, per network, as JSON.

    `possible` is "fp16" where fp16's dense peak suffices, "int8" where only that of int8 does, "" where none does.

    Raises:
        ValueError: the claim states no time.
    """
    if claim.latency_ms is None:
        raise ValueError("the claim states no time")
    px, peaks = claim.side**2, peaks_of(card)
    found = {}
    for name, network in networks.items():
        needed = px * network.flop_per_px / (claim.latency_ms / 1e3)
        at_limit = limit(network, px, ELEMENT_BYTES["fp16"], peaks["fp16"], card.bandwidth_gb_s * 1e9)
        found[name] = {
            "needed_tflops": rounded(needed / 1e12),
            "of_fp16_peak": rounded(needed / peaks["fp16"]),
            "limit_ms": rounded(at_limit.seconds * 1e3),
            "possible": next((p for p in ("fp16", "int8") if needed <= peaks[p]), ""),
        }
    return {"card": card.key, "side": claim.side, "claimed_ms": claim.latency_ms, "networks": found}


def judge_all(cards: Mapping[str, Card], networks: Mapping[str, NetworkSize]) -> list[dict[str, Any]]:
    """Every claim of the replaced service that states a time, about the cards given."""
    from edsr_conversion.gpu.replaced import claims_for

    return [
        judge(claim, card, networks)
        for card in cards.values()
        for claim in claims_for(card.key)
        if claim.latency_ms is not None
    ]


def rounded(value: float) -> float:
    """Four digits: more would be noise in a file."""
    return float(f"{value:.4g}")
