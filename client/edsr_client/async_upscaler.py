"""AsyncUpscaler: servers, one model, pictures in and pictures out, for asyncio. Upscaler is the same without."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import files
from .addresses import addresses
from .bands.plan import When, check_pixels, wanted
from .bands.source import Header, header_of, refusal
from .border import Border, check_border, keep_flat, margins_of, window
from .errors import EdsrError, ImageTooLargeError, ModelContractError
from .files import FileResult, Finishing
from .forecast import Forecast, forecast, outline
from .many import in_order
from .model_choice import ModelChoice, model_notes
from .model_info import AUTO, ModelInfo
from .pictures.alpha import Array
from .pictures.decode import DEFAULT_MAX_PIXELS, Picture, decode
from .pictures.formats import Format, format_named
from .pictures.planes import check_image, from_planes, to_planes
from .pictures.resample import final_size
from .retrying import RetryPolicy
from .self_ensemble import TURNS, mean, turnable, turned, turned_back
from .servers import Servers
from .tiling import NO_MARGINS, Grid, Margins, Shape, Tile, TileLimits, cut
from .transports import Credentials, Transport, connect

if TYPE_CHECKING:
    from .video.options import VideoOptions, VideoProgress, VideoResult

Halo = int | Literal["exact"]
# Called with the tiles that are done and those there are in all.
Progress = Callable[[int, int], None]
FilePair = tuple[str | Path, str | Path | None]
T = TypeVar("T")
MAX_TIMEOUT_S = 86_400.0
logger = logging.getLogger("edsr_client")


class AsyncUpscaler:
    """Upscales pictures on Triton servers, for asyncio. One event loop; any number of tasks.

    Args:
        url: "host:port" of the server, also "https://host/path"; several with commas between, or a sequence of them.
            The tiles of a picture are spread over all; all must serve the same weights. Default: localhost.
        protocol: "http" or "grpc".
        model: name of the model; by default edsr_x3 if it is ready, else edsr_baseline_x3. "auto": for picture files,
            each by itself, that one or, for JPEG files of low quality, the servers' model for compressed pictures,
            edsr_photo_x3. Arrays and videos say nothing of their files: for them it is the default.
        timeout_s: longest wait for the answer to one tile, in seconds; None suits it to model and tile.
        retries: how often a tile is sent again after a lost connection, a server that is not ready or busy. An address
            where nothing listens at the first contact is an error at once.
        token: bearer token.
        headers: further headers of every request.
        ca_file, cert_file, key_file: PEM files for TLS: whom to trust, and the client's own certificate.
        verify: False trusts any certificate (HTTP only).
        shared_memory: hand tiles over in system shared memory, where a server is on this machine and allows it.
        self_ensemble: best and slowest (EDSR+): every tile is sent in its eight flips and quarter turns, and the mean
            of the results taken. Eight times the work for about 0.1 dB.
        transport: one or several transports instead of connections to `url`; see MockTransport.

    Raises:
        ValueError: an argument is malformed. Nothing is sent before the first use.

    Example:
        async with AsyncUpscaler("a:8000,b:8000") as upscaler:
            large = await upscaler.upscale(small)
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        protocol: str = "http",
        model: str | None = None,
        timeout_s: float | None = None,
        *,
        retries: int = RetryPolicy.retries,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        verify: bool = True,
        shared_memory: bool = False,
        self_ensemble: bool = False,
        transport: Transport | Sequence[Transport] | None = None,
    ) -> None:
        if timeout_s is not None and not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise ValueError(f"timeout_s must be more than 0 and at most {MAX_TIMEOUT_S:g} seconds, not {timeout_s!r}")
        credentials = Credentials.of(token, headers, ca_file, cert_file, key_file, verify)
        if transport is None:
            transports: list[Transport] = []
            transports += [connect(one, credentials, shared_memory) for one in addresses(url, protocol)]
        else:
            transports = list(transport) if isinstance(transport, Sequence) else [transport]
        self._urls = tuple(one.url for one in transports)
        policy = RetryPolicy(retries)
        self._servers = Servers(transports, None if model == AUTO else model, policy, timeout_s)
        self._choice: ModelChoice | None = None
        if model == AUTO:
            self._choice = ModelChoice(self._servers, lambda name: Servers(transports, name, policy, timeout_s))
        self._model_reason = ""
        self._self_ensemble = self_ensemble

    async def __aenter__(self) -> AsyncUpscaler:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, give shared memory back."""
        if self._choice is not None and self._choice.second is not None:
            await self._choice.second.end_trials()
        await self._servers.close()

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers, as they were named."""
        return self._urls

    @property
    def slots(self) -> int:
        """Requests that all servers together take at a time, as far as they were asked."""
        return self._servers.slots

    @property
    def pixels_per_s(self) -> float | None:
        """LR pixels that all servers together compute in a second, as they say or have shown; None if not known yet."""
        return self._servers.pixels_per_s

    @property
    def retries(self) -> int:
        """Requests that had to be sent again so far."""
        return sum(servers.retries for servers in self._in_use)

    @property
    def answers(self) -> list[tuple[str, int]]:
        """Of every server its address, and how many requests it has answered so far."""
        each = zip(*(servers.answers for servers in self._in_use), strict=True)
        return [(counts[0][0], sum(count for _, count in counts)) for counts in each]

    @property
    def model_reason(self) -> str:
        """Why "auto" took this model for a picture; "" if the caller has named one, or none."""
        return self._model_reason

    @property
    def self_ensemble(self) -> bool:
        """Whether results are the mean of eight flips and quarter turns."""
        return self._self_ensemble

    @property
    def _in_use(self) -> list[Servers]:
        second = self._choice.second if self._choice is not None else None
        return [self._servers, second] if second is not None else [self._servers]

    async def model_info(self) -> ModelInfo:
        """The model in use, asked of the servers once.

        Raises:
            ServerError: unreachable, not ready, or without the model.
        """
        return await self._servers.model()

    async def compressed_model_info(self) -> ModelInfo | None:
        """With model="auto" the model that JPEG files of low quality get; None if there is none, or another was named.

        Raises:
            ModelContractError: the servers differ in it.
            ServerError: as `model_info`.
        """
        second = await self._choice.compressed() if self._choice is not None else None
        return await second.model() if second is not None else None

    async def _suited(self, jpeg_quality: int | None) -> AsyncUpscaler:
        """The same, with the model for pictures whose JPEG file has that quality; None for what is no JPEG file.

        It shares the connections of this one, which closes them. Itself, unless it was made with model="auto".

        Raises:
            ModelContractError: the servers differ in their model for compressed pictures.
            ServerError: as `model_info`.
        """
        if self._choice is None:
            return self
        one = copy.copy(self)
        one._choice = None
        one._servers, one._model_reason = await self._choice.suited(jpeg_quality)
        return one

    async def server_info(self) -> list[dict[str, Any]]:
        """Of every server `url`, `name`, `version`, `ready`, `models`, and `error`, "" or why it cannot be asked."""
        return await self._servers.describe()

    async def upscale(
        self,
        image: Array,
        *,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        progress: Progress | None = None,
    ) -> NDArray[Any]:
        """Upscale an image of any size. It is cut into tiles where the servers' limits want it, and put together again.

        Args:
            image: uint8 or uint16; [H, W, 3] RGB, [H, W, 4] RGBA, [H, W] grey or [H, W, 2] grey with alpha.
            tile: largest tile, LR pixels: a side, or (height, width); by default what suits the servers.
            halo: LR pixels around every tile whose output is thrown away. "exact" gives what the untiled image would;
                by default the smallest that was measured to change no pixel by more than one level.
            border: what the network is shown beyond the picture: "zero", as it was trained, the default; "symmetric",
                the picture's mirror image, as pictures with a side under 64 pixels always are; or by how many LR pixels
                it is mirrored, ((top, bottom), (left, right)).
            progress: called with (tiles done, tiles in all), first with (0, n).

        Returns:
            The same kind of array, [scale H, scale W, ...].

        Raises:
            BadImageError: another type or shape, or no pixels.
            ValueError: a tile over the servers' limits, or with no room for the halo.
            ServerError: no server can be reached, is ready, or takes it.
        """
        check_image(image)
        check_tiling(tile, halo, border)
        model = await self._servers.model()
        planes = to_planes(image)
        grid = self._grid(image.shape[:2], model, tile, halo, border)
        upscaled = await self._upscale_planes(planes, grid, model.scale, progress)
        return await asyncio.to_thread(from_planes, image, upscaled, model.scale)

    async def upscale_picture(
        self,
        picture: Picture,
        *,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        progress: Progress | None = None,
    ) -> Picture:
        """Upscale every frame of a decoded picture; a frame equal to the one before it is not sent again."""
        upscaler = await self._suited(picture.jpeg_quality)
        frames: list[Array] = []
        for index, frame in enumerate(picture.frames):
            if index and np.array_equal(frame, picture.frames[index - 1]):
                frames.append(frames[-1])
                continue
            frames.append(await upscaler.upscale(frame, tile=tile, halo=halo, border=border, progress=progress))
        return picture.with_frames(frames)

    def upscale_many(
        self,
        images: Iterable[Array] | AsyncIterable[Array],
        *,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        in_flight: int | None = None,
        return_errors: bool = False,
    ) -> AsyncGenerator[NDArray[Any] | EdsrError, None]:
        """Upscale images as they come, several at a time; results in their order.

        An image is taken only when a result has been: a producer is never far ahead of the consumer. Whoever stops
        early leaves nothing running (`aclose()`, or contextlib.aclosing).

        Args:
            images: arrays as `upscale` takes them; an iterable, whose `next` is called in a thread, or an async one.
            tile, halo, border: as for `upscale`.
            in_flight: images that are worked on or wait to be taken; None for what keeps the servers busy.
            return_errors: yield the EdsrError in the place of a result that cannot be had, and go on.

        Raises:
            EdsrError: as `upscale`, unless it is returned. What was in flight is cancelled.
            ValueError: a malformed argument.
        """
        check_tiling(tile, halo, border)
        work = partial(self.upscale, tile=tile, halo=halo, border=border)
        return self._many(images, work, in_flight, return_errors)

    def upscale_files(
        self,
        files: Iterable[FilePair] | AsyncIterable[FilePair],
        *,
        finishing: Finishing | None = None,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        overwrite: bool = False,
        in_flight: int | None = None,
        return_errors: bool = False,
    ) -> AsyncGenerator[FileResult | EdsrError, None]:
        """Upscale picture files as they come: `upscale_file` for (source, target) after (source, target).

        A target may be None, or a folder. For whole folders, and runs that go on where they were interrupted, see
        edsr_client.batch.

        Args, Raises:
            as `upscale_file` and `upscale_many`.
        """
        check_tiling(tile, halo, border)

        async def work(pair: FilePair) -> FileResult:
            if isinstance(pair, str | Path):
                raise ValueError(f"files must be pairs of source and target: ({str(pair)!r}, None)")
            return await self.upscale_file(
                pair[0],
                pair[1],
                finishing=finishing,
                tile=tile,
                halo=halo,
                border=border,
                max_pixels=max_pixels,
                overwrite=overwrite,
            )

        return self._many(files, work, in_flight, return_errors)

    async def _many(
        self, inputs: Any, work: Callable[[Any], Awaitable[T]], in_flight: int | None, return_errors: bool
    ) -> AsyncGenerator[T | EdsrError, None]:
        if in_flight is not None and not _is_number(in_flight, 1):
            raise ValueError(f"in_flight must be at least 1, not {in_flight!r}")
        if in_flight is None:
            await self._servers.model()
            in_flight = self._servers.slots + 1
        async with aclosing(in_order(inputs, work, in_flight, return_errors)) as results:
            async for result in results:
                yield result

    async def upscale_file(
        self,
        src: str | Path,
        dst: str | Path | None = None,
        *,
        finishing: Finishing | None = None,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        frame: int | None = None,
        progress: Progress | None = None,
        overwrite: bool = False,
        bands: When = "auto",
        restart: bool = False,
    ) -> FileResult:
        """Upscale a picture file into another, which appears whole or not at all.

        Args:
            src: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, with the extra [heif] HEIC.
            dst: where to; the format follows the extension. A folder, or None for that of `src`: there SRC_x3.png, for
                animations SRC_x3.webp.
            finishing: format, quality, final size, metadata; by default everything is kept.
            tile, halo, border, progress: as for `upscale`.
            max_pixels: larger pictures are refused before they are decoded.
            frame: take this one of an animation or of several pages, counted from 0.
            overwrite: whether a file that `dst` does not name may be replaced; one that it names always is.
            bands: whether the file is read, sent and written in bands, in memory that does not grow with it. "auto":
                from 32 megapixels on, TIFF, PNG and JPEG, with the extra [gigapixel]. An interrupted call then goes on
                when it is made again.
            restart: throw away what an interrupted call has left, and begin anew.

        Raises:
            BadImageError: `src` cannot be read.
            OutputError: `dst` cannot be written, or cannot hold what the picture has. It is then left as it was.
            OutputExistsError: there is a file of the name that was made up, and not `overwrite`.
            ServerError: no server can be reached, is ready, or takes it.
        """
        check_tiling(tile, halo, border)
        source, finishing = Path(src), finishing or Finishing()
        folder = source.parent if dst is None else Path(dst)
        is_named = dst is not None and not files.is_folder(dst)
        if is_named:
            files.check_target(source, folder, finishing)
        started = time.monotonic()
        banded = await self._in_bands(source, dst, finishing, bands, overwrite, frame)
        if banded is not None:
            from .bands import upscale_in_bands

            target, header, format_ = banded
            options: dict[str, Any] = {"tile": tile, "halo": halo, "max_pixels": max_pixels, "frame": frame}
            options["border"] = border
            options["restart"] = restart
            return await upscale_in_bands(
                await self._suited(header.jpeg_quality),
                source,
                target,
                header,
                format_,
                finishing,
                progress=progress,
                **options,
            )
        data = await asyncio.to_thread(files.read_file, src, max_pixels)
        picture = await asyncio.to_thread(decode, data, str(src), max_pixels, frame)
        model = await self._servers.model()
        target = folder
        if not is_named:
            target = files.default_target(source, folder, picture, finishing, model.scale, overwrite)
        format_ = files.check_target(source, target, finishing)
        content, result = await self._convert(picture, format_, finishing, tile, halo, border, progress)
        await asyncio.to_thread(files.write_atomically, target, content)
        notes = [*result.notes, *files.misnamed(target, format_)]
        return replace(result, path=str(target), notes=notes, seconds=round(time.monotonic() - started, 3))

    async def forecast(
        self,
        src: str | Path | bytes,
        dst: str | Path | None = None,
        *,
        finishing: Finishing | None = None,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        frame: int | None = None,
        overwrite: bool = False,
        bands: When = "auto",
    ) -> Forecast:
        """What `upscale_file`, or for bytes `upscale_bytes`, would do with the same arguments, and how long it takes.

        The servers are asked for their model; no picture is decoded or sent, nothing is written.

        Raises:
            BadImageError, OutputError, ServerError: as `upscale_file`, as far as the picture's header tells.
        """
        check_tiling(tile, halo, border)
        finishing, model = finishing or Finishing(), await self._servers.model()
        name = "the picture" if isinstance(src, bytes) else str(src)
        source = src if isinstance(src, bytes) else Path(src)
        target, banded = Path(), None
        if isinstance(source, Path):
            if dst is not None and not files.is_folder(dst):
                files.check_target(source, Path(dst), finishing)
            banded = await self._in_bands(source, dst, finishing, bands, overwrite, frame)
        header = await asyncio.to_thread(outline, source, name, frame)
        suited = await self._suited(header.jpeg_quality)
        model = await suited.model_info()
        if banded is None:
            pixels = header.size[0] * header.size[1]
            if pixels > max_pixels:
                raise ImageTooLargeError(
                    f"{name} claims {header.size[0]}x{header.size[1]} = {pixels:,} pixels, more than {max_pixels:,}. "
                    "If that is meant, raise max_pixels=... (`--max-pixels`)."
                )
        else:
            target = banded[0]
            check_pixels(name, header.size, max_pixels)
        if isinstance(source, Path) and banded is None:
            folder = source.parent if dst is None else Path(dst)
            extension = ".webp" if header.frames > 1 else ".png"
            if finishing.format:
                extension = format_named(finishing.format).extensions[0]
            is_made_up = dst is None or files.is_folder(dst)
            target = folder
            if is_made_up:
                target = files.made_up_name(source, folder, extension, finishing, model.scale, overwrite)
        return forecast(
            header,
            self._grid(header.size[::-1], model, tile, halo, border),
            output="" if isinstance(source, bytes) else str(target),
            size=final_size(header.size, model.scale, finishing.scale, finishing.max_side),
            scale=model.scale,
            is_banded=banded is not None,
            pixels_per_s=suited.pixels_per_s,
            model=model.name,
            model_reason=suited.model_reason,
            turns=TURNS if self._self_ensemble else 1,
        )

    async def upscale_bytes(
        self,
        data: bytes,
        *,
        finishing: Finishing | None = None,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        frame: int | None = None,
        progress: Progress | None = None,
        name: str = "the picture",
    ) -> tuple[bytes, FileResult]:
        """Upscale the content of a picture file into that of another: `upscale_file` without files.

        Args:
            data: content of a picture file.
            finishing: its `format` is "png" by default, "webp" for animations.
            tile, halo, border, max_pixels, frame, progress: as for `upscale_file`.
            name: of the picture, for messages.

        Raises:
            BadImageError, OutputError, ServerError: as `upscale_file`.
        """
        check_tiling(tile, halo, border)
        started = time.monotonic()
        picture = await asyncio.to_thread(decode, data, name, max_pixels, frame)
        options: dict[str, Any] = {"finishing": finishing, "tile": tile, "halo": halo, "border": border}
        content, result = await self.upscale_decoded(picture, progress=progress, **options)
        return content, replace(result, seconds=round(time.monotonic() - started, 3))

    async def upscale_decoded(
        self,
        picture: Picture,
        *,
        finishing: Finishing | None = None,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        progress: Progress | None = None,
    ) -> tuple[bytes, FileResult]:
        """Upscale a decoded picture into the content of a picture file: the second half of `upscale_bytes`.

        Args, Raises:
            as `upscale_bytes`.
        """
        check_tiling(tile, halo, border)
        finishing, started = finishing or Finishing(), time.monotonic()
        format_ = format_named(finishing.format or ("webp" if picture.is_animation else "png"))
        content, result = await self._convert(picture, format_, finishing, tile, halo, border, progress)
        return content, replace(result, seconds=round(time.monotonic() - started, 3))

    async def upscale_video(
        self,
        src: str | Path,
        dst: str | Path | None = None,
        *,
        options: VideoOptions | None = None,
        progress: VideoProgress | None = None,
        overwrite: bool = False,
        restart: bool = False,
    ) -> VideoResult:
        """Upscale a video file into another, which appears whole or not at all. Needs the extra [video].

        Work is kept in `.OUT.edsr-video` beside the output until that is there: the same call goes on where a run
        that was killed has stopped.

        Args:
            src: whatever FFmpeg reads that has a stream of video.
            dst: .mp4, .mkv, .mov or .webm. A folder, or None for that of `src`: there SRC_x3.mp4.
            options: codec, quality, tiles; see `edsr_client.video.VideoOptions`.
            progress: called with (frames done, frames in all or None), first with those of an earlier run.
            overwrite: whether a file that `dst` does not name may be replaced; one that it names always is.
            restart: throw away what a run that was killed has left, and begin anew.

        Raises:
            BadVideoError: `src` is no video, or none that can be upscaled.
            IncompleteVideoError: `src` is damaged or cut off; what could be decoded was written.
            OutputError: `dst` cannot be written, or cannot hold the codec or the sound.
            OutputExistsError: there is a file of the name that was made up, and not `overwrite`.
            ServerError: no server can be reached, is ready, or takes it.
            MissingExtraError: PyAV is not installed.
        """
        from .video.run import upscale_video

        return await upscale_video(
            self, src, dst, options=options, progress=progress, overwrite=overwrite, restart=restart
        )

    async def _in_bands(
        self,
        source: Path,
        dst: str | Path | None,
        finishing: Finishing,
        when: When,
        overwrite: bool,
        frame: int | None,
    ) -> tuple[Path, Header, Format] | None:
        """Target, header and format of a picture that goes in bands; None for all others, and for what is no picture.

        Raises:
            OutputError: the result cannot be written; as `upscale_file`.
        """
        header = None if when == "never" else await asyncio.to_thread(header_of, source, frame)
        if header is None:
            return None
        if dst is not None and not files.is_folder(dst):
            target = Path(dst)
        else:
            named = format_named(finishing.format or "png")
            if not wanted(when, header.kind, header.size[0] * header.size[1], named):
                return None
            scale = (await self._servers.model()).scale
            folder = source.parent if dst is None else Path(dst)
            target = files.made_up_name(source, folder, named.extensions[0], finishing, scale, overwrite)
        format_ = files.check_target(source, target, finishing)
        if not wanted(when, header.kind, header.size[0] * header.size[1], format_):
            return None
        if when == "auto" and (await asyncio.to_thread(refusal, source, header)) != "":
            return None  # in one piece, if it is not too large for that
        return target, header, format_

    async def _convert(
        self,
        picture: Picture,
        format_: Format,
        finishing: Finishing,
        tile: int | Shape | None,
        halo: Halo | None,
        border: Border | Margins | None,
        progress: Progress | None,
    ) -> tuple[bytes, FileResult]:
        if self._choice is not None:
            one = await self._suited(picture.jpeg_quality)
            return await one._convert(picture, format_, finishing, tile, halo, border, progress)
        model = await self._servers.model()
        files.check_result(picture, format_, finishing, model.scale)
        retries, answers, counter = self._servers.retries, self._servers.answers, _Counter(progress)
        upscaled = await self.upscale_picture(picture, tile=tile, halo=halo, border=border, progress=counter)
        content, size, notes = await asyncio.to_thread(files.finish, upscaled, picture, format_, finishing, model.scale)
        return content, FileResult(
            path="",
            format=format_.name,
            width=size[0],
            height=size[1],
            frames=len(picture.frames),
            tiles=counter.done,
            retries=self._servers.retries - retries,
            model=model.name,
            servers=[
                url for (url, now), (_, before) in zip(self._servers.answers, answers, strict=True) if now > before
            ],
            seconds=0.0,
            notes=list(dict.fromkeys([*model_notes(model, self._model_reason), *picture.notes, *notes])),
            model_scale=model.scale,
            resampled=size != (picture.size[0] * model.scale, picture.size[1] * model.scale),
            model_reason=self._model_reason,
            self_ensemble=self._self_ensemble,
        )

    def _grid(
        self,
        picture: Shape,
        model: ModelInfo,
        tile: int | Shape | None,
        halo: Halo | None,
        border: Border | Margins | None,
    ) -> Grid:
        """`grid_for`, with tiles that may be turned where they will be."""
        return grid_for(picture, model, tile, halo, border, turns=self._self_ensemble)

    async def _upscale_planes(
        self, planes: Sequence[NDArray[np.uint8]], grid: Grid, scale: int, progress: Progress | None
    ) -> list[NDArray[np.uint8]]:
        """All tiles of all planes, as many at a time as the servers take; the first failure ends the others."""
        height, width = grid.picture
        results = [np.empty((height * scale, width * scale, 3), np.uint8) for _ in planes]
        parts = [
            _Part(plane, result, tile, grid.shape, scale)
            for tile in grid
            for plane, result in zip(planes, results, strict=True)
        ]
        jobs = [(part, turn) for part in parts for turn in range(TURNS if self._self_ensemble else 1)]
        waiting, done, total = iter(enumerate(jobs)), 0, len(jobs)
        name = f"edsr-{uuid.uuid4().hex[:8]}"
        logger.info("%s: %d requests of %dx%d px", name, total, grid.shape[1], grid.shape[0])
        tell = progress or (lambda _done, _total: None)
        tell(0, total)

        async def work() -> None:
            nonlocal done
            for number, (part, turn) in waiting:
                answer = await self._servers.infer(part.request(turn), f"{name}-{number}")
                if self._self_ensemble:
                    part.add(answer[0], turn)
                else:
                    part.put(answer[0])
                done += 1
                tell(done, total)

        workers = [asyncio.ensure_future(work()) for _ in range(min(total, self._servers.slots))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return results


class _Part:
    """A tile of a plane, on its way to the servers and back into the result."""

    def __init__(
        self, plane: NDArray[np.uint8], result: NDArray[np.uint8], tile: Tile, shape: Shape, scale: int
    ) -> None:
        self._plane, self._result, self._tile, self._shape, self._scale = plane, result, tile, shape, scale
        self._total: NDArray[np.uint16] | None = None
        self._answers = 0

    def request(self, turn: int) -> NDArray[np.uint8]:
        """uint8 [1, h, w, 3], or [1, w, h, 3] for a quarter turn."""
        return np.ascontiguousarray(turned(window(self._plane, self._tile, self._shape), turn)[None])

    def put(self, answer: NDArray[np.uint8]) -> None:
        """Take over the upscaled tile."""
        self._result[self._tile.target(self._scale)] = answer[self._tile.kept(self._scale)]
        keep_flat(self._plane, self._tile, self._result, self._scale)

    def add(self, answer: NDArray[np.uint8], turn: int) -> None:
        """Take one of the turns; with the last of them the mean is put into the result."""
        kept = turned_back(answer, turn)[self._tile.kept(self._scale)]
        if self._total is None:
            self._total = np.zeros(kept.shape, np.uint16)
        self._total += kept
        self._answers += 1
        if self._answers == TURNS:
            self._result[self._tile.target(self._scale)] = mean(self._total)
            keep_flat(self._plane, self._tile, self._result, self._scale)
            self._total = None


class _Counter:
    """Progress over several frames: how many tiles there were."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._before, self.done = progress, 0, 0

    def __call__(self, done: int, total: int) -> None:
        if done == 0:
            self._before = self.done
        self.done = self._before + done
        if self._progress:
            self._progress(self.done, self._before + total)


def check_tiling(tile: object, halo: object, border: object = None) -> None:
    """Raise ValueError if no picture and no server could be tiled like that; before anything is sent."""
    sides = tile if isinstance(tile, tuple | list) else (tile, tile)
    if tile is not None and (len(sides) != 2 or not all(_is_number(side, 1) for side in sides)):
        raise ValueError(f"tile must be a number of pixels, or (height, width), not {tile!r}")
    if halo is not None and not (isinstance(halo, str) and halo == "exact") and not _is_number(halo, 0):
        raise ValueError(f"halo must be 'exact' or a number of pixels, not {halo!r}")
    check_border(border)


def grid_for(
    picture: Shape,
    model: ModelInfo,
    tile: int | Shape | None,
    halo: Halo | None,
    border: Border | Margins | None = None,
    *,
    turns: bool = False,
) -> Grid:
    """How a picture of (height, width) is cut for a model; with `turns` into tiles that fit lying on their side, too.

    Margins that only a larger tile would have room for are made narrower.

    Raises:
        ValueError: as `AsyncUpscaler.upscale`.
        EdsrError: a halo is needed and the model does not say one.
        ModelContractError: what the model says of tiles and halo does not go together, and the caller names neither.
    """
    limits, margins = _tile_limits(model, tile), margins_of(picture, border)
    if turns:
        limits = turnable(limits)
    while True:
        try:
            return _cut(picture, model, limits, halo, margins)
        except (ValueError, EdsrError) as error:
            if margins != NO_MARGINS:
                margins = ((margins[0][0] // 2, margins[0][1] // 2), (margins[1][0] // 2, margins[1][1] // 2))
                continue
            if tile is not None or halo is not None or isinstance(error, EdsrError):
                raise
            raise ModelContractError(
                f"What the model {model.name!r} says of its tiles makes no sense: {error} (tile=..., halo=...; "
                "`--tile`, `--halo`)."
            ) from None


def _cut(picture: Shape, model: ModelInfo, limits: TileLimits, halo: Halo | None, margins: Margins) -> Grid:
    if limits.takes(picture[0] + sum(margins[0]), picture[1] + sum(margins[1])):
        return cut(picture, limits, 0, margins)
    if halo is None:
        halo = model.best_halo_px
    if halo == "exact":
        halo = model.halo_px
    if halo is None:
        raise EdsrError(f"{model.name} does not say its halo (parameter `halo_px`). Name one: halo=... (`--halo`).")
    return cut(picture, limits, int(halo), margins)


def _tile_limits(model: ModelInfo, tile: int | Shape | None) -> TileLimits:
    if tile is None:
        if model.tile is None:
            return model.limits
        area = min(model.tile[0] * model.tile[1], model.limits.max_px)
        return TileLimits(area, model.max_shapes)
    height, width = _sides(tile)
    if not model.limits.takes(height, width):
        shapes = " or ".join(f"{h}x{w}" for h, w in model.max_shapes)
        raise ValueError(
            f"a tile of {height}x{width} is over what the server takes ({model.limits.max_px:,} pixels"
            f"{f', within {shapes}' if shapes else ''})"
        )
    return TileLimits(model.limits.max_px, ((height, width),))


def _sides(tile: int | Shape) -> Shape:
    height, width = tile if isinstance(tile, Sequence) else (tile, tile)
    return int(height), int(width)


def _is_number(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least
