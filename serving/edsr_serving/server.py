"""Starts a tritonserver process, waits until it answers, says why if it does not, and stops it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import IO

from . import keys, repository, speed
from .cpu import PRECISIONS, inference_precision, processor_has_int8, usable_cpus
from .errors import (
    AlreadyRunningError,
    InstallationError,
    NothingToServeError,
    PortInUseError,
    ServingError,
    StartupError,
)
from .gpu import card
from .gpu.devices import devices
from .installation import BACKENDS, STUB, find_installation
from .log import reasons
from .options import GPU_PRECISIONS, ServerOptions, command

LOG_FILE = "triton.log"
VIEW = "model_repository"
POLL_S = 0.05
STOP_TIMEOUT_S = 40.0  # Triton waits 30 s for requests in flight
KILL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class RunningServer:
    """A server that answers: its process, what it was started with, what it serves.

    `stubs` is the number of its backend processes, one per model instance; `lock` keeps its run folder.
    """

    process: subprocess.Popen[bytes]
    options: ServerOptions
    models: tuple[str, ...]
    log: Path
    shm_prefix: str
    stubs: int
    lock: IO[bytes]

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask the process to end, end it if it does not, and see that nothing of it is left."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        clean_up(self.process.pid, self.shm_prefix)
        self.process.wait()
        self.lock.close()


def start(
    options: ServerOptions, *, detached: bool = False, make_way: Callable[[Path], None] = lambda _: None
) -> RunningServer:
    """Start a server and return once all its models are ready.

    Args:
        options: where and what.
        detached: the process outlives this one; otherwise it ends when this one does, however this one ends.
        make_way: called with the run folder once it is claimed, before anything in it is touched.

    Raises:
        InstallationError: a part of Triton is missing.
        NothingToServeError: no model is built.
        PortInUseError: a port is taken.
        StartupError: the server ended or was not ready in time; the message has its reasons.
        AlreadyRunningError: another process is starting a server, or keeps one, in this run folder.
    """
    check_options(options)
    installation = find_installation()
    if options.gpu:
        options = replace(options, gpu=card.card_key(options.gpu, options.repository, devices()))
    models = repository.choose(repository.find_models(options.repository, options.variant), options.models)
    parameters = gpu_parameters(models) if options.gpu else cpu_parameters(models, options.precision)
    check_ports(options)
    try:
        options.run_dir.mkdir(parents=True, exist_ok=True)
        lock = _lock(options.run_dir)
        make_way(options.run_dir)
        if not options.gpu:
            parameters = {model: told | _speed(model, told, options.run_dir) for model, told in parameters.items()}
        installation.lay_out(options.run_dir)
        repository.lay_out_view(parameters, options.run_dir / VIEW)
        log = options.run_dir / LOG_FILE
        shm_prefix = f"edsr-{os.getpid()}-{options.http_port}-"
        key = keys.new_key()
        keys.publish(key, options, shm_prefix)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(installation.binary, options, Path(VIEW), Path(BACKENDS), shm_prefix, keys.restrictions(key)),
                # Paths relative to here: Triton starts the stub by a shell command in which a blank ends a path.
                cwd=options.run_dir,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=installation.environment(options.run_dir),
                start_new_session=True,  # Ctrl-C reaches us, and we stop the server in order
                preexec_fn=None if detached else _end_with_parent(),
            )
    except OSError as error:
        reason = error.strerror or "not all files could be copied; is the disk full?"
        raise ServingError(f"Cannot prepare {options.run_dir}: {reason}. Choose another with --run-dir.") from None
    names, stubs = tuple(model.name for model in models), sum(model.instances for model in models)
    server = RunningServer(process, options, names, log, shm_prefix, stubs, lock)
    try:
        _wait_until_ready(server)
        keys.hide(process.pid, key)
    except BaseException:
        server.stop()
        raise
    return server


def stop(pid: int, shm_prefix: str) -> None:
    """Stop a detached server, and return when it and all that belongs to it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_tritonserver(pid), STOP_TIMEOUT_S)
    clean_up(pid, shm_prefix)


def clean_up(pid: int, shm_prefix: str) -> None:
    """Kill what is left of a server's process group, and remove its shared memory.

    A tritonserver that is stopped while it loads, or killed, leaves its Python stubs behind, and those ignore SIGTERM.
    """

    def nothing_left() -> bool:
        members = _group(pid)
        for member in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)
        return not members

    wait_for(nothing_left, KILL_TIMEOUT_S)  # again and again: one may just be starting, and none dies at once
    for region in Path("/dev/shm").glob(f"{shm_prefix}*"):  # noqa: S108
        region.unlink(missing_ok=True)


def is_tritonserver(pid: int) -> bool:
    """Whether a live process with this id is a tritonserver: ids are used again."""
    process = Path("/proc") / str(pid)
    try:
        ended = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
        return not ended and b"tritonserver" in (process / "cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False


def _group(leader: int) -> list[int]:
    """Triton's processes in the group of a server, which need not live any more."""
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            group = int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[2])
        except (OSError, ValueError, IndexError):  # it has just ended
            continue
        if group == leader and "triton" in _command_line(int(process.name)):
            members.append(int(process.name))
    return members


def _command_line(pid: int) -> str:
    """Of a live process; empty for one that has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_ready(options: ServerOptions) -> bool:
    """Whether the server answers, and every model it was given is loaded."""
    # No proxies: this is our own server, whatever the environment says of the way out.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{options.http_url}/v2/health/ready", timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, HTTPException):
        return False


def backends_alive(pid: int, stubs: int) -> bool:
    """Whether a server has all of its stub processes, one per model instance.

    One that dies is never started again, and Triton goes on calling itself ready.
    """
    return sum(STUB in _command_line(member) for member in _group(pid)) >= stubs


def cpu_parameters(
    models: Sequence[repository.ServableModel], precision: str
) -> dict[repository.ServableModel, dict[str, str]]:
    """What is decided at the start, for this machine's processor, as entries of each model's `parameters`.

    Raises:
        InstallationError: OpenVINO is missing.
        NothingToServeError: 8 bits were asked for, and a model has no file for them.
    """
    try:
        import openvino
    except ImportError:
        raise InstallationError("openvino is not installed in this environment. Run `make setup`.") from None
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    int8 = processor_has_int8()
    parameters = {}
    for model in models:
        quality = None
        if precision in ("auto", "int8"):
            try:
                quality = repository.int8_quality(model)
            except NothingToServeError:
                if precision == "int8":
                    raise
        parameters[model] = {
            "cpus": str(usable_cpus()),
            "inference_precision": inference_precision(precision, capabilities, int8, quality),
            "runtime": f"OpenVINO {openvino.__version__.split('-')[0]}",
        }
    return parameters


def _speed(model: repository.ServableModel, told: Mapping[str, str], run_dir: Path) -> dict[str, str]:
    """What follows from how fast this machine is with a model."""
    precision = told["inference_precision"]
    file = repository.INT8_FILE if precision == "int8" else repository.MODEL_FILE
    threads = max(1, int(told["cpus"]) // model.instances)
    found = speed.measured(model.folder / repository.VERSION / file, precision, threads, run_dir / speed.FILE)
    return speed.parameters(model.parameters, found)


def gpu_parameters(models: Sequence[repository.ServableModel]) -> dict[repository.ServableModel, dict[str, str]]:
    """The same for engines on a GPU.

    Raises:
        InstallationError, NothingToServeError: they cannot run here, or not together.
    """
    runtime = card.runtime_version()
    for warning in card.check_engines(models, devices(), runtime):
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
    repository.check_memory(models)
    return {model: {"runtime": f"TensorRT for RTX {runtime}"} for model in models}


def free_ports(count: int = 3) -> tuple[int, ...]:
    """Distinct TCP ports that are free on loopback now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)


def check_options(options: ServerOptions) -> None:
    """Raise ServingError for what no machine could do."""
    precisions = GPU_PRECISIONS if options.gpu else PRECISIONS
    if options.precision not in precisions:
        where = "on a GPU" if options.gpu else "on the CPU"
        raise ServingError(
            f"There is no precision {options.precision!r} {where}. Choose one of: {', '.join(precisions)}."
        )
    ports = options.ports.values()
    if not all(0 < port < 2**16 for port in ports) or len(set(ports)) < len(ports):
        said = ", ".join(f"{service} {port}" for service, port in options.ports.items())
        raise ServingError(f"The ports must be different and from 1 to 65535, not {said}.")
    if ":" in options.address:
        raise ServingError(
            f"Cannot bind to {options.address}: the embedded Triton takes IPv4 addresses and names only."
        )


def check_ports(options: ServerOptions) -> None:
    """Raise PortInUseError unless the server can listen on its address and ports."""
    for service, port in options.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            try:
                probe.bind((options.address, port))
            except OSError as error:
                option = f"--{service.lower()}-port"
                raise PortInUseError(
                    f"Cannot listen on {options.address}:{port} for {service} ({error.strerror}). "
                    f"Stop what uses it, or choose another port ({option}, `make serve {service.upper()}_PORT=...`) "
                    "or address."
                ) from None


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until `condition` holds; False if it did not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _wait_until_ready(server: RunningServer) -> None:
    timeout_s = server.options.ready_timeout_s
    wait_for(lambda: server.process.poll() is not None or is_ready(server.options), timeout_s)
    if server.process.poll() is None and is_ready(server.options):
        return
    text = server.log.read_text(encoding="utf-8", errors="replace")
    what = f"was not ready after {timeout_s:g} s"
    if server.process.poll() is not None:
        what = f"stopped with exit code {server.process.returncode}"
    why = reasons(text) or "its log gives no reason."
    raise StartupError(f"tritonserver {what}: {why} The whole log: {server.log.absolute()}")


def _lock(run_dir: Path) -> IO[bytes]:
    """Claim a run folder until the returned file is closed, or this process ends however it may."""
    lock = (run_dir / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise AlreadyRunningError(
            f"Another process keeps a server in {run_dir.absolute()}, or is starting one. "
            "Wait for it, or give this one its own --run-dir and ports."
        ) from None
    return lock


def _end_with_parent() -> Callable[[], None]:
    """For the child: ask the kernel to terminate it when its parent ends. Prepared before the fork."""
    pr_set_pdeathsig = 1
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
