"""The reference where no TensorRT runs: the network through PyTorch and cuDNN, fp16, channels-last, CUDA graphs.

Not what this project serves: it says what the card can do with this network by another good library.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .steps import Clock
from .torch_network import Network, Weights

LABEL = "PyTorch + cuDNN, fp16, channels-last, CUDA graph: not a TensorRT engine"
SMALLEST, LARGEST = 64, 8192
RUNS, WARM_UPS = 10, 3
# A shape takes warm-ups, the choice of cuDNN's algorithms and the runs: so many times the last shape's, at most.
GROWTH, MIN_S = 6.0, 5.0


def sides() -> Iterator[int]:
    """64, 128, ... LARGEST, with 1440 and 2880 of everyday video between them."""
    yield from sorted({*(SMALLEST * 2**power for power in range(8)), 1440, 2880})


def measure(weights: Weights, clock: Clock, device: str = "cuda") -> dict[str, Any]:
    """Time and peak memory per square picture, until one does not fit or the time is over, as JSON."""
    torch.backends.cudnn.benchmark = True
    network = Network(weights, torch.float16).to(device).eval()
    shapes: dict[str, Any] = {}
    ended, last_s = "the largest that was tried fits", 0.0
    for side in sides():
        needed = max(MIN_S, GROWTH * last_s)
        if clock.left_s() < needed:
            ended = f"{side}x{side} was not tried: {clock.left_s():.0f} s were left of the time"
            break
        started = clock.elapsed_s()
        try:
            shapes[f"{side}x{side}"] = _one(network, side, device)
        except RuntimeError as error:  # out of memory is one
            ended = f"{side}x{side}: {' '.join(str(error).split())[:160]}"
            break
        finally:
            with contextlib.suppress(RuntimeError):  # after some errors CUDA refuses everything
                torch.cuda.empty_cache()
        last_s = clock.elapsed_s() - started
    return {
        "label": LABEL,
        "versions": {"torch": torch.__version__, "cudnn": str(torch.backends.cudnn.version())},
        "shapes": shapes,
        "ended": ended,
    }


def difference_from_float32(weights: Weights, picture: NDArray[np.uint8], device: str) -> tuple[float | None, int]:
    """PSNR in dB and levels between fp16 on `device` and float32 on the CPU; `picture`: uint8 [1, H, W, 3]."""
    from ..baselines.agreement import difference

    given = torch.from_numpy(picture)
    with torch.inference_mode():
        exact = Network(weights)(given).numpy()
        half = Network(weights, torch.float16).to(device)(given.to(device)).cpu().numpy()
    return difference(exact, half)


def _one(network: Network, side: int, device: str) -> dict[str, Any]:
    """Milliseconds of the captured network alone and with its copies, and bytes: at the peak, and reserved."""
    picture = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8).pin_memory()
    given = picture.to(device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            network(given)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()  # what choosing algorithms took does not count
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        answer = network(given)
    back = torch.empty(answer.shape, dtype=torch.uint8).pin_memory()

    def with_copies() -> None:
        given.copy_(picture, non_blocking=True)
        graph.replay()
        back.copy_(answer, non_blocking=True)

    graph.replay()
    return {
        "compute_ms": _median_ms(graph.replay),
        "with_copies_ms": _median_ms(with_copies),
        "peak_bytes": torch.cuda.max_memory_allocated(),
        "reserved_bytes": torch.cuda.max_memory_reserved(),
    }


def _median_ms(work: Any) -> float:
    found = []
    for _ in range(RUNS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end))
    return float(f"{statistics.median(found):.5g}")
