"""Several servers as one: which takes the next tile, which is left alone for a while, what is sent again."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import (
    BackendLostError,
    EdsrError,
    ModelNotFoundError,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
    ServerNotReadyError,
    ServerUnreachableError,
)
from .model_info import PREFERRED_MODELS, ModelInfo
from .pace import Pace
from .retrying import RetryPolicy, is_transient
from .texts import quoted
from .transports import Transport
from .transports.error_mapping import unreachable, wrong_output

T = TypeVar("T")
logger = logging.getLogger("edsr_client")
# While an answer is awaited, the server is asked this often whether it still lives; a machine that lost its power
# would otherwise be waited for until the tile's own, long, time-out.
HEARTBEAT_S, MISSED_HEARTBEATS = 10.0, 3
# Of a request of one pixel beside one that takes long. A process of Triton's that has ended takes with it what it was
# at, and Triton goes on calling itself ready: only another request is told.
TRIAL_TIMEOUT_S = 600.0


@dataclass
class Server:
    """One server and what is known of it. `info` is None until it was reached."""

    transport: Transport
    info: ModelInfo | None = None
    in_flight: int = 0
    failures: int = 0
    rests_until: float = 0.0
    rejected: str = ""
    answered: int = 0
    pace: Pace = field(default_factory=Pace)
    trial: asyncio.Task[None] | None = None

    def tell(self, info: ModelInfo) -> None:
        """What the server says of its model."""
        self.info, self.pace.instances = info, info.instances
        self.pace.pixels_per_s = self.pace.pixels_per_s or info.lr_pixels_per_second

    @property
    def slots(self) -> int:
        """Requests to have in flight: one for each instance, and one that waits, so that none is ever idle."""
        return (self.info.instances if self.info else 1) + 1

    @property
    def load(self) -> float:
        return self.in_flight / self.slots


class Servers:
    """All servers of an Upscaler. For one event loop.

    Args:
        transports: one for each server.
        model: name of the model, None for the first of PREFERRED_MODELS that is ready.
        policy: what to try again.
        timeout_s: longest wait for one answer; None for one that suits the model and the size of the request.
    """

    def __init__(
        self, transports: Sequence[Transport], model: str | None, policy: RetryPolicy, timeout_s: float | None
    ) -> None:
        self._servers = [Server(transport) for transport in transports]
        self._wanted, self._policy, self._timeout_s = model, policy, timeout_s
        self._model: ModelInfo | None = None
        self._first_contact = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._numbers = count()
        self._line: list[int] = []
        self._waking: asyncio.Future[None] | None = None
        self.retries = 0

    @property
    def slots(self) -> int:
        """Requests that all servers together take at a time."""
        return sum(server.slots for server in self._servers if not server.rejected)

    @property
    def pixels_per_s(self) -> float | None:
        """LR pixels that all servers together compute in a second; None as long as one of them has not shown it."""
        paces = [server.pace for server in self._servers if not server.rejected and server.info is not None]
        known = [pace.pixels_per_s * pace.instances for pace in paces if pace.pixels_per_s]
        return sum(known) if known and len(known) == len(paces) else None

    @property
    def answers(self) -> list[tuple[str, int]]:
        """Of every server its address, and how many requests it has answered so far."""
        return [(server.transport.url, server.answered) for server in self._servers]

    @property
    def in_use(self) -> list[Transport]:
        """Of every server that was reached and is not left out, how it is asked."""
        return [server.transport for server in self._servers if server.info is not None and not server.rejected]

    async def close(self) -> None:
        """Close all connections."""
        await self.end_trials()
        for server in self._servers:
            await server.transport.close()

    async def end_trials(self) -> None:
        """End what is asked beside the work."""
        for server in self._servers:
            if server.trial is not None:
                server.trial.cancel()
                await asyncio.gather(server.trial, return_exceptions=True)

    async def model(self) -> ModelInfo:
        """The model in use; its limits are what every server takes. Asked of the servers once.

        Raises:
            ServerError: no server can be used; the first one's reason.
        """
        async with self._first_contact:
            if self._model is None:
                await self._contact_all()
        assert self._model is not None  # noqa: S101
        return self._model

    async def describe(self) -> list[dict[str, Any]]:
        """Name, version and address of every server, whether it is ready, and which models are; or its `error`."""
        return list(await asyncio.gather(*(self._describe(server.transport) for server in self._servers)))

    async def infer(self, images: NDArray[np.uint8], request_id: str) -> NDArray[np.uint8]:
        """Upscale uint8 [N, H, W, 3] on whichever server is free, and on another, or later, if that fails.

        Raises:
            ServerError: it failed for good.
        """
        failed: Server | None = None
        pixels = int(np.prod(images.shape[:3]))
        for attempt in range(self._policy.retries + 1):
            number = next(self._numbers)
            server = await self._acquire(failed, number, pixels)
            sent = time.monotonic()
            try:
                answer = await self._ask(server, images, request_id)
            except ServerError as error:
                self._failed(server, error)
                if attempt == self._policy.retries or not is_transient(error, len(self._usable()) > 1):
                    raise
                logger.info("%s failed, attempt %d: %s", request_id, attempt + 1, error)
                self.retries += 1
                failed = server
            else:
                server.failures = 0
                server.answered += 1
                server.pace.answered(number, pixels, sent, time.monotonic())
                return answer
            finally:
                server.pace.ended(number)
                await self._release(server)
            if not any(self._is_awake(other) for other in self._usable() if other is not server):
                await asyncio.sleep(self._policy.delay_s(attempt + 1))
        raise AssertionError("unreachable")

    async def _ask(self, server: Server, images: NDArray[np.uint8], request_id: str) -> NDArray[np.uint8]:
        if server.failures or server.info is None:
            await self._return(server)
        model = await self.model()
        pixels = int(np.prod(images.shape[:3]))
        # Whoever sends more than a server works on waits for what it sent before.
        timeout_s = self._timeout_s or model.timeout_s(pixels * server.slots)
        started = time.monotonic()
        request = server.transport.infer(
            model.name, images, scale=model.scale, request_id=request_id, timeout_s=timeout_s
        )
        answer = await _while_alive(request, server, model)
        count, height, width = images.shape[:3]
        expected = (count, model.scale * height, model.scale * width, 3)
        if answer.shape != expected or answer.dtype != np.uint8:
            raise wrong_output(server.transport.url, f"{answer.dtype} {list(answer.shape)}", expected)
        logger.info(
            "%s: %dx%d px by %s in %.0f ms",
            request_id,
            width,
            height,
            server.transport.url,
            (time.monotonic() - started) * 1000,
        )
        return answer

    async def _return(self, server: Server) -> None:
        """Before a server that failed gets a tile: is it well, and does it still serve what the others do?"""
        name = self._model.name if self._model else self._wanted
        try:
            info = await self._contact(server.transport, name)
        except ServerError as error:
            if is_transient(error, True) or len(self._usable()) == 1:
                raise
            self._leave_out(server, str(error))
        problem = _mismatch(self._model, info) if self._model else ""
        if problem:
            self._leave_out(server, problem)
        server.tell(info)

    def _leave_out(self, server: Server, problem: str) -> NoReturn:
        server.rejected = problem
        logger.warning("%s is left out: %s", server.transport.url, problem)
        raise ServerUnreachableError(f"{server.transport.url} is left out: {problem}")

    async def _acquire(self, failed: Server | None, number: int, pixels: int) -> Server:
        """The least loaded server with a free slot; one that failed this tile only if there is no other.

        One that computes as many requests as it can is sent another only when it will soon want that: see pace.py.
        """
        async with self._changed:
            self._line.append(number)  # else whoever has just been answered is the first again, and a picture keeps all
            try:
                while True:
                    now, wanting = time.monotonic(), self._wanting(failed)
                    soonest = min(wanting, key=lambda server: (server.pace.wait_s(now), server.load), default=None)
                    wait_s = soonest.pace.wait_s(now) if soonest else None
                    if self._line[0] != number:
                        wait_s = None
                    elif soonest and not wait_s:
                        soonest.in_flight += 1
                        soonest.pace.sent(number, pixels, now)
                        return soonest
                    await self._wait(wait_s)
            finally:
                self._line.remove(number)
                self._changed.notify_all()

    async def _wait(self, most_s: float | None) -> None:
        """Until something has changed, or for so long. Not by asyncio.wait_for, which can lose a cancellation."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(most_s, self._wake) if most_s is not None else None
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        self._waking = asyncio.ensure_future(self._tell_all())

    async def _tell_all(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _wanting(self, failed: Server | None) -> list[Server]:
        """Servers with a free slot, or soon to have one."""
        usable = self._usable()
        if not usable:
            reasons = "; ".join(f"{s.transport.url}: {s.rejected}" for s in self._servers)
            raise ServerUnreachableError(f"No server can be used ({reasons}). See `edsr doctor`.")
        awake = [server for server in usable if self._is_awake(server)] or usable
        others = [server for server in awake if server is not failed] or awake
        return [server for server in others if server.in_flight < server.slots]

    async def _release(self, server: Server) -> None:
        server.in_flight -= 1
        await self._tell_all()

    def _failed(self, server: Server, error: ServerError) -> None:
        if isinstance(error, RequestRefusedError):  # the request's fault
            return
        server.failures += 1
        rest_s = self._policy.delay_s(min(server.failures, 30))
        server.rests_until = time.monotonic() + rest_s

    def _usable(self) -> list[Server]:
        return [server for server in self._servers if not server.rejected]

    def _is_awake(self, server: Server) -> bool:
        return time.monotonic() >= server.rests_until

    async def _contact_all(self) -> None:
        """Reach every server; the first in the order of the URLs that can be used decides about the model."""
        found = await asyncio.gather(
            *(self._contact_patiently(server.transport) for server in self._servers), return_exceptions=True
        )
        for server, info in zip(self._servers, found, strict=True):
            if isinstance(info, ModelInfo):
                server.tell(info)
        infos = [info for info in found if isinstance(info, ModelInfo)]
        errors = [error for error in found if isinstance(error, BaseException)]
        if not infos:
            raise errors[0]
        model = infos[0]
        for server, info in zip(self._servers, found, strict=True):
            if isinstance(info, ModelInfo):
                server.rejected = _mismatch(model, info)
            elif isinstance(info, EdsrError) and not is_transient(info, True):
                server.rejected = str(info)
            elif isinstance(info, ServerError):
                self._failed(server, info)
            elif isinstance(info, BaseException):
                raise info
            if server.rejected or server.info is None:
                logger.warning("%s is left out: %s", server.transport.url, server.rejected or info)
        self._model = _common([server.info for server in self._servers if server.info and not server.rejected])

    async def _contact_patiently(self, transport: Transport) -> ModelInfo:
        """A server that is starting is waited for, one that is not there is not."""
        attempt = 0
        while True:
            try:
                return await self._contact(transport, self._wanted)
            except (ServerNotReadyError, ServerBusyError):
                attempt += 1
                if attempt > self._policy.retries:
                    raise
                logger.info("%s is waited for, attempt %d", transport.url, attempt)
                await asyncio.sleep(self._policy.delay_s(attempt))

    async def _contact(self, transport: Transport, wanted: str | None) -> ModelInfo:
        await transport.server_metadata()  # of all questions the one that shows best that something else answers
        name = wanted or await preferred_model(transport)
        try:
            return ModelInfo.from_config(await transport.model_config(name))
        except ModelNotFoundError:
            served = ", ".join(await transport.model_names()) or "none that it tells of"
            raise ModelNotFoundError(
                f"{transport.url} does not serve {quoted(name)!r}; it serves: {served}. Name one of these with "
                "model=... (`--model`); `edsr info` says more of them."
            ) from None

    async def _describe(self, transport: Transport) -> dict[str, Any]:
        try:
            metadata = await transport.server_metadata()
            return {
                "url": transport.url,
                "name": str(metadata.get("name", "")),
                "version": str(metadata.get("version", "")),
                "ready": await transport.server_ready(),
                "models": await transport.model_names(),
                "error": "",
            }
        except ServerError as error:
            return {"url": transport.url, "name": "", "version": "", "ready": False, "models": [], "error": str(error)}


async def preferred_model(transport: Transport) -> str:
    """The first of PREFERRED_MODELS that is ready.

    Raises:
        ServerNotReadyError: none yet.
        ModelNotFoundError: none at all.
    """
    for name in PREFERRED_MODELS:
        if await transport.model_ready(name):
            return name
    if not await transport.server_ready():
        raise ServerNotReadyError(f"{transport.url} is not ready: its models are still loading. Try again in a moment.")
    served = ", ".join(await transport.model_names()) or "none that it tells of"
    raise ModelNotFoundError(
        f"{transport.url} serves neither of {', '.join(PREFERRED_MODELS)}; it serves: {served}. "
        "Name one with model=... (`--model`)."
    )


async def _while_alive(request: Coroutine[Any, Any, T], server: Server, model: ModelInfo) -> T:
    """Await an answer for as long as the server shows signs of life."""
    task = asyncio.ensure_future(request)
    missed = 0
    try:
        while True:
            trial = server.trial
            waited_for = {task, trial} if trial else {task}
            await asyncio.wait(waited_for, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if trial is not None and trial.done():
                _look_at(trial, server)
                continue
            try:
                missed = 0 if await server.transport.server_live() else missed + 1
            except ServerError:
                missed += 1
            if missed >= MISSED_HEARTBEATS:
                raise unreachable(server.transport.url, "it stopped answering")
            if server.trial is None:
                server.trial = asyncio.ensure_future(_try_out(server.transport, model))
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at, also where a cancellation of ours came at the same moment


async def _try_out(transport: Transport, model: ModelInfo) -> None:
    """Have one pixel upscaled, beside what takes long."""
    pixel, name = np.zeros((1, 1, 1, 3), np.uint8), f"edsr-trial-{uuid.uuid4().hex[:8]}"
    await transport.infer(model.name, pixel, scale=model.scale, request_id=name, timeout_s=TRIAL_TIMEOUT_S)


def _look_at(trial: asyncio.Task[None], server: Server) -> None:
    """Raise BackendLostError if that came of a trial; whatever else did, the next one tells again."""
    if server.trial is trial:
        server.trial = None
    error = None if trial.cancelled() else trial.exception()
    if isinstance(error, BackendLostError):
        raise error


def _mismatch(model: ModelInfo, other: ModelInfo) -> str:
    """Why a server cannot share the work; "" if it can."""
    if (model.name, model.scale) != (other.name, other.scale):
        return f"it serves {other.name} x{other.scale}, the others {model.name} x{model.scale}"
    if model.source_sha256 != other.source_sha256:
        return f"its {other.name} has other weights ({other.source_sha256[:12]}, not {model.source_sha256[:12]})"
    return ""


def _common(infos: Sequence[ModelInfo]) -> ModelInfo:
    """The first server's model with limits that every one of the servers keeps."""
    first = infos[0]
    if all(
        (i.max_lr_pixels, i.max_shapes, i.tile) == (first.max_lr_pixels, first.max_shapes, first.tile) for i in infos
    ):
        return first
    pixels = [info.max_lr_pixels for info in infos if info.max_lr_pixels]
    shapes = {
        shape for info in infos for shape in info.max_shapes if all(other.limits.takes(*shape) for other in infos)
    }
    tiles = [info.tile for info in infos if info.tile]
    tile = (min(t[0] for t in tiles), min(t[1] for t in tiles)) if tiles else None
    if tile is not None and any(info.max_shapes for info in infos):
        shapes.add(tile)
    return replace(first, max_lr_pixels=min(pixels, default=None), max_shapes=tuple(sorted(shapes)), tile=tile)
