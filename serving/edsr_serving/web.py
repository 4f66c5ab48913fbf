"""The gateway with an embedded Triton behind it, on one machine: in the foreground, or left in the background.

The gateway is a process of its own, of another distribution: it is started by its command and asked over HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from . import background
from .errors import AlreadyRunningError, NotRunningError, ServingError, StartupError
from .options import LOOPBACK, ServerOptions
from .processes import GONE, command_line, state_of, wait_for
from .server import end_with_parent
from .watch import how_it_ended

STATE_FILE, LOG_FILE = "gateway.json", "gateway.log"
START_S, READY_S = 60.0, 240.0
# It gives its requests 30 seconds.
END_S = 45.0
CHECK_S = 0.2
LOG_LINES = 5


@dataclass(frozen=True)
class WebOptions:
    """Where the gateway listens, and which Tritons stand behind it.

    Attributes:
        server: the embedded Triton, started where `urls` is empty.
        address, port: the gateway's.
        urls: Tritons that run elsewhere.
        workers: processes for pictures; 0 is the gateway's default.
    """

    server: ServerOptions
    address: str = LOOPBACK
    port: int = 8080
    urls: tuple[str, ...] = ()
    workers: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise StartupError(f"The gateway's port must be 1 to 65535, not {self.port} (GATEWAY_PORT=).")

    @property
    def command(self) -> list[str]:
        """The gateway's."""
        words = [sys.executable, "-m", "edsr_gateway", "--address", self.address, "--port", str(self.port)]
        words += ["--folder", str(self.server.run_dir / "gateway")]
        for url in self.urls or (f"http://{self.server.http_url}",):
            words += ["--url", url]
        return words + (["--workers", str(self.workers)] if self.workers else [])

    @property
    def host(self) -> str:
        """Where this machine reaches the gateway."""
        if self.address in ("0.0.0.0", ""):  # noqa: S104
            return LOOPBACK
        if self.address == "::":
            return "[::1]"
        return f"[{self.address}]" if ":" in self.address else self.address


@dataclass(frozen=True)
class State:
    """The gateway that `start` left in the background.

    Attributes:
        pid: of the gateway.
        url: its address on this machine.
        has_started_triton: whether the Triton behind it is to be stopped with it.
    """

    pid: int
    url: str
    has_started_triton: bool


def run(options: WebOptions, server_command: Sequence[str]) -> int:
    """Serve in the foreground until a signal, or until a part ends; then the other ends too.

    Args:
        options: of the gateway.
        server_command: what serves Triton in the foreground; not started where there is one at that port already,
            or Tritons elsewhere are named.

    Raises:
        ServingError: a part did not start, or ended by itself.
    """
    stopping: list[int] = []

    def leave(number: int, _: object) -> None:
        stopping.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    check_port(options)
    parts: dict[str, subprocess.Popen[bytes]] = {}
    try:
        if not options.urls and not _answers(f"http://{options.server.http_url}/v2/health/ready"):
            parts["the Triton server"] = triton = _started(server_command)
            _await(f"http://{options.server.http_url}/v2/health/ready", triton, "the Triton server", READY_S, stopping)
        if not stopping:
            parts["the gateway"] = gateway = _started(options.command)
            _await(f"http://{options.host}:{options.port}/healthz", gateway, "the gateway", START_S, stopping)
        while not stopping:
            for name, part in parts.items():
                if (code := part.poll()) is not None:
                    raise StartupError(f"{name[0].upper()}{name[1:]} {how_it_ended(code)}; everything was stopped.")
            with contextlib.suppress(InterruptedError):
                signal.sigtimedwait([signal.SIGCHLD], CHECK_S)
    finally:
        _end(list(reversed(parts.values())), stopping)
    return 0 if stopping else 1


def start(options: WebOptions) -> State:
    """Leave a gateway in the background; the Triton behind it runs already.

    Raises:
        AlreadyRunningError: this run folder has one.
        StartupError: it did not start; the message has the end of its log.
    """
    run_dir = options.server.run_dir
    if (running := read(run_dir)) is not None:
        raise AlreadyRunningError(
            f"The gateway runs already: {running.url} (pid {running.pid}). `make web-stop` stops it."
        )
    check_port(options)
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / LOG_FILE
    with log.open("wb") as file:
        gateway = _started(options.command, file, is_left=True)
    url = f"http://{options.host}:{options.port}"
    try:
        _await(f"{url}/healthz", gateway, "the gateway", START_S, [])
    except BaseException as error:
        gateway.kill()
        gateway.wait()
        if isinstance(error, ServingError):
            words = " / ".join(log.read_text("utf-8", "replace").split("\n")[-LOG_LINES - 1 : -1])
            raise StartupError(f"{error} Its log, {log}, ends: {words}") from None
        raise
    return State(gateway.pid, url, False)


def remember(run_dir: Path, state: State) -> None:
    """Write down which gateway runs."""
    partial = run_dir / f"{STATE_FILE}.part"
    partial.write_text(json.dumps(asdict(state)), encoding="utf-8")
    partial.replace(run_dir / STATE_FILE)


def read(run_dir: Path) -> State | None:
    """The gateway in the background; None if there is none, or it was killed."""
    state = remembered(run_dir)
    return state if state is not None and _is_gateway(state.pid) else None


def stop(run_dir: Path) -> State:
    """Stop the gateway in the background; its requests have half a minute. A killed one is cleaned up after.

    Raises:
        NotRunningError: there is none.
    """
    state = remembered(run_dir)
    if state is None:
        raise NotRunningError("No gateway runs in the background. `make web-start` starts one.")
    if _is_gateway(state.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGTERM)
            os.kill(state.pid, signal.SIGCONT)
        if not wait_for(lambda: not _is_gateway(state.pid), END_S):
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGKILL)
            wait_for(lambda: not _is_gateway(state.pid), END_S)
    (run_dir / STATE_FILE).unlink(missing_ok=True)
    return state


def has_triton(options: ServerOptions) -> bool:
    """Whether a Triton runs in the background of the run folder, or answers at the port."""
    return background.read(options.run_dir) is not None or _answers(f"http://{options.http_url}/v2/health/ready")


def check_port(options: WebOptions) -> None:
    """Raises StartupError if the gateway could not listen, before anything slow is started."""
    try:
        family, *_, target = socket.getaddrinfo(options.address, options.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        reason = (error.strerror or str(error)).rstrip(".")
        raise StartupError(
            f"The gateway cannot listen on {options.address}:{options.port}: {reason}. "
            "Name another port: GATEWAY_PORT=8081."
        ) from None


def _started(command: Sequence[str], log: IO[bytes] | None = None, *, is_left: bool = False) -> subprocess.Popen[bytes]:
    """A part; with this process it ends, unless it is left in the background. Signals of a terminal do not reach it:
    this process passes them on, in order."""
    options: dict[str, Any] = {} if is_left else {"preexec_fn": end_with_parent()}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log and subprocess.STDOUT,
        start_new_session=True,
        **options,
    )


def _await(url: str, part: subprocess.Popen[bytes], name: str, seconds: float, stopping: list[int]) -> None:
    if not wait_for(lambda: bool(stopping) or part.poll() is not None or _answers(url), seconds):
        raise StartupError(f"{name[0].upper()}{name[1:]} did not answer within {seconds:g} s.")
    if not stopping and (code := part.poll()) is not None:
        raise StartupError(f"{name[0].upper()}{name[1:]} {how_it_ended(code)} before it answered.")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - http, of our own making
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _end(parts: Sequence[subprocess.Popen[bytes]], stopping: Sequence[int]) -> None:
    """End parts one after the other, the gateway before what it needs. A further signal does not wait."""
    before = max(1, len(stopping))
    for part in parts:
        if part.poll() is None:
            part.terminate()
        wait_for(partial(_has_ended, part, stopping, before), END_S)
        if part.poll() is None:
            part.kill()
        part.wait()


def _has_ended(part: subprocess.Popen[bytes], stopping: Sequence[int], before: int) -> bool:
    return part.poll() is not None or len(stopping) > before


def remembered(run_dir: Path) -> State | None:
    """The gateway that was started last in the background and not stopped; it may be dead."""
    try:
        facts = json.loads((run_dir / STATE_FILE).read_text(encoding="utf-8"))
        return State(int(facts["pid"]), str(facts["url"]), bool(facts["has_started_triton"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _is_gateway(pid: int) -> bool:
    """Whether a live process with this id is a gateway: ids are used again."""
    return state_of(pid) != GONE and "edsr_gateway" in command_line(pid)
