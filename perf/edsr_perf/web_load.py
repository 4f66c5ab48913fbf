"""Many clients at once on a running gateway: what is refused, what is right, its memory, and what stays held."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import os
import random
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import PerfError, reported
from .gateway import PHOTOGRAPH
from .machine import machine
from .publishing import add_options, target
from .sections import write_json

# LR side, format of the input, format of the result: what people send in one morning.
KINDS = (
    (64, "JPEG", "jpeg"),
    (96, "PNG", "png"),
    (128, "WEBP", "webp"),
    (160, "JPEG", "png"),
    (256, "JPEG", "jpeg"),
    (320, "PNG", "webp"),
)
FAILED = 20
SAMPLE_S = 1.0
BROKEN = 9
# Waiting after a refusal: less than Retry-After asks for, so that the gateway is never without a crowd.
PAUSE_S = (0.2, 1.0)
AT_REST_S = 60.0
# Growth of the memory from the first third to the last that is not noise.
GROWTH = 1.25
_HELD = (
    "pictures_busy",
    "pictures_waiting",
    "headers_busy",
    "headers_waiting",
    "uploads_in_flight",
    "pictures_in_flight",
)


@dataclass(frozen=True)
class Picture:
    """A picture to send, and the hash of the result that is right."""

    content: bytes
    path: str
    digest: str


@dataclass
class Seen:
    """What the clients saw; filled by all of them."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def add_command(commands: Any) -> None:
    """`python -m edsr_perf web-load`."""
    parser = commands.add_parser("web-load", help="many clients at once on a running gateway (`make web-start`)")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--url", default="localhost:8000", help="host:port of the Triton (default: %(default)s)")
    parser.add_argument("--gateway", default="localhost:8080", help="host:port of the gateway on this machine")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    add_options(parser)
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    pictures = prepared(args.root / PHOTOGRAPH, args.url)
    found = load(args.gateway, pictures, args.clients, args.seconds)
    found["machine"] = machine()
    path = target(args.root, "web-load", found, args.publish)
    write_json(path, found)
    counts = ", ".join(f"{status}: {count}" for status, count in found["answers"].items())
    sys.stdout.write(
        f"{args.clients} clients, {args.seconds:g} s: answers {counts}; wrong pictures {found['wrong_pictures']}; "
        f"p50 {found['p50_s']} s; memory at most {found['memory_mib']['most']} MiB; "
        f"{'nothing' if not found['held'] else found['held']} held after; wrote {path}\n"
    )
    for trouble in found["troubles"]:
        sys.stderr.write(f"error: {trouble}\n")
    return FAILED if found["troubles"] else 0


def prepared(photograph: Path, url: str) -> list[Picture]:
    """The pictures, and what the client makes of them without a gateway.

    Raises:
        PerfError: there is no photograph.
        ServerError: no Triton answers at `url`.
    """
    from edsr_client import Finishing, Upscaler
    from PIL import Image

    pictures = []
    try:
        image = Image.open(photograph).convert("RGB")
    except OSError as error:
        raise PerfError(f"Cannot read {photograph}: {error}. Run from the repository's root.") from None
    with Upscaler(url, model="auto") as upscaler:
        for side, kind, result in KINDS:
            file = io.BytesIO()
            image.resize((side, side)).save(file, kind, quality=90)
            content = file.getvalue()
            made, _ = upscaler.upscale_bytes(content, finishing=Finishing(format=result))
            pictures.append(Picture(content, f"/v1/upscale?format={result}", hashlib.sha256(made).hexdigest()))
    return pictures


def load(gateway: str, pictures: list[Picture], clients: int, seconds: float) -> dict[str, Any]:
    """Send pictures from many clients, and break connections beside them; then look at what is left.

    Args:
        gateway: host:port, on this machine: its memory is read from /proc.
        pictures: sent in random order.
        clients: at once, each from a loopback address of its own.
        seconds: for how long.

    Raises:
        PerfError: no gateway of this machine is there.
    """
    pid, seen = _pid_of(gateway), Seen()
    end = time.monotonic() + seconds
    jobs: list[Callable[[], None]] = [
        lambda number=number: _client(gateway, number, pictures, end, seen)  # type: ignore[misc]
        for number in range(clients)
    ]
    jobs += [lambda number=number: _broken(gateway, number, pictures, end) for number in range(BROKEN)]  # type: ignore[misc]
    jobs.append(lambda: _sample(pid, end, seen))
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.5)
        if sys.stderr.isatty():
            left, done = max(0.0, end - time.monotonic()), seen.statuses[200]
            sys.stderr.write(f"\r{left:4.0f} s left, {done} pictures, {seen.statuses[429]} refusals ")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    return _summary(seen, clients, seconds, _left(gateway))


def _client(gateway: str, number: int, pictures: list[Picture], end: float, seen: Seen) -> None:
    chance = random.Random(number)  # noqa: S311
    connection = http.client.HTTPConnection(gateway, source_address=(_address(number), 0), timeout=300)
    while time.monotonic() < end:
        picture, started = chance.choice(pictures), time.monotonic()
        try:
            connection.request("POST", picture.path, picture.content)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            with seen.lock:
                seen.failures.append(f"{type(error).__name__}: {error}")
            connection.close()
            continue
        with seen.lock:
            seen.statuses[answer.status] += 1
            if answer.status == 200:
                seen.seconds.append(time.monotonic() - started)
                seen.wrong += hashlib.sha256(content).hexdigest() != picture.digest
        if answer.status != 200:
            time.sleep(chance.uniform(*PAUSE_S))
    connection.close()


def _broken(gateway: str, number: int, pictures: list[Picture], end: float) -> None:
    """Slow uploads, half ones, and connections that are dropped while the picture is under way."""
    host, _, port = gateway.rpartition(":")
    chance = random.Random(1000 + number)  # noqa: S311
    while time.monotonic() < end:
        picture = chance.choice(pictures)
        length = len(picture.content)
        head = f"POST {picture.path} HTTP/1.1\r\nHost: {gateway}\r\nContent-Length: {length}\r\n\r\n".encode()
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, int(port)), 60, (_address(200 + number), 0)) as connection,
        ):
            if number % 3 == 0:
                connection.sendall(head)
                for byte in picture.content:
                    if time.monotonic() > end:
                        break
                    connection.sendall(bytes((byte,)))
                    time.sleep(1)
            elif number % 3 == 1:
                connection.sendall(head + picture.content[: len(picture.content) // 2])
                time.sleep(chance.uniform(0, 2))
            else:
                connection.sendall(head + picture.content)
                time.sleep(chance.uniform(0, 0.3))


def _address(number: int) -> str:
    return f"127.0.1.{number + 1}"


def _sample(pid: int, end: float, seen: Seen) -> None:
    while time.monotonic() < end:
        workers = _children(pid)
        gateway, busy = _rss_mib(pid), sum(map(_rss_mib, workers))
        seen.memory.append({"gateway": gateway, "workers": busy})
        time.sleep(SAMPLE_S)


def _summary(seen: Seen, clients: int, seconds: float, held: dict[str, float]) -> dict[str, Any]:
    sums = [one["gateway"] + one["workers"] for one in seen.memory] or [0.0]
    third = max(1, len(sums) // 3)
    first, last = statistics.median(sums[:third]), statistics.median(sums[-third:])
    troubles = [f"{count} answers were {status}" for status, count in seen.statuses.items() if status not in (200, 429)]
    troubles += [f"{len(seen.failures)} requests got no answer: {seen.failures[0]}"] if seen.failures else []
    troubles += [f"{seen.wrong} pictures differ from the client's"] if seen.wrong else []
    troubles += [f"still held: {held}"] if held else []
    troubles += [f"memory grew from {first:.0f} to {last:.0f} MiB"] if last > GROWTH * first else []
    troubles += ["no picture came back"] if not seen.statuses[200] else []
    times = sorted(seen.seconds) or [0.0]
    return {
        "clients": clients,
        "broken_connections_at_once": BROKEN,
        "seconds": seconds,
        "answers": {str(status): count for status, count in sorted(seen.statuses.items())},
        "wrong_pictures": seen.wrong,
        "p50_s": round(statistics.median(times), 3),
        "p99_s": round(times[int(0.99 * (len(times) - 1))], 3),
        "memory_mib": {"most": round(max(sums)), "first_third": round(first), "last_third": round(last)},
        "memory_series_mib": [[round(one["gateway"]), round(one["workers"])] for one in seen.memory],
        "held": held,
        "troubles": troubles,
    }


def _left(gateway: str) -> dict[str, float]:
    """What the gateway still holds, after it had time to notice who has gone; empty is right."""
    end = time.monotonic() + AT_REST_S
    while True:
        held = {name: value for name, value in _gauges(gateway) if name in _HELD and value}
        if not held or time.monotonic() > end:
            return held
        time.sleep(0.5)


def _gauges(gateway: str) -> Iterator[tuple[str, float]]:
    connection = http.client.HTTPConnection(gateway, timeout=30)
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        name, _, value = line.partition(" ")
        if name.startswith("edsr_gateway_") and "{" not in name:
            yield name.removeprefix("edsr_gateway_"), float(value)
    connection.close()


def _pid_of(gateway: str) -> int:
    """The process that listens there, by the port in its command line.

    Raises:
        PerfError: there is none on this machine.
    """
    port = gateway.rpartition(":")[2]
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_text("utf-8", "replace") if entry.name.isdecimal() else ""
            if "edsr_gateway" in words and port in words and "-I\0" not in words and int(entry.name) != os.getpid():
                return int(entry.name)
    raise PerfError(f"No gateway of this machine at {gateway}. Start one: make web-start")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    return []


def _rss_mib(pid: int) -> float:
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
    return 0.0
