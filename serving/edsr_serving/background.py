"""The server that runs in the background: which process it is, written in its run folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import server as server_process
from .errors import AlreadyRunningError, NotRunningError
from .options import ServerOptions

STATE_FILE = "server.json"


@dataclass(frozen=True)
class State:
    """What a run folder knows of its server."""

    pid: int
    address: str
    http_port: int
    grpc_port: int
    metrics_port: int
    models: tuple[str, ...]
    log: str
    shm_prefix: str
    stubs: int

    @property
    def options(self) -> ServerOptions:
        """Enough of the options to reach the server."""
        return ServerOptions(
            address=self.address, http_port=self.http_port, grpc_port=self.grpc_port, metrics_port=self.metrics_port
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
        """Whether the server answers, its models are loaded, and their backends live."""
        return server_process.backends_alive(self.pid, self.stubs) and server_process.is_ready(self.options)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"pid": self.pid, "http": self.http_url, "grpc": self.grpc_url, "log": self.log}


def remember(server: server_process.RunningServer) -> None:
    """Write which process `server` is into its run folder."""
    options = server.options
    state = State(
        pid=server.process.pid,
        address=options.address,
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        models=server.models,
        log=str(server.log.absolute()),
        shm_prefix=server.shm_prefix,
        stubs=server.stubs,
    )
    partial = options.run_dir / f"{STATE_FILE}.part"
    partial.write_text(json.dumps(asdict(state)), encoding="utf-8")
    partial.replace(options.run_dir / STATE_FILE)


def read(run_dir: Path) -> State | None:
    """The server of a run folder if it is alive, else None."""
    state = _remembered(run_dir)
    return state if state and server_process.is_tritonserver(state.pid) else None


def _remembered(run_dir: Path) -> State | None:
    try:
        raw = json.loads((run_dir / STATE_FILE).read_text(encoding="utf-8"))
        return State(**{**raw, "models": tuple(raw["models"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def make_way(run_dir: Path) -> None:
    """Clear away what a server that died has left; raise AlreadyRunningError if it lives."""
    state = _remembered(run_dir)
    if state and not server_process.is_tritonserver(state.pid):
        server_process.clean_up(state.pid, state.shm_prefix)
    elif state:
        raise AlreadyRunningError(
            f"A server is already running (pid {state.pid}, http://{state.http_url}). "
            "`make stop` stops it; another needs its own --run-dir and ports."
        )


def stop(run_dir: Path) -> int:
    """Stop the server of a run folder; returns the process id it had.

    Raises:
        NotRunningError: there is none.
    """
    state = read(run_dir)
    if state is None:
        raise NotRunningError(f"No server runs in the background from {run_dir.absolute()}.")
    server_process.stop(state.pid, state.shm_prefix)
    (run_dir / STATE_FILE).unlink(missing_ok=True)
    return state.pid
