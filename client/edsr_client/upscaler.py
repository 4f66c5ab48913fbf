"""Upscaler: AsyncUpscaler for programs without asyncio, run in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from .async_upscaler import AsyncUpscaler, FilePair, Halo, Progress
from .bands.plan import When
from .border import Border
from .errors import EdsrError
from .files import FileResult, Finishing
from .forecast import Forecast
from .many import END
from .model_info import ModelInfo
from .pictures.alpha import Array
from .pictures.decode import DEFAULT_MAX_PIXELS, Picture
from .retrying import RetryPolicy
from .tiling import Margins, Shape
from .transports import Transport

if TYPE_CHECKING:
    from .video.options import VideoOptions, VideoProgress, VideoResult

T = TypeVar("T")


class Upscaler:
    """Upscales pictures on Triton servers. May be shared by any number of threads; cheap to make.

    Its arguments and methods are those of AsyncUpscaler, without `await`. `progress` is called in another thread.

    Example:
        with Upscaler("localhost:8000") as upscaler:
            large = upscaler.upscale(small)
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
        self._async = AsyncUpscaler(
            url,
            protocol,
            model,
            timeout_s,
            retries=retries,
            token=token,
            headers=headers,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            verify=verify,
            shared_memory=shared_memory,
            self_ensemble=self_ensemble,
            transport=transport,
        )
        self._thread = _LoopThread()
        # Also at the end of the program, if nobody closed it.
        self._finalizer = weakref.finalize(self, _close, self._thread, self._async)

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, give shared memory back."""
        self._finalizer()

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers, as they were named."""
        return self._async.urls

    def model_info(self) -> ModelInfo:
        """See AsyncUpscaler.model_info."""
        return self._thread.run(self._async.model_info())

    def compressed_model_info(self) -> ModelInfo | None:
        """See AsyncUpscaler.compressed_model_info."""
        return self._thread.run(self._async.compressed_model_info())

    def server_info(self) -> list[dict[str, Any]]:
        """See AsyncUpscaler.server_info."""
        return self._thread.run(self._async.server_info())

    def upscale(
        self,
        image: Array,
        *,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        progress: Progress | None = None,
    ) -> NDArray[Any]:
        """See AsyncUpscaler.upscale."""
        return self._thread.run(self._async.upscale(image, tile=tile, halo=halo, border=border, progress=progress))

    def upscale_picture(
        self,
        picture: Picture,
        *,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        progress: Progress | None = None,
    ) -> Picture:
        """See AsyncUpscaler.upscale_picture."""
        return self._thread.run(
            self._async.upscale_picture(picture, tile=tile, halo=halo, border=border, progress=progress)
        )

    def upscale_file(
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
        """See AsyncUpscaler.upscale_file."""
        return self._thread.run(
            self._async.upscale_file(
                src,
                dst,
                finishing=finishing,
                tile=tile,
                halo=halo,
                border=border,
                max_pixels=max_pixels,
                frame=frame,
                progress=progress,
                overwrite=overwrite,
                bands=bands,
                restart=restart,
            )
        )

    def forecast(
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
        """See AsyncUpscaler.forecast."""
        return self._thread.run(
            self._async.forecast(
                src,
                dst,
                finishing=finishing,
                tile=tile,
                halo=halo,
                border=border,
                max_pixels=max_pixels,
                frame=frame,
                overwrite=overwrite,
                bands=bands,
            )
        )

    def upscale_bytes(
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
        """See AsyncUpscaler.upscale_bytes."""
        return self._thread.run(
            self._async.upscale_bytes(
                data,
                finishing=finishing,
                tile=tile,
                halo=halo,
                border=border,
                max_pixels=max_pixels,
                frame=frame,
                progress=progress,
                name=name,
            )
        )

    def upscale_decoded(
        self,
        picture: Picture,
        *,
        finishing: Finishing | None = None,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        progress: Progress | None = None,
    ) -> tuple[bytes, FileResult]:
        """See AsyncUpscaler.upscale_decoded."""
        return self._thread.run(
            self._async.upscale_decoded(
                picture, finishing=finishing, tile=tile, halo=halo, border=border, progress=progress
            )
        )

    def upscale_many(
        self,
        images: Iterable[Array],
        *,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        in_flight: int | None = None,
        return_errors: bool = False,
    ) -> Iterator[NDArray[Any] | EdsrError]:
        """See AsyncUpscaler.upscale_many. `images` is iterated in another thread."""
        many = self._async.upscale_many(
            images, tile=tile, halo=halo, border=border, in_flight=in_flight, return_errors=return_errors
        )
        return self._thread.iterate(many)

    def upscale_files(
        self,
        files: Iterable[FilePair],
        *,
        finishing: Finishing | None = None,
        tile: int | Shape | None = None,
        halo: Halo | None = None,
        border: Border | Margins | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        overwrite: bool = False,
        in_flight: int | None = None,
        return_errors: bool = False,
    ) -> Iterator[FileResult | EdsrError]:
        """See AsyncUpscaler.upscale_files. `files` is iterated in another thread."""
        many = self._async.upscale_files(
            files,
            finishing=finishing,
            tile=tile,
            halo=halo,
            border=border,
            max_pixels=max_pixels,
            overwrite=overwrite,
            in_flight=in_flight,
            return_errors=return_errors,
        )
        return self._thread.iterate(many)

    def upscale_video(
        self,
        src: str | Path,
        dst: str | Path | None = None,
        *,
        options: VideoOptions | None = None,
        progress: VideoProgress | None = None,
        overwrite: bool = False,
        restart: bool = False,
    ) -> VideoResult:
        """See AsyncUpscaler.upscale_video."""
        return self._thread.run(
            self._async.upscale_video(
                src, dst, options=options, progress=progress, overwrite=overwrite, restart=restart
            )
        )


class _LoopThread:
    """An event loop in a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work in the loop; an interruption of the caller (Ctrl-C) cancels it.

        Raises:
            RuntimeError: it was closed.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._started())
        except RuntimeError:
            work.close()
            raise
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
            raise

    def iterate(self, results: AsyncIterator[T]) -> Iterator[T]:
        """What an asynchronous generator yields; when the caller stops, it is closed."""
        try:
            while (result := self.run(_step(results))) is not END:
                yield result
        finally:
            self.run(_close_generator(results))

    def close(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the last work and end the thread; without a thread nothing was opened."""
        with self._lock:
            self._closed, loop, thread = True, self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            work.close()
            return
        asyncio.run_coroutine_threadsafe(_end(work), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise RuntimeError("This Upscaler was closed; make another one.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="edsr-client", daemon=True)
                self._thread.start()
            return self._loop


async def _step(results: AsyncIterator[T]) -> T:
    try:
        return await anext(results)
    except StopAsyncIteration:
        end: T = END
        return end


async def _close_generator(results: Any) -> None:
    await results.aclose()


async def _end(work: Coroutine[Any, Any, None]) -> None:
    """Cancel what still runs, then the last work."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await work


def _close(thread: _LoopThread, upscaler: AsyncUpscaler) -> None:
    thread.close(upscaler.close())
