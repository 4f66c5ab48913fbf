"""The part of running an engine that needs no GPU: which profile, how large the buffers, what an error means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Buffer = TypeVar("Buffer")


@dataclass(frozen=True)
class ShapeRange:
    """What one optimization profile takes, smallest and largest (height, width), and what it is tuned for."""

    min_hw: tuple[int, int]
    max_hw: tuple[int, int]
    opt_hw: tuple[int, int] | None = None

    def holds(self, height: int, width: int) -> bool:
        (h0, w0), (h1, w1) = self.min_hw, self.max_hw
        return h0 <= height <= h1 and w0 <= width <= w1

    @property
    def max_px(self) -> int:
        return self.max_hw[0] * self.max_hw[1]


def choose_profile(profiles: Sequence[ShapeRange], height: int, width: int) -> int:
    """Index of the profile for a picture: the smallest of those that take it, whose kernels are the best for it.

    Raises:
        ShapeError: none takes it.
    """
    holding = [index for index, profile in enumerate(profiles) if profile.holds(height, width)]
    if holding:
        return min(holding, key=lambda index: profiles[index].max_px)
    largest = ", ".join(f"{p.max_hw[0]}x{p.max_hw[1]}" for p in profiles)
    raise ShapeError(f"image of {height}x{width} fits none of the engine's profiles (at most {largest}); send tiles")


# How TensorRT for RTX compiles kernels for a shape that it meets: before it runs, beside it while others run, never.
EAGER, LAZY, NEVER = "EAGER", "LAZY", "NONE"
FREE_SHAPES = 32


class Specialisation:
    """Which shapes get kernels of their own: all that are tuned for, and a bounded number of others.

    Compiling takes seconds of a processor and some of the card's memory per shape, and clients may send any number of
    shapes. Those beyond the bound run by kernels for all shapes.
    """

    def __init__(self, tuned: Collection[tuple[int, int]], free: int = FREE_SHAPES) -> None:
        self._tuned, self._free = frozenset(tuned), free
        self._met: set[tuple[int, int]] = set()

    def of(self, height: int, width: int) -> str:
        """EAGER for a shape that is tuned for, LAZY for the first `free` others, NEVER for any more."""
        shape = (height, width)
        if shape in self._tuned:
            return EAGER
        if len(self._met) < self._free:
            self._met.add(shape)
        return LAZY if shape in self._met else NEVER


class ShapeError(ValueError):
    """A picture that no profile of the engine takes."""


class CudaError(RuntimeError):
    """A call of CUDA or TensorRT failed.

    Attributes:
        name: CUDA's name of the error, "cudaErrorMemoryAllocation"; "" for TensorRT's.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name

    @property
    def is_out_of_memory(self) -> bool:
        return self.name == "cudaErrorMemoryAllocation"

    @property
    def is_sticky(self) -> bool:
        """Whether every later call in this process will fail too: only a new process helps."""
        return self.name in STICKY


# CUDA Runtime API, error codes described as leaving the process in an inconsistent state.
STICKY = frozenset(
    {
        "cudaErrorIllegalAddress",
        "cudaErrorLaunchTimeout",
        "cudaErrorHardwareStackError",
        "cudaErrorIllegalInstruction",
        "cudaErrorMisalignedAddress",
        "cudaErrorInvalidAddressSpace",
        "cudaErrorInvalidPc",
        "cudaErrorLaunchFailure",
        "cudaErrorECCUncorrectable",
        "cudaErrorAssert",
    }
)


@dataclass(frozen=True)
class Failure:
    """How an error is told to a client: Triton's code by name, the message, and whether the instance must end."""

    code: str
    message: str
    is_fatal: bool = False


def failure_of(error: Exception) -> Failure:
    """Map what running an engine can raise; anything else is INTERNAL."""
    if isinstance(error, ShapeError):
        return Failure("INVALID_ARG", str(error))
    if isinstance(error, CudaError) and error.is_out_of_memory:
        return Failure("UNAVAILABLE", f"the GPU is out of memory: {error}; try again, or send smaller tiles")
    if isinstance(error, CudaError):
        return Failure("INTERNAL", f"inference failed: {error}", error.is_sticky)
    return Failure("INTERNAL", f"inference failed: {error}")


class GrowingBuffer(Generic[Buffer]):
    """A buffer that is kept from request to request, and replaced by a larger one when it is too small.

    It doubles, up to `largest` bytes, so that a run of slightly growing pictures does not allocate for each.
    """

    def __init__(self, allocate: Callable[[int], Buffer], free: Callable[[Buffer], None], largest: int) -> None:
        self._allocate, self._free, self._largest = allocate, free, largest
        self._buffer: Buffer | None = None
        self.size = 0

    def at_least(self, size: int) -> Buffer:
        """A buffer of `size` bytes or more.

        Raises:
            ShapeError: more than `largest` is asked for.
        """
        if size > self._largest:
            raise ShapeError(f"{size} bytes are more than this engine's largest picture has ({self._largest})")
        if self._buffer is None or size > self.size:
            grown = min(max(size, 2 * self.size), self._largest)
            self.close()
            self._buffer, self.size = self._allocate(grown), grown
        return self._buffer

    def close(self) -> None:
        """Free it; `at_least` makes a new one."""
        if self._buffer is not None:
            self._free(self._buffer)
        self._buffer, self.size = None, 0
