"""The few CUDA calls an engine needs, through NVIDIA's own bindings; every return code is checked."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .host import CudaError


class Cuda:
    """One GPU: memory, copies, a stream. Addresses are integers, sizes bytes.

    Raises:
        CudaError: from every method, if CUDA refuses; from the constructor also if there is no GPU or driver.
        ImportError: cuda-bindings is not installed.
    """

    def __init__(self, device: int = 0) -> None:
        from cuda.bindings import runtime

        self._runtime: Any = runtime
        self._device = device
        self.use()
        self.stream: int = int(self._check(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)))

    def use(self) -> None:
        """Make this GPU the calling thread's: every thread begins with device 0."""
        self._check(self._runtime.cudaSetDevice(self._device))

    def allocate(self, size: int) -> int:
        return int(self._check(self._runtime.cudaMalloc(size)))

    def free(self, address: int) -> None:
        self._check(self._runtime.cudaFree(address))

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Page-locked host memory: copies to and from it run beside computation."""
        address = int(self._check(self._runtime.cudaHostAlloc(size, self._runtime.cudaHostAllocDefault)))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        self._check(self._runtime.cudaFreeHost(array.ctypes.data))

    def to_device(self, address: int, array: NDArray[np.uint8]) -> None:
        self._copy(address, array.ctypes.data, array.nbytes, "HostToDevice")

    def to_host(self, array: NDArray[np.uint8], address: int) -> None:
        self._copy(array.ctypes.data, address, array.nbytes, "DeviceToHost")

    def synchronize(self) -> None:
        self._check(self._runtime.cudaStreamSynchronize(self.stream))

    def close(self) -> None:
        self._check(self._runtime.cudaStreamDestroy(self.stream))

    def _copy(self, to: int, source: int, size: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, f"cudaMemcpy{direction}")
        self._check(self._runtime.cudaMemcpyAsync(to, source, size, kind, self.stream))

    def _check(self, result: tuple[Any, ...]) -> Any:
        status, *values = result
        if int(status) != 0:
            name = str(status.name)
            _, text = self._runtime.cudaGetErrorString(status)
            words = text.decode() if isinstance(text, bytes) else text
            raise CudaError(f"{words or 'CUDA refused'} ({name})", name)
        return values[0] if values else None
