"""System shared memory between this process and a server on the same machine.

A region's name is removed as soon as the server has mapped it: nothing is left in /dev/shm however this process ends.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory as Block

import numpy as np
from numpy.typing import NDArray


class SharedMemoryError(Exception):
    """The system gives no shared memory."""


class Region:
    """One block of memory, `size` bytes, and the name that the server knows it by."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.name = f"edsr-client-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            self._block = Block(name=self.name, create=True, size=size)
        except OSError as error:
            raise SharedMemoryError(f"{size:,} bytes: {error.strerror}") from None
        self.linked = True

    @property
    def key(self) -> str:
        """For the server: the name of the POSIX shared memory object."""
        return f"/{self.name}"

    def array(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The memory as uint8 of `shape`, a view.

        Raises:
            ValueError: the region is smaller than that.
        """
        view: NDArray[np.uint8] = np.ndarray(shape, np.uint8, buffer=self._block.buf)
        return view

    def unlink(self) -> None:
        """Remove the name; whoever has the memory mapped keeps it."""
        if self.linked:
            self.linked = False
            with contextlib.suppress(FileNotFoundError):
                self._block.unlink()

    def close(self) -> None:
        """Give the memory back."""
        self.unlink()
        with contextlib.suppress(BufferError):  # somebody still holds a view; it goes with that
            self._block.close()


@dataclass
class Pair:
    """The memory of one request in flight: the tile, and room for its answer."""

    input: Region
    output: Region

    def unregistered(self) -> list[Region]:
        """The regions that the server does not know yet."""
        return [region for region in (self.input, self.output) if region.linked]

    def fits(self, input_bytes: int, output_bytes: int) -> bool:
        return self.input.size >= input_bytes and self.output.size >= output_bytes


class SharedMemory:
    """A pool of pairs. As many as requests were in flight at once; tiles of one shape use them again and again."""

    def __init__(self) -> None:
        self._free: list[Pair] = []
        self._all: list[Pair] = []

    @property
    def names(self) -> list[str]:
        """Of the regions that the server knows."""
        return [region.name for pair in self._all for region in (pair.input, pair.output) if not region.linked]

    @contextlib.contextmanager
    def pair(self, input_bytes: int, output_bytes: int) -> Iterator[Pair]:
        """A pair with room for a request and its answer."""
        fitting = [pair for pair in self._free if pair.fits(input_bytes, output_bytes)]
        if fitting:
            pair = min(fitting, key=lambda pair: pair.input.size)
            self._free.remove(pair)
        else:
            pair = _new_pair(input_bytes, output_bytes)
            self._all.append(pair)
        try:
            yield pair
        except BaseException:
            # The server may still write into it: a request that was given up is not over. Never used again.
            for region in (pair.input, pair.output):
                region.unlink()
            raise
        else:
            self._free.append(pair)

    def forget(self) -> None:
        """Give back what the server knew: it was started again, and knows nothing of it."""
        for pair in self._free:
            pair.input.close()
            pair.output.close()
            self._all.remove(pair)
        self._free.clear()

    def close(self) -> None:
        """Give all memory back."""
        for pair in self._all:
            pair.input.close()
            pair.output.close()
        self._all.clear()
        self._free.clear()


def _new_pair(input_bytes: int, output_bytes: int) -> Pair:
    first = Region(input_bytes)
    try:
        return Pair(first, Region(output_bytes))
    except SharedMemoryError:
        first.close()
        raise
