"""Examines a server as a client sees it: is it there, which model, what is slow, what is misconfigured."""

from __future__ import annotations

import math
import statistics
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .addresses import Address
from .errors import AccessDeniedError, EdsrError, ServerBusyError, ServerNotReadyError, ServerTimeoutError
from .model_info import AUTO, ModelInfo
from .servers import preferred_model
from .transports import Credentials, Transport, connect

OK, WARN, FAIL = "ok", "warn", "fail"
# Triton's release 25.06 (2.59) limits the size of requests, and fixes of 2025 and 2026 came after it.
OLDEST_FOR_NETWORKS = (2, 59)
TIMED_REQUESTS, TIMED_SIDE_PX, PATIENCE_S = 7, 128, 60.0
FIRST_SIDE_PX, TIMED_MS, ONE_PIXEL_PATIENCE_S = 32, 500.0, 5.0
PHOTO_PX = 12_000_000
# Of the time of a request: what is neither inference nor waiting for it.
MUCH_OVERHEAD, MUCH_WAITING = 0.25, 0.10
SLOWEST_TO_SLOW = 3.0
# Less than this of a request in the server's statistics, and they do not cover its work.
LEAST_COUNTED = 0.05
UNCOUNTED = "of {:.1f} ms on average, where they went is not known: the server's statistics do not count them"
NO_ANSWER = (
    f"one pixel is not answered in {ONE_PIXEL_PATIENCE_S:g} s, though the server says that it is ready: its backend "
    "process is dead or stopped, or it computes a large request"
)
NO_ANSWER_ADVICE = "On its machine `make status` says which; the server's log, why. Start it again if it is dead."
DEAD = "one pixel is not answered, its backend process is dead or stopped"
BUSY = "its queue is full: it refuses requests"
BUSY_ADVICE = "Try again in a moment; with fewer at a time, more instances, or another server."
NO_SHARED_MEMORY = (
    "cannot be used: it is only for the user who started the server, or switched off (tritonserver "
    "--allow-client-shm=true)"
)
NOT_OURS = "where it went is not known: the server tells its statistics only to the user who started it, on its machine"


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        url, subject: what was examined.
        status: "ok", "warn" or "fail".
        message: what was found.
        advice: what to do about it, "" if nothing.
        exit_code: of a command that ends with this failure; 0 if it is none.
    """

    url: str
    subject: str
    status: str
    message: str
    advice: str = ""
    exit_code: int = 0


async def examine(addresses: tuple[Address, ...], credentials: Credentials, model: str | None) -> AsyncIterator[Check]:
    """Findings about every server, in order, as they are made. What fails ends the findings about that server."""
    seen: list[ModelInfo] = []
    for address in addresses:
        transport = connect(address, credentials)
        subject = "server"
        try:
            async for check in _examine_one(address, transport, None if model == AUTO else model, seen):
                subject = "model"  # what comes after the server answered
                yield check
        except EdsrError as error:
            yield Check(str(address), subject, FAIL, str(error), exit_code=error.exit_code)
        finally:
            await transport.close()
    if len({(info.name, info.source_sha256) for info in seen}) > 1:
        yield Check(
            "all",
            "weights",
            FAIL,
            "The servers serve different weights.",
            "Tiles of one picture would not match: name servers with the same model.",
            7,
        )


async def _examine_one(
    address: Address, transport: Transport, wanted: str | None, seen: list[ModelInfo]
) -> AsyncIterator[Check]:
    started = time.perf_counter()
    metadata = await transport.server_metadata()
    first_ms = (time.perf_counter() - started) * 1000
    version = str(metadata.get("version", ""))
    yield _server_check(address, str(metadata.get("name")), version, first_ms)
    ready = await transport.server_ready()
    names = ", ".join(await transport.model_names()) or "none"
    yield Check(
        transport.url,
        "ready",
        OK if ready else WARN,
        f"models ready: {names}",
        "" if ready else "A model failed to load, or still does: read the server's log.",
    )
    name = wanted or await preferred_model(transport)
    config = await transport.model_config(name)
    info = ModelInfo.from_config(config)
    seen.append(info)
    runtime = f", {info.runtime}" if info.runtime else ""
    yield Check(
        transport.url,
        "model",
        OK,
        f"{info.name} x{info.scale}, {info.inference_precision}, {info.backend}{runtime}, {info.instances} instance(s)",
    )
    for check in _config_checks(transport.url, config, info):
        yield check
    answer = await _answer_check(transport, info)
    yield answer
    if answer.status == FAIL:
        return
    async for check in _speed_checks(transport, info):
        yield check
    if address.is_local:
        yield await _shared_memory_check(address, info)


def _server_check(address: Address, name: str, version: str, first_ms: float) -> Check:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isascii() and part.isdigit())
    message = f"{name} {version} answers ({first_ms:.0f} ms)"
    if numbers < OLDEST_FOR_NETWORKS and not address.is_local:
        return Check(
            str(address),
            "server",
            WARN,
            message,
            "This release is older than security fixes of 2025 and 2026; it should listen on loopback only.",
        )
    return Check(str(address), "server", OK, message)


def _config_checks(url: str, config: dict[str, Any], info: ModelInfo) -> list[Check]:
    """What the configuration says that costs time, or keeps a client from doing it right."""
    found = []
    if config.get("dynamic_batching") is not None and _instances(config) <= info.instances:
        found.append(
            (
                "dynamic_batching is on: Triton's batcher can sleep 500 ms, and EDSR gains nothing from batches",
                "Remove the block.",
            )
        )
    if _entry(config, "response_cache", "enable"):
        found.append(("the response cache is on: pictures are rarely sent twice", "Remove response_cache."))
    if info.tile is None:
        found.append(
            (
                "no `tile` parameter: tiles are as large as the limit allows",
                "Render the configuration again (`make configs`).",
            )
        )
    if info.halo_px is None:
        found.append(
            (
                "no `halo_px` parameter: pictures over the limit cannot be tiled",
                "Render the configuration again (`make configs`).",
            )
        )
    if info.inference_precision in ("f32", "fp32"):
        found.append(
            (
                "it computes in float32",
                "Where the hardware has it, half precision is about twice as fast: PRECISION=auto of `make serve`.",
            )
        )
    return [Check(url, "configuration", WARN, message, advice) for message, advice in found] or [
        Check(url, "configuration", OK, f"tile {info.tile}, halo {info.best_halo_px} (exact {info.halo_px})")
    ]


def _instances(config: dict[str, Any]) -> int:
    """How many there are. Where more than compute at a time, Triton's batcher always has one to wake."""
    return sum(int(group.get("count", 1)) for group in config.get("instance_group") or [])


async def _answer_check(transport: Transport, info: ModelInfo) -> Check:
    """Whether the model truly computes: one pixel. Triton calls itself ready also when its backend process is dead."""
    pixel = np.zeros((1, 1, 1, 3), np.uint8)
    started = time.perf_counter()
    try:
        await transport.infer(
            info.name, pixel, scale=info.scale, request_id="edsr-doctor", timeout_s=ONE_PIXEL_PATIENCE_S
        )
    except ServerTimeoutError as error:
        return Check(transport.url, "answer", FAIL, NO_ANSWER, NO_ANSWER_ADVICE, error.exit_code)
    except ServerNotReadyError as error:
        return Check(transport.url, "answer", FAIL, f"{DEAD}: {error}", NO_ANSWER_ADVICE, error.exit_code)
    except ServerBusyError as error:
        return Check(transport.url, "answer", FAIL, BUSY, BUSY_ADVICE, error.exit_code)
    took_ms = (time.perf_counter() - started) * 1000
    return Check(transport.url, "answer", OK, f"one pixel is answered in {took_ms:.1f} ms")


async def _speed_checks(transport: Transport, info: ModelInfo) -> AsyncIterator[Check]:
    """Requests one after the other, and where Triton's own statistics say that their time went; half a second or so."""

    async def ask(side: int) -> float:
        tile = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        started = time.perf_counter()
        name = f"edsr-doctor-{uuid.uuid4().hex[:8]}"
        await transport.infer(info.name, tile, scale=info.scale, request_id=name, timeout_s=PATIENCE_S)
        return (time.perf_counter() - started) * 1000

    largest = min([TIMED_SIDE_PX, math.isqrt(info.limits.max_px), *(min(shape) for shape in info.max_shapes)])
    first = min(FIRST_SIDE_PX, largest)
    side = _timed_side(await ask(first), first, largest)
    if side != first:
        await ask(side)  # the first of a shape is slower
    before = await _statistics(transport, info.name)
    times_ms = [await ask(side)]
    while len(times_ms) < TIMED_REQUESTS and sum(times_ms) < TIMED_MS:
        times_ms.append(await ask(side))
    after = await _statistics(transport, info.name)
    yield _speed_check(transport.url, side, times_ms)
    if before is None or after is None:
        yield Check(transport.url, "time", OK, NOT_OURS)
        return
    count = after["count"] - before["count"]
    queue_ms, compute_ms = ((after[key] - before[key]) / max(count, 1.0) for key in ("queue", "compute"))
    yield _time_check(transport.url, statistics.fmean(times_ms), queue_ms, compute_ms)


def _timed_side(first_ms: float, first: int, largest: int) -> int:
    """Side of the pictures to time, so that a few of them take no longer than TIMED_MS."""
    fitting = int(first * math.sqrt(TIMED_MS / 4 / max(first_ms, 0.1)))
    return max(min(largest, fitting), min(first, largest))


def _speed_check(url: str, side: int, times_ms: list[float]) -> Check:
    median, slowest = statistics.median(times_ms), max(times_ms)
    photo_s = PHOTO_PX / side**2 * median / 1000
    message = (
        f"{side}x{side} in {median:.1f} ms (median of {len(times_ms)}, slowest {slowest:.1f}); a photo of 12 "
        f"megapixels in about {photo_s:.0f} s"
    )
    if slowest > SLOWEST_TO_SLOW * median:
        advice = "Some requests take far longer: other clients, other programs on the machine, or dynamic batching."
        return Check(url, "speed", WARN, message, advice)
    return Check(url, "speed", OK, message)


def _time_check(url: str, whole_ms: float, queue_ms: float, compute_ms: float) -> Check:
    overhead_ms = max(0.0, whole_ms - queue_ms - compute_ms)
    if queue_ms + compute_ms < LEAST_COUNTED * whole_ms:
        return Check(url, "time", WARN, UNCOUNTED.format(whole_ms))
    message = (
        f"of {whole_ms:.1f} ms on average, by Triton's statistics: inference {compute_ms:.1f}, waiting in the queue "
        f"{queue_ms:.1f}, the way there and back {overhead_ms:.1f}"
    )
    advice = ""
    if queue_ms > MUCH_WAITING * whole_ms:
        advice = "Requests wait: the server is busy with others. More instances, or another server."
    elif overhead_ms > MUCH_OVERHEAD * whole_ms:
        advice = "The way costs much: gRPC, shared memory on one machine, or a nearer server."
    return Check(url, "time", WARN if advice else OK, message, advice)


async def _statistics(transport: Transport, model: str) -> dict[str, float] | None:
    """What Triton counted so far; None where it tells only the user who started it."""
    try:
        return _times_ms(await transport.model_statistics(model))
    except AccessDeniedError:
        return None


def _times_ms(statistics_: dict[str, Any]) -> dict[str, float]:
    def total(key: str, value: str = "ns") -> float:
        found = _entry(statistics_, "inference_stats", key, value)
        try:
            return float(found or 0)  # gRPC has them as text
        except (TypeError, ValueError, OverflowError):
            return 0.0

    compute = sum(total(key) for key in ("compute_input", "compute_infer", "compute_output"))
    return {"count": total("success", "count"), "queue": total("queue") / 1e6, "compute": compute / 1e6}


def _entry(record: Any, *keys: str) -> Any:
    """What stands there in a record of records; None if it has not that form."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


async def _shared_memory_check(address: Address, info: ModelInfo) -> Check:
    transport = connect(address, Credentials(), shared_memory=True)
    try:
        await transport.infer(
            info.name,
            np.zeros((1, 8, 8, 3), np.uint8),
            scale=info.scale,
            request_id="edsr-doctor",
            timeout_s=PATIENCE_S,
        )
        usable = transport.uses_shared_memory
    except EdsrError:
        usable = False
    finally:
        await transport.close()
    message = "can be used (--shared-memory)" if usable else NO_SHARED_MEMORY
    return Check(transport.url, "shared memory", OK, message)
