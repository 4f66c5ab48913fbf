"""What the planner assumes, in one place: to be replaced by what a card shows."""

from __future__ import annotations

from dataclasses import dataclass

from .workload import MIB


@dataclass(frozen=True)
class Assumptions:
    """What the arithmetic cannot know. None of it was measured on a GPU yet.

    Attributes:
        margin: part of the memory that stays free.
        server_bytes: memory pools of the tritonserver process, and, where it runs no engine itself, its CUDA context.
        process_bytes: CUDA context and libraries of a process that runs engines. With TensorRT that is the server,
            however many instances and models it has; TensorRT for RTX has a process for each instance.
        scratch_bytes: working memory of one context beside its activations; the builder's workspace limit, which in
            TensorRT does not limit the activations.
        efficiency: part of the dense peak that convolutions reach.
        bandwidth_efficiency: part of the memory bandwidth that is reached.
        max_request_s: longest time one request may keep the card, at that efficiency: others wait behind it.
        max_request_px: largest request whatever the card; a 4K picture, whose answer has 224 MB.
        min_gain: gain in throughput below which another instance is not worth its memory.
        min_stream_gain: the same of a second set of input and output buffers, which is far smaller.
        max_instances: more never helped to hide copies behind computation: one copies in, one computes, one copies out.
        launch_s: time to launch one kernel, while the one before it computes.
        graphs_worth: part of the time of the shape that a profile is tuned for which launches must take before CUDA
            graphs are switched on.
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
    graphs_worth: float = 0.1


DEFAULTS = Assumptions()
