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
from .host import CudaError, GrowingBuffer, ShapeRange, choose_profile


class EngineRunner:
    """One instance: an engine, an execution context per profile, its buffers and its stream.

    Args:
        plan: path of the engine.
        module: name of the Python module that loads it, "tensorrt" or "tensorrt_rtx".
        device: index of the GPU in CUDA's order, among those that it may see (`gpu.selection`).
        runtime_cache: file for the kernels that TensorRT for RTX compiles when it first meets a shape; kept from run to
            run. Ignored by TensorRT.
        cuda_graphs: let TensorRT for RTX capture and replay the whole network.

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
    ) -> None:
        self._cuda = Cuda(device)
        self._api: ModuleType = importlib.import_module(module)
        self._messages: list[str] = []
        self._runtime = self._api.Runtime(_logger(self._api, self._messages))
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise CudaError(f"{plan.name} does not load in {module} {self._api.__version__}: {self._reasons()}")
        self._cache_file = runtime_cache
        self._config, self._cache = self._runtime_config(cuda_graphs)
        self.profiles = tuple(self._range(index) for index in range(self._engine.num_optimization_profiles))
        self._contexts = [self._context(index) for index in range(len(self.profiles))]
        height, width = max((p.max_hw for p in self.profiles), key=lambda hw: hw[0] * hw[1])
        self._contexts[0].set_input_shape(INPUT, (1, *self.profiles[0].max_hw, 3))
        self.scale = int(self._contexts[0].get_tensor_shape(OUTPUT)[1]) // self.profiles[0].max_hw[0]
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
        context = self._contexts[choose_profile(self.profiles, height, width)]
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
        """Write the compiled kernels; a folder that cannot be written only costs time at the next start."""
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
        for address in (self._device_in, self._device_out):
            self._cuda.free(address)
        del self._engine, self._runtime
        self._cuda.close()

    def _context(self, profile: int) -> Any:
        arguments = () if self._config is None else (self._config,)
        context = self._engine.create_execution_context(*arguments)
        if context is None:
            raise CudaError(
                f"no memory for a context of profile {profile}: {self._reasons()}", "cudaErrorMemoryAllocation"
            )
        if not context.set_optimization_profile_async(profile, self._cuda.stream):
            raise CudaError(f"profile {profile} cannot be used: {self._reasons()}")
        self._cuda.synchronize()
        return context

    def _runtime_config(self, cuda_graphs: bool) -> tuple[Any, Any]:
        """TensorRT for RTX's run-time configuration and kernel cache; (None, None) for TensorRT."""
        if not hasattr(self._api, "CudaGraphStrategy"):
            return None, None
        config = self._engine.create_runtime_config()
        if cuda_graphs:
            config.cuda_graph_strategy = self._api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        cache = config.create_runtime_cache()
        if self._cache_file is not None and self._cache_file.is_file():
            cache.deserialize(self._cache_file.read_bytes())  # one of another version or card is ignored
        config.set_runtime_cache(cache)
        return config, cache

    def _range(self, profile: int) -> ShapeRange:
        smallest, _, largest = self._engine.get_tensor_profile_shape(INPUT, profile)
        return ShapeRange((smallest[1], smallest[2]), (largest[1], largest[2]))

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
