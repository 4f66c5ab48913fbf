"""A large file into a large file: bands are read, upscaled and kept one after the other, then written as one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..border import FLAT_PX, margins_of
from ..errors import BadImageError, OutputError
from ..files import FileResult, Finishing
from ..many import in_order
from ..model_choice import model_notes
from ..pictures.alpha import Array
from ..pictures.encode import unused_settings
from ..pictures.fitting import fitting_metadata
from ..pictures.formats import Format
from ..pictures.metadata import Metadata, corrected, with_profile
from ..pictures.resample import final_size
from .plan import Band, Bands, bands_for, check_pixels
from .source import Header, Rows, check_header
from .store import Store, fingerprint
from .writer import Layout, Writer

if TYPE_CHECKING:
    from ..async_upscaler import AsyncUpscaler

# One is upscaled while the tiles of the last are put together and kept.
BANDS_IN_FLIGHT = 2
# Bands are at least so high unless the caller names a tile: the tile that suits the server follows from its speed, and
# a run that is gone on with needs the same bands after the server has started anew.
USUAL_TILE_PX = 1024
# 16 bits and transparency are made of neighbourhoods that reach further than the network alone.
DEEP_MARGIN_PX = 16
# More than this is worth a word before it is taken.
MUCH_BYTES = 200_000_000
logger = logging.getLogger("edsr_client")


async def upscale_in_bands(
    upscaler: AsyncUpscaler,
    source: Path,
    target: Path,
    header: Header,
    format_: Format,
    finishing: Finishing,
    *,
    tile: Any = None,
    halo: Any = None,
    border: Any = None,
    max_pixels: int,
    frame: int | None = None,
    progress: Any = None,
    restart: bool = False,
) -> FileResult:
    """Upscale a file of any size in memory that does not grow with it.

    Finished bands are kept beside `target`; the same call after an interruption goes on with them.

    Args:
        upscaler: does the work.
        source, target: files; the target appears whole or not at all.
        header: of the source.
        format_: of the target: "tiff", "png", "jpeg".
        finishing, tile, halo, border, max_pixels, frame, progress, restart: as for AsyncUpscaler.upscale_file.

    Raises:
        BadImageError, OutputError, ServerError: as AsyncUpscaler.upscale_file.
    """
    started = time.monotonic()
    check_pixels(str(source), header.size, max_pixels)
    check_header(source, header, frame)
    if header.whole_bytes > MUCH_BYTES:
        logger.warning(
            "%s is %s, which its decoder unpacks whole: %.1f GB more memory. To need less, write it anew without.",
            source,
            "interlaced" if header.kind == "PNG" else "progressive",
            header.whole_bytes / 1e9,
        )
    rows = await asyncio.to_thread(Rows, source, header.page, header.orientation, header.tiff)
    model = await upscaler.model_info()
    low = (rows.width, rows.height)
    size = final_size(low, model.scale, finishing.scale, finishing.max_side)
    notes = [*model_notes(model, upscaler.model_reason), *header.notes, *_check_fits(rows, size, format_)]
    notes += unused_settings(format_, finishing.quality, finishing.png_effort)
    metadata = Metadata() if finishing.strip_metadata else corrected(header.metadata, low, size)
    metadata, lost = with_profile(metadata, rows.channels < 3)
    notes += lost
    space = "GRAY" if rows.channels <= 2 else "RGB"
    metadata = fitting_metadata(metadata, space, format_, notes, in_bands=True)
    halo_px = _halo_px(rows, model, halo)
    tile_rows = _tile_rows(tile, model.tile)
    plan = bands_for(rows.height, rows.row_bytes, model.scale, halo_px, tile_rows)
    row_bytes = rows.row_bytes * model.scale * model.scale
    work = {
        "input": await asyncio.to_thread(_fingerprint, source),
        "frame": frame,
        "model": [model.name, model.source_sha256, model.inference_precision],
        "tile": tile,
        "halo": halo,
        "bands": [plan.height, plan.rows, plan.halo_px],
        "margins": margins_of((rows.height, rows.width), border),
        **({"self_ensemble": True} if upscaler.self_ensemble else {}),  # bands begun before there was a choice go on
    }
    sizes = [(band.keep_bottom - band.keep_top) * row_bytes for band in plan]
    store = await asyncio.to_thread(Store.open, target, work, sizes, restart)
    try:
        run = _Run(upscaler, rows, plan, store, model.scale, tile, halo, border, progress)
        await run.work()
        if store.kept:
            notes.append(f"went on with {len(store.kept)} of {len(plan)} bands of an interrupted run")
        layout = Layout((low[0] * model.scale, low[1] * model.scale), rows.channels, rows.dtype.itemsize)
        heights = [(store.path(band.index), (band.keep_bottom - band.keep_top) * model.scale) for band in plan]
        logger.info("%s: writing %s", source.name, target)
        await _write(Writer(heights, layout, size), target, format_, finishing, metadata)
    except BadImageError:  # the next run would end there, too
        await asyncio.to_thread(store.remove)
        raise
    except BaseException:
        _leave(store, len(plan), target)
        raise
    await asyncio.to_thread(store.remove)
    return FileResult(
        path=str(target),
        format=format_.name,
        width=size[0],
        height=size[1],
        frames=1,
        tiles=run.tiles,
        retries=upscaler.retries - run.retries_before,
        model=model.name,
        servers=list(upscaler.urls),
        seconds=round(time.monotonic() - started, 3),
        notes=list(dict.fromkeys([*notes, *files.misnamed(target, format_)])),
        model_scale=model.scale,
        resampled=size != layout.size,
        model_reason=upscaler.model_reason,
        self_ensemble=upscaler.self_ensemble,
    )


class _Run:
    """All bands that are not there yet."""

    def __init__(
        self,
        upscaler: AsyncUpscaler,
        rows: Rows,
        plan: Bands,
        store: Store,
        scale: int,
        tile: Any,
        halo: Any,
        border: Any,
        progress: Any,
    ) -> None:
        self._upscaler, self._rows, self._plan, self._store = upscaler, rows, plan, store
        self._margins = margins_of((rows.height, rows.width), border)
        self._scale, self._tile, self._halo = scale, tile, halo
        self._progress = progress or (lambda done, total: None)
        self._done: dict[int, int] = {}
        self._total: dict[int, int] = {}
        self.tiles = 0
        self.retries_before = upscaler.retries

    async def work(self) -> None:
        async with aclosing(in_order(self._read(), self._band, BANDS_IN_FLIGHT)) as bands:
            async for _ in bands:
                pass

    def _read(self) -> Iterator[tuple[Band, Array]]:
        """Bands that are to be made; rows of others are passed over."""
        for band in self._plan:
            if band.index not in self._store.kept:
                yield band, self._rows.read(band.top, band.bottom)

    async def _band(self, job: tuple[Band, Array]) -> None:
        band, rows = job

        def tell(done: int, total: int) -> None:
            self._done[band.index], self._total[band.index] = done, total
            self.tiles = sum(self._done.values())
            bands = len(self._plan) - len(self._store.kept)
            self._progress(self.tiles, max(self.tiles, total * bands))

        (top, bottom), sides = self._margins
        ends = (top if band.top == 0 else 0, bottom if band.bottom == self._plan.height else 0)
        upscaled = await self._upscaler.upscale(
            rows, tile=self._tile, halo=self._halo, border=(ends, sides), progress=tell
        )
        kept = upscaled[(band.keep_top - band.top) * self._scale : (band.keep_bottom - band.top) * self._scale]
        await asyncio.to_thread(self._store.put, band.index, kept)


def _check_fits(rows: Rows, size: tuple[int, int], format_: Format) -> list[str]:
    """Notes on what the format cannot hold.

    Raises:
        OutputError: it cannot hold the picture at all.
    """
    name = format_.name.upper()
    if max(size) > format_.max_side_px:
        raise OutputError(
            f"{size[0]}x{size[1]} is larger than {name} can hold ({format_.max_side_px:,} pixels a side). Take PNG or "
            "TIFF, or a smaller scale=... or max_side=... (`--scale`, `--max-side`)."
        )
    if rows.channels in (2, 4) and not format_.alpha:
        raise OutputError(f"The picture has transparency, which {name} cannot hold. Take PNG or TIFF.")
    if rows.dtype == np.uint16 and not format_.deep:
        return [f"16 bits per channel became 8 in {name}; PNG and TIFF keep them"]
    return []


def _tile_rows(asked: Any, suits: tuple[int, int] | None) -> int:
    if asked is not None:
        return int(asked[0] if isinstance(asked, tuple | list) else asked)
    return max(suits[0], USUAL_TILE_PX) if suits else USUAL_TILE_PX


def _halo_px(rows: Rows, model: Any, halo: Any) -> int:
    """Rows around a band: those of tiles, and what else its pixels are made of."""
    wanted = model.halo_px if halo == "exact" else (halo if halo is not None else model.best_halo_px)
    if wanted is None:
        raise BadImageError(f"{model.name} does not say its halo (parameter `halo_px`). Name one: halo=... (`--halo`).")
    is_plain = rows.dtype == np.uint8 and rows.channels in (1, 3)
    return max(FLAT_PX, int(wanted)) + (0 if is_plain else DEEP_MARGIN_PX)


def _fingerprint(source: Path) -> list[Any]:
    try:
        return fingerprint(source)
    except OSError as error:
        raise BadImageError(f"Cannot read {source}: {error.strerror}.") from None


def _leave(store: Store, bands: int, target: Path) -> None:
    """Keep what is worth going on from, and say where it is and how to be rid of it."""
    count, size = store.release()
    if count:
        logger.warning(
            "%d of %d bands of %s (%.0f MB) are kept in %s. The same command goes on with them; with --restart it "
            "begins anew, and removing the folder frees the disk.",
            count,
            bands,
            target.name,
            size / 1e6,
            store.folder,
        )


async def _write(writer: Writer, target: Path, format_: Format, finishing: Finishing, metadata: Metadata) -> None:
    task = asyncio.ensure_future(asyncio.to_thread(writer.write, target, format_, finishing, metadata))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        writer.stop()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
