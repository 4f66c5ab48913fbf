"""How much of the server's own throughput a large tiled picture reaches: client, tiles and stitching included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from edsr_client import Upscaler
from edsr_client.async_upscaler import grid_for
from numpy.typing import NDArray


@dataclass(frozen=True)
class TiledRun:
    """Medians over the rounds, in LR pixels per second.

    Attributes:
        picture: (height, width) of the picture.
        tile: (height, width) of its tiles.
        tiles: how many.
        server_px_s: the same tiles one after the other, as many in flight as the client has, nothing stitched.
        client_px_s: pixels sent (halos included) for the whole picture, by its time.
        wanted_px_s: pixels of the picture by its time: what a user gets.
        share: client over server, median of the rounds.
    """

    picture: tuple[int, int]
    tile: tuple[int, int]
    tiles: int
    server_px_s: float
    client_px_s: float
    wanted_px_s: float
    share: float


def measure_tiled(
    upscaler: Upscaler, picture: NDArray[np.uint8], tile: int, rounds: int, tell: Callable[[str], None]
) -> TiledRun:
    """Alternate between the picture and its bare tiles.

    Args:
        upscaler: connected to one server.
        picture: uint8 [H, W, 3].
        tile: largest side of a tile, LR pixels.
        rounds: of both.
        tell: called with a line for every round.
    """
    model = upscaler.model_info()
    grid = grid_for(picture.shape[:2], model, tile, None)
    one = np.ascontiguousarray(picture[: grid.shape[0], : grid.shape[1]])
    upscaler.upscale(one)
    tiled_s, bare_s = [], []
    for index in range(rounds):
        bare_s.append(_timed(lambda: _bare(upscaler, one, len(grid), model.instances + 1)))
        tiled_s.append(_timed(lambda: upscaler.upscale(picture, tile=tile)))
        tell(f"round {index + 1}: {len(grid)} bare tiles {bare_s[-1]:.2f} s, the picture {tiled_s[-1]:.2f} s")
    tiled, bare = statistics.median(tiled_s), statistics.median(bare_s)
    return TiledRun(
        picture=(picture.shape[0], picture.shape[1]),
        tile=grid.shape,
        tiles=len(grid),
        server_px_s=round(grid.sent_px / bare),
        client_px_s=round(grid.sent_px / tiled),
        wanted_px_s=round(picture.shape[0] * picture.shape[1] / tiled),
        share=round(statistics.median(b / t for b, t in zip(bare_s, tiled_s, strict=True)), 3),
    )


def _bare(upscaler: Upscaler, tile: NDArray[np.uint8], count: int, in_flight: int) -> None:
    with ThreadPoolExecutor(in_flight) as pool:
        for _ in pool.map(lambda _: upscaler.upscale(tile), range(count)):
            pass


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
