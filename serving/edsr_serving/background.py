"""The server of a run folder: which process keeps it, and how it is, written in that folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .errors import AlreadyRunningError, NotRunningError, RequestsCutOffError
from .options import ServerOptions
from .probe import state_of_model
from .processes import KILL_TIMEOUT_S, clean_up, is_keeper, is_tritonserver, state_of, wait_for
from .server import BEATS, RunningServer, is_ready

STATE_FILE, LOST_FILE, PATIENCE_FILE = "server.json", "stopped.json", "exit-timeout"
# What the end takes beside the time for requests.
STOP_MARGIN_S = 15.0


@dataclass(frozen=True)
class State:
    """What a run folder knows of its server.

    Attributes:
        pid: of tritonserver, the last one if there is none now.
        keeper: of the process that keeps it.
        trouble: why there is no server now, "" if there is one.
    """

    pid: int
    keeper: int
    address: str
    http_port: int
    grpc_port: int
    metrics_port: int
    models: tuple[str, ...]
    log: str
    shm_prefix: str
    stubs: int
    exit_timeout_s: float
    run_dir: str
    trouble: str = ""

    @property
    def options(self) -> ServerOptions:
        """Enough of the options to reach the server."""
        return ServerOptions(
            address=self.address,
            http_port=self.http_port,
            grpc_port=self.grpc_port,
            metrics_port=self.metrics_port,
            exit_timeout_s=self.exit_timeout_s,
        )

    @property
    def http_url(self) -> str:
        """host:port of the HTTP endpoint."""
        return self.options.http_url

    @property
    def grpc_url(self) -> str:
        """host:port of the gRPC endpoint."""
        return self.options.grpc_url

    def is_ready(self) -> bool:
        """Whether the server answers, and every model computes."""
        return is_ready(self.options) and all(is_well for is_well, _ in self.model_states().values())

    def model_states(self) -> dict[str, tuple[bool, str]]:
        """Of each model, whether it can be asked, by a real inference of one pixel; and how it is in words."""
        if self.trouble:
            return dict.fromkeys(self.models, (False, f"not ready: {self.trouble}"))
        if state_of(self.keeper) == "T":
            return dict.fromkeys(self.models, (False, f"not ready: its keeper is stopped (pid {self.keeper})"))
        beats = Path(self.run_dir) / BEATS
        return {model: state_of_model(self.options, model, beats) for model in self.models}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pid": self.pid,
            "keeper": self.keeper,
            "http": self.http_url,
            "grpc": self.grpc_url,
            "log": self.log,
            "trouble": self.trouble,
        }


def remember(server: RunningServer) -> None:
    """Write which process `server` is into its run folder."""
    options = server.options
    state = State(
        pid=server.process.pid,
        keeper=os.getpid(),
        address=options.address,
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        models=server.models,
        log=str(server.log.absolute()),
        shm_prefix=server.shm_prefix,
        stubs=server.stubs,
        exit_timeout_s=options.exit_timeout_s,
        run_dir=str(options.run_dir.absolute()),
    )
    _write(options.run_dir, state)


def remember_trouble(run_dir: Path, trouble: str) -> None:
    """Write why there is no server now."""
    if state := _remembered(run_dir):
        _write(run_dir, State(**{**_raw(state), "trouble": trouble}))


def forget(run_dir: Path, lost: int = 0) -> None:
    """The server was stopped; so many of its requests were not answered."""
    with contextlib.suppress(OSError):
        (run_dir / LOST_FILE).write_text(json.dumps({"keeper": os.getpid(), "lost": lost}), encoding="utf-8")
        for name in (STATE_FILE, PATIENCE_FILE):
            (run_dir / name).unlink(missing_ok=True)


def read(run_dir: Path) -> State | None:
    """The server of a run folder if it is kept, else None."""
    state = _remembered(run_dir)
    return state if state and is_keeper(state.keeper) else None


def last_trouble(run_dir: Path) -> str:
    """Why there is no server any more, if that is known."""
    state = _remembered(run_dir)
    if state is None:
        return ""
    return state.trouble or f"the process that kept it was killed (pid {state.keeper})"


def make_way(run_dir: Path) -> None:
    """Clear away what a server that died has left; raise AlreadyRunningError if it lives."""
    state = _remembered(run_dir)
    if state is None or state.keeper == os.getpid():
        return
    if is_keeper(state.keeper):
        raise AlreadyRunningError(
            f"A server is already running (pid {state.pid}, http://{state.http_url}). "
            "`make stop` stops it; another needs its own --run-dir and ports."
        )
    wait_for(lambda: not is_tritonserver(state.pid), KILL_TIMEOUT_S)  # it ends with its keeper
    clean_up(state.pid, state.shm_prefix)


def stop(run_dir: Path, exit_timeout_s: float | None = None) -> int:
    """Stop the server of a run folder; returns the process id it had.

    Args:
        run_dir: of the server.
        exit_timeout_s: how long its requests may take; None for what it was started with.

    Raises:
        NotRunningError: there is none.
        RequestsCutOffError: not all requests were answered in that time.
    """
    state = read(run_dir)
    if state is None:
        raise NotRunningError(f"No server runs in the background from {run_dir.absolute()}.")
    given_s = state.exit_timeout_s if exit_timeout_s is None else exit_timeout_s

    def ended() -> bool:
        return not is_keeper(state.keeper)

    (run_dir / PATIENCE_FILE).write_text(f"{given_s}", encoding="utf-8")
    (run_dir / LOST_FILE).unlink(missing_ok=True)
    _signal(state.keeper, signal.SIGTERM, signal.SIGCONT)
    wait_for(ended, given_s + STOP_MARGIN_S)
    if not ended():
        _signal(state.keeper, signal.SIGKILL)
        wait_for(ended, KILL_TIMEOUT_S)
    clean_up(state.pid, state.shm_prefix)
    (run_dir / STATE_FILE).unlink(missing_ok=True)
    if lost := _lost(run_dir, state.keeper):
        raise RequestsCutOffError(
            lost,
            f"Stopped (pid {state.pid}), and {lost} request(s) were cut off: they were not answered within {given_s:g} "
            "s. `--exit-timeout SECONDS`, `make stop EXIT_TIMEOUT=SECONDS` gives them longer.",
        )
    return state.pid


def patience_s(run_dir: Path, default_s: float) -> float:
    """How long `stop` wants the keeper to wait for requests, in seconds; the default if it has not said."""
    try:
        return float((run_dir / PATIENCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default_s


def _lost(run_dir: Path, keeper: int) -> int:
    try:
        found = json.loads((run_dir / LOST_FILE).read_text(encoding="utf-8"))
        return int(found["lost"]) if found["keeper"] == keeper else 0
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def _signal(pid: int, *numbers: signal.Signals) -> None:
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _raw(state: State) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in fields(state)}


def _write(run_dir: Path, state: State) -> None:
    partial = run_dir / f"{STATE_FILE}.part"
    partial.write_text(json.dumps(asdict(state)), encoding="utf-8")
    partial.replace(run_dir / STATE_FILE)


def _remembered(run_dir: Path) -> State | None:
    try:
        raw = json.loads((run_dir / STATE_FILE).read_text(encoding="utf-8"))
        return State(**{**raw, "models": tuple(raw["models"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
