"""How long a card takes for a request at best, and as expected: arithmetic on published peaks."""

from __future__ import annotations

from edsr_serving.variants import INT8, RTX, TENSORRT

from .assumptions import DEFAULTS, Assumptions
from .cards import Card
from .workload import NetworkSize


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
    Expected: FLOP at `efficiency` of the peak, or every feature map through memory, or launching all kernels, whichever
    is longer: a kernel is launched while the one before it computes.
    """
    peak, best = peaks(card, precision, flavour)
    flop = float(px) * network.flop_per_px
    bandwidth = card.bandwidth_gb_s * 1e9
    once = px * network.io_per_px() + network.weights_bytes(precision)
    limit = max(flop / best, once / bandwidth)
    through_memory = px * network.traffic_per_px(precision, flavour) / (bandwidth * assumptions.bandwidth_efficiency)
    launches = network.kernels(precision, flavour) * assumptions.launch_s
    expected = max(flop / (peak * assumptions.efficiency), through_memory, launches, limit)
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
