"""Builds a plan with TensorRT (10, 11) or TensorRT for RTX, which share their Python API. To import it needs no GPU.

Networks are strongly typed in both: the ONNX file says what is float16; there is no precision flag.
"""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..convert import write_atomically
from ..errors import CannotBuildHereError, EngineError
from ..serving_graph import INPUT
from .flavours import RTX, TENSORRT, load
from .layers import convolutions, log_text
from .planner import MIB, Profile

if TYPE_CHECKING:
    import tensorrt as trt

# Called with (phase, steps done, steps in all), from whatever thread the builder runs.
Progress = Callable[[str, int, int], None]
HARDWARE_COMPATIBILITY = ("none", "same-compute-capability", "ampere-plus")
PROFILING = ("none", "layer-names", "detailed")
MEMORY_IN_LOG = {
    "activations": re.compile(r"Total Activation Memory: (\d+) bytes"),
    "weights": re.compile(r"Total Weights Memory: (\d+) bytes"),
}
OUT_OF_MEMORY = re.compile(r"OutOfMemory|out of memory|workspace", re.IGNORECASE)


@dataclass(frozen=True)
class BuildOptions:
    """Options of the builder that change the plan.

    Attributes:
        version_compatible: the plan also loads in newer TensorRTs. It then holds host code that the server executes:
            treat it as a program. Triton must be started with `--backend-config=tensorrt,version-compatible=true`.
        hardware_compatibility: which other cards may load it; all but "none" cost speed.
        profiling: what profilers can see of the engine; with "detailed" the log has the format of every layer.
        optimization_level: 0 to 5, the builder's default if None.
    """

    version_compatible: bool = False
    hardware_compatibility: str = "none"
    profiling: str = "detailed"
    optimization_level: int | None = None

    def check(self, flavour: str) -> None:
        """Raise CannotBuildHereError if the flavour does not have an option."""
        if flavour == RTX and (self.version_compatible or self.hardware_compatibility != "none"):
            raise CannotBuildHereError(
                "TensorRT for RTX has no version or hardware compatibility: its plans load in the version that built "
                "them, on every card of the compute capability. Leave these options out, or use FLAVOUR=tensorrt."
            )


@dataclass(frozen=True)
class Build:
    """What to build: an ONNX file, profiles of its input `image`, memory limits in bytes, and for what."""

    onnx: bytes
    profiles: tuple[Profile, ...]
    activations_bytes: int
    workspace_bytes: int
    flavour: str
    compute_capability: str
    options: BuildOptions = BuildOptions()


@dataclass(frozen=True)
class Built:
    """A plan, and the memory its contexts need: one figure per profile, as far as the builder tells.

    `convolutions` counts them by the format that they compute in, as the builder's log has it: {"Half": 35}.
    """

    plan: bytes
    version: str
    seconds: float
    context_bytes: tuple[int, ...]
    weights_bytes: int | None
    convolutions: dict[str, int]


def build(
    request: Build, progress: Progress = lambda *_: None, timing_cache: Path | None = None, log: Path | None = None
) -> Built:
    """Build a plan.

    Args:
        request: what.
        progress: called for every step.
        timing_cache: TensorRT's measurements of kernels on this card, read and written; not used by TensorRT for RTX,
            which would ask for a GPU.
        log: file for everything the builder says.

    Raises:
        CannotBuildHereError: the flavour is not installed, or lacks an option.
        EngineError: the builder refused; the message has its reasons.
        KeyboardInterrupt: interrupted; the builder was stopped in order.
    """
    request.options.check(request.flavour)
    module = load(request.flavour)
    if module is None:
        raise CannotBuildHereError(f"{request.flavour} is not installed in this environment. Run `make setup`.")
    api: Any = module
    messages: list[tuple[str, str]] = []
    logger = _logger(api, messages)
    started = time.monotonic()
    try:
        with _interruptible() as interrupted:
            plan = _build(api, logger, messages, request, _monitor(api, progress, interrupted), timing_cache)
        if plan is None:
            raise EngineError(_failure(request, messages))
    finally:
        if log is not None:
            _write_log(log, messages)
    contexts, weights = _memory(api, logger, request, plan, messages)
    formats = convolutions(log_text(messages))
    return Built(plan, str(api.__version__), time.monotonic() - started, contexts, weights, formats)


def _build(
    api: Any,
    logger: trt.ILogger,
    messages: list[tuple[str, str]],
    request: Build,
    monitor: trt.IProgressMonitor,
    timing_cache: Path | None,
) -> bytes | None:
    builder: trt.Builder = api.Builder(logger)
    flags = 0
    strongly_typed = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if strongly_typed is not None:  # the only way from TensorRT 11 on
        flags = 1 << int(strongly_typed)
    network: trt.INetworkDefinition = builder.create_network(flags)
    parser: trt.OnnxParser = api.OnnxParser(network, logger)
    if not parser.parse(request.onnx):
        reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f"{request.flavour} cannot read the ONNX file: {reasons or 'no reason given'}.")
    config: trt.IBuilderConfig = builder.create_builder_config()
    _configure(api, config, request)
    config.progress_monitor = monitor
    for profile in request.profiles:
        smallest, tuned_for, largest = (
            api.Dims4((1, height, width, 3)) for height, width in (profile.min_hw, profile.opt_hw, profile.max_hw)
        )
        shapes: trt.IOptimizationProfile = builder.create_optimization_profile()
        shapes.set_shape(INPUT, smallest, tuned_for, largest)
        if config.add_optimization_profile(shapes) < 0:
            raise EngineError(f"{request.flavour} refuses profile {profile.name}: {_errors(messages)}.")
    if request.flavour == TENSORRT and timing_cache is not None:
        cached = timing_cache.read_bytes() if timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(cached), ignore_mismatch=False)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        return None
    if request.flavour == TENSORRT and timing_cache is not None:
        with contextlib.suppress(OSError):  # only costs time at the next build
            timing_cache.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(serialized)


def _configure(api: Any, config: trt.IBuilderConfig, request: Build) -> None:
    options = request.options
    workspace = request.workspace_bytes
    if request.flavour == RTX:
        # Its workspace holds the activations too, so the builder itself refuses what the plan did not count.
        workspace += request.activations_bytes
        config.num_compute_capabilities = 1  # type: ignore[attr-defined]
        capability = getattr(api.ComputeCapability, f"SM{request.compute_capability.replace('.', '')}")
        config.set_compute_capability(capability, 0)  # type: ignore[attr-defined]
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, workspace)
    config.clear_flag(api.BuilderFlag.TF32)  # an fp32 engine is asked for because it is exact
    names = {"none": "NONE", "layer-names": "LAYER_NAMES_ONLY", "detailed": "DETAILED"}
    config.profiling_verbosity = getattr(api.ProfilingVerbosity, names[options.profiling])
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatibility != "none":
        level = options.hardware_compatibility.upper().replace("-", "_")
        config.hardware_compatibility_level = getattr(api.HardwareCompatibilityLevel, level)


def _memory(
    api: Any, logger: trt.ILogger, request: Build, plan: bytes, messages: list[tuple[str, str]]
) -> tuple[tuple[int, ...], int | None]:
    """Bytes of one context for each profile, and of the weights: asked of the engine, or read from the builder's log.

    TensorRT for RTX needs a GPU to load an engine, but its builder says what it planned.
    """
    found = {
        name: [int(match[1]) for _, text in messages if (match := pattern.search(text))]
        for name, pattern in MEMORY_IN_LOG.items()
    }
    weights = found["weights"][-1] if found["weights"] else None
    if request.flavour == RTX:
        return tuple(found["activations"]), weights
    runtime: trt.Runtime = api.Runtime(logger)
    runtime.engine_host_code_allowed = request.options.version_compatible  # it is our own, built just now
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{request.flavour} built an engine that it does not load: {_errors(messages)}.")
    profiles = range(engine.num_optimization_profiles)
    return tuple(engine.get_device_memory_size_for_profile_v2(index) for index in profiles), weights


def _logger(api: Any, messages: list[tuple[str, str]]) -> trt.ILogger:
    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            messages.append((str(severity).rpartition(".")[2], message))

    logger: trt.ILogger = Logger()
    return logger


def _monitor(api: Any, progress: Progress, interrupted: threading.Event) -> trt.IProgressMonitor:
    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.steps[name] = steps
            progress(name, 0, steps)

        def step_complete(self, name: str, step: int) -> bool:
            progress(name, step + 1, self.steps.get(name, 0))
            return not interrupted.is_set()  # False asks the builder to stop

        def phase_finish(self, name: str) -> None:
            steps = self.steps.pop(name, 0)
            progress(name, steps, steps)

    monitor: trt.IProgressMonitor = Monitor()
    return monitor


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event meanwhile: an exception raised inside the builder's callback would end the process."""
    interrupted = threading.Event()
    ignored = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
    if ignored or threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupted.is_set():
        raise KeyboardInterrupt


def _failure(request: Build, messages: list[tuple[str, str]]) -> str:
    shapes = ", ".join("x".join(map(str, profile.max_hw)) for profile in request.profiles)
    text = f"{request.flavour} did not build an engine for {shapes}: {_errors(messages)}."
    if any(OUT_OF_MEMORY.search(message) for severity, message in messages if severity == "ERROR"):
        limit = (request.workspace_bytes + request.activations_bytes) // MIB
        text += f" It wanted more memory than the plan allows ({limit:,} MiB); please report the network and the plan."
    return text


def _errors(messages: list[tuple[str, str]]) -> str:
    errors = [" ".join(text.split()) for severity, text in messages if "ERROR" in severity]
    return "; ".join(dict.fromkeys(errors))[:400].rstrip(".") or "it gave no reason"


def _write_log(log: Path, messages: list[tuple[str, str]]) -> None:
    with contextlib.suppress(OSError):  # a log that cannot be written is no reason to lose the engine
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(f"{severity:7} {text}\n" for severity, text in messages), encoding="utf-8")
