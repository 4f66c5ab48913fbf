"""An engine of TensorRT or TensorRT for RTX, loaded on a GPU and run picture by picture."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tensors import INPUT, OUTPUT
from .cuda import Cuda
from .host import EAGER, CudaError, GrowingBuffer, ShapeRange, Specialisation, choose_profile


class EngineRunner:
    """One instance: an engine, its execution contexts, its buffers and its stream.

    TensorRT has a context per profile, each with memory of its own, as Triton's backend has them. TensorRT for RTX has
    one per profile and way to compile kernels, and all share the memory of the largest: they run one at a time.

    Args:
        plan: path of the engine.
        module: name of the Python module that loads it, "tensorrt" or "tensorrt_rtx".
        device: index of the GPU in CUDA's order, among those that it may see (`gpu.selection`).
        runtime_cache: file for the kernels that TensorRT for RTX compiles when it first meets a shape; kept from run to
            run. Ignored by TensorRT.
        cuda_graphs: let TensorRT for RTX capture and replay the whole network.
        eager: let it compile kernels for every shape before that runs, for measurements; else only for those that the
            engine is tuned for, and beside the work for a bounded number of others.

    Raises:
        CudaError: no GPU, not enough memory, or an engine that was built for another card or version.
    """

    def __init__(
        self,
        plan: Path,
        module: str,
        *,
        device: int = 0,
        runtime_cache: Path | None = None,
        cuda_graphs: bool = False,
        eager: bool = False,
    ) -> None:
        self._cuda = Cuda(device)
        self._api: ModuleType = importlib.import_module(module)
        self._messages: list[str] = []
        self._runtime = self._api.Runtime(_logger(self._api, self._messages))
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise CudaError(f"{plan.name} does not load in {module} {self._api.__version__}: {self._reasons()}")
        self._cache_file = runtime_cache
        self._is_rtx = hasattr(self._api, "CudaGraphStrategy")
        self._graphs, self._eager = cuda_graphs, eager
        self._cache: Any = None
        self.profiles = tuple(self._range(index) for index in range(self._engine.num_optimization_profiles))
        tuned = {shape for p in self.profiles for shape in (p.max_hw, p.opt_hw or p.max_hw)}
        self._specialisation = Specialisation(tuned)
        self._memory_size = max(self.context_bytes()) if self._is_rtx else 0
        self._memory = self._cuda.allocate(self._memory_size) if self._memory_size else 0
        self._contexts: dict[tuple[int, str], Any] = {}
        first, *_ = (self._context(index, EAGER) for index in range(len(self.profiles)))
        height, width = max((p.max_hw for p in self.profiles), key=lambda hw: hw[0] * hw[1])
        first.set_input_shape(INPUT, (1, *self.profiles[0].max_hw, 3))
        self.scale = int(first.get_tensor_shape(OUTPUT)[1]) // self.profiles[0].max_hw[0]
        in_size, out_size = height * width * 3, height * width * 3 * self.scale**2
        self._device_in, self._device_out = self._cuda.allocate(in_size), self._cuda.allocate(out_size)
        self._host_in = GrowingBuffer(self._cuda.pinned, self._cuda.free_pinned, in_size)
        self._host_out = GrowingBuffer(self._cuda.pinned, self._cuda.free_pinned, out_size)

    @property
    def version(self) -> str:
        """Of the TensorRT that runs the engine."""
        return str(self._api.__version__)

    def run(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Upscale one picture: uint8 [1, H, W, 3] -> [1, scale H, scale W, 3], valid until the next call.

        Raises:
            ShapeError: no profile takes it.
            CudaError: CUDA or TensorRT refused.
        """
        self._cuda.use()
        _, height, width, _ = image.shape
        way = EAGER if self._eager or not self._is_rtx else self._specialisation.of(height, width)
        context = self._context(choose_profile(self.profiles, height, width), way)
        out_shape = (1, height * self.scale, width * self.scale, 3)
        host_in = self._host_in.at_least(image.size)[: image.size]
        host_out = self._host_out.at_least(image.size * self.scale**2)[: image.size * self.scale**2]
        np.copyto(host_in, image.reshape(-1))
        self._cuda.to_device(self._device_in, host_in)
        self.compute(context, image.shape)
        self._cuda.to_host(host_out, self._device_out)
        self._cuda.synchronize()
        return host_out.reshape(out_shape)

    def compute(self, context: Any, shape: tuple[int, ...]) -> None:
        """Enqueue the network on what lies in the input buffer."""
        self._messages.clear()
        done = (
            context.set_input_shape(INPUT, shape)
            and context.set_tensor_address(INPUT, self._device_in)
            and context.set_tensor_address(OUTPUT, self._device_out)
            and context.execute_async_v3(self._cuda.stream)
        )
        if not done:
            raise CudaError(f"TensorRT did not run {list(shape)}: {self._reasons()}")

    def context_bytes(self) -> tuple[int, ...]:
        """Device memory of one context per profile, as the engine says."""
        return tuple(
            int(self._engine.get_device_memory_size_for_profile_v2(index)) for index in range(len(self.profiles))
        )

    def save_runtime_cache(self) -> None:
        """Write the compiled kernels; a folder that cannot be written only costs time at the next start.

        After a shape that is compiled eagerly has run, its kernels are there; of others, those that are finished.
        """
        if self._cache is None or self._cache_file is None:
            return
        content = bytes(self._cache.serialize())
        try:
            descriptor, partial = tempfile.mkstemp(dir=self._cache_file.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(partial).replace(self._cache_file)
        except OSError:
            pass

    def close(self) -> None:
        """Free everything on the GPU."""
        self.save_runtime_cache()
        self._contexts.clear()
        self._host_in.close()
        self._host_out.close()
        for address in filter(None, (self._device_in, self._device_out, self._memory)):
            self._cuda.free(address)
        del self._engine, self._runtime
        self._cuda.close()

    def _context(self, profile: int, way: str) -> Any:
        """The context of a profile, with kernels compiled in one of the ways of `host`; made when first asked for."""
        if context := self._contexts.get((profile, way)):
            return context
        arguments = (self._runtime_config(way),) if self._is_rtx else ()
        context = self._engine.create_execution_context(*arguments)
        if context is None:
            raise CudaError(
                f"no memory for a context of profile {profile}: {self._reasons()}", "cudaErrorMemoryAllocation"
            )
        if not context.set_optimization_profile_async(profile, self._cuda.stream):
            raise CudaError(f"profile {profile} cannot be used: {self._reasons()}")
        if self._memory:
            context.set_device_memory(self._memory, self._memory_size)
        self._cuda.synchronize()
        self._contexts[profile, way] = context
        return context

    def _runtime_config(self, way: str) -> Any:
        """TensorRT for RTX's run-time configuration of a context; all of them have one kernel cache."""
        api: Any = self._api
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(api.ExecutionContextAllocationStrategy.USER_MANAGED)
        config.dynamic_shapes_kernel_specialization_strategy = getattr(
            api.DynamicShapesKernelSpecializationStrategy, way
        )
        if self._graphs:
            config.cuda_graph_strategy = api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            if self._cache_file is not None and self._cache_file.is_file():
                self._cache.deserialize(self._cache_file.read_bytes())  # one of another version or card is ignored
        config.set_runtime_cache(self._cache)
        return config

    def _range(self, profile: int) -> ShapeRange:
        shapes = self._engine.get_tensor_profile_shape(INPUT, profile)
        smallest, tuned_for, largest = ((int(shape[1]), int(shape[2])) for shape in shapes)
        return ShapeRange(smallest, largest, tuned_for)

    def _reasons(self) -> str:
        return "; ".join(dict.fromkeys(self._messages))[:400] or "no reason given"


def _logger(api: Any, messages: list[str]) -> Any:
    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if "ERROR" in str(severity):
                messages.append(" ".join(message.split()))

    return Logger()
