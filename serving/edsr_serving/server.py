"""Starts a tritonserver process, waits until it answers, says why if it does not, and stops it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import IO

from . import keys, repository, speed
from .answers import check_shared_memory
from .clients import HTTP_PORT, SERVED_MODELS
from .cpu import PRECISIONS, inference_precision, processor_has_int8, usable_cpus
from .errors import (
    AlreadyRunningError,
    InstallationError,
    NothingToServeError,
    PortInUseError,
    ServingError,
    StartupError,
)
from .gpu import card, selection
from .gpu.devices import Device
from .guard import Guard, drain
from .heartbeat import VARIABLE
from .installation import BACKENDS, Installation, find_installation
from .leftovers import remove_leftovers
from .loading import Loading
from .log import reasons, rotate
from .options import GPU_PRECISIONS, ServerOptions, command
from .processes import backends_of, clean_up, is_tritonserver, wait_for
from .watch import fetch, how_it_ended

LOG_FILE = "triton.log"
VIEW, BEATS = "model_repository", "heartbeats"
STOP_TIMEOUT_S = 80.0


@dataclass(frozen=True)
class RunningServer:
    """A server that answers: its process, what it was started with, what it serves.

    `stubs` is the number of its backend processes, one per model instance and GPU; `lock` keeps its run folder, and
    `key_file` its shared memory. A thread
    watches over it: when a process of it dies, stops, or hangs, all of it is ended at once, so that nobody waits for an
    answer that never comes, and `guard` says why.
    """

    process: subprocess.Popen[bytes]
    options: ServerOptions
    models: tuple[str, ...]
    log: Path
    shm_prefix: str
    stubs: int
    lock: IO[bytes]
    guard: Guard
    key_file: IO[str] | None = None

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, timeout_s: float | None = None, hurry: Event | None = None) -> int:
        """Let the requests in work be answered, end the process, and see that nothing of it is left.

        Returns how many requests were cut off because they took longer than `timeout_s` (None: the options'
        `exit_timeout_s`), or because `hurry` was set.
        """
        self.guard.close()
        given_s = self.options.exit_timeout_s if timeout_s is None else timeout_s
        lost = drain(self.process, self.options, self.options.run_dir / BEATS, given_s, hurry or Event())
        self.end()
        return lost

    def end(self) -> None:
        """End the process and all that belongs to it at once."""
        self.guard.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        clean_up(self.process.pid, self.shm_prefix)
        self.process.wait()
        if self.key_file is not None:
            self.key_file.close()
        self.lock.close()


def start(
    options: ServerOptions,
    *,
    detached: bool = False,
    make_way: Callable[[Path], None] = lambda _: None,
    again: bool = False,
    stopping: Event | None = None,
) -> RunningServer:
    """Start a server and return once all its models are ready.

    Args:
        options: where and what.
        detached: the process outlives this one; otherwise it ends when this one does, however this one ends.
        make_way: called with the run folder once it is claimed, before anything in it is touched.
        again: in place of one that has just ended: its log goes on, and its speed is known.
        stopping: once it is set, nobody wants the server any more, and the start is given up.

    Raises:
        InstallationError: a part of Triton is missing.
        NothingToServeError: no model is built.
        PortInUseError: a port is taken.
        StartupError: the server ended or was not ready in time; the message has its reasons.
        AlreadyRunningError: another process is starting a server, or keeps one, in this run folder.
    """
    check_options(options)
    installation = find_installation()
    cards = selection.here(options.device) if options.gpu else ()
    if options.gpu:
        options = replace(options, gpu=card.card_key(options.gpu, options.repository, cards))
    models = _models(options)
    if options.gpu:
        cards = _serving_cards(models, cards, named=bool(options.device))
        parameters = gpu_parameters(models, cards)
    else:
        parameters = cpu_parameters(models, options.precision)
    check_ports(options)
    try:
        options.run_dir.mkdir(parents=True, exist_ok=True)
        lock = _lock(options.run_dir)
        make_way(options.run_dir)
        remove_leftovers()
        if not options.gpu:
            parameters = {
                model: told | _speed(model, told, options.run_dir, again) for model, told in parameters.items()
            }
        log = options.run_dir / LOG_FILE
        log_bytes = log.stat().st_size if again and log.exists() else 0
        key = keys.new_key()
        server = _launch(installation, options, models, parameters, cards, lock, key, detached=detached, again=again)
    except OSError as error:
        reason = error.strerror or "not all files could be copied; is the disk full?"
        raise ServingError(f"Cannot prepare {options.run_dir}: {reason}. Choose another with --run-dir.") from None
    try:
        _wait_until_ready(server, log_bytes, stopping or Event())
        keys.hide(server.process.pid, key)
    except BaseException:
        server.end()
        raise
    server.guard.begin()
    return server


def _launch(
    installation: Installation,
    options: ServerOptions,
    models: Sequence[repository.ServableModel],
    parameters: Mapping[repository.ServableModel, Mapping[str, str]],
    cards: Sequence[Device],
    lock: IO[bytes],
    key: str,
    *,
    detached: bool,
    again: bool,
) -> RunningServer:
    """Lay out the run folder, and start the process in it."""
    installation.lay_out(options.run_dir)
    repository.lay_out_view(parameters, options.run_dir / VIEW)
    beats = options.run_dir / BEATS
    shutil.rmtree(beats, ignore_errors=True)
    beats.mkdir()
    log = options.run_dir / LOG_FILE
    if not again:
        rotate(log)
    shm_prefix = f"edsr-{os.getpid()}-{options.http_port}-"
    key_file = keys.publish(key, options, shm_prefix)
    turns = {model.resource: model.instances for model in models if model.is_queued}
    ours = {VARIABLE: str(beats.absolute()), HTTP_PORT: str(options.http_port), SERVED_MODELS: str(len(models))}
    line = command(installation.binary, options, Path(VIEW), Path(BACKENDS), shm_prefix, turns, keys.restrictions(key))
    with log.open("ab") as output:
        process = subprocess.Popen(
            line,
            # Paths relative to here: Triton starts the stub by a shell command in which a blank ends a path.
            cwd=options.run_dir,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=installation.environment(options.run_dir) | ours | selection.only(cards),
            start_new_session=True,  # Ctrl-C reaches us, and we stop the server in order
            preexec_fn=None if detached else end_with_parent(),
        )
    stubs = sum(model.processes for model in models) * max(1, len(cards))  # Triton's instances are per GPU
    queues = {model.name: model.queue_size for model in models if model.queue_size}
    guard = Guard(process, beats, options, log, shm_prefix, queues)
    return RunningServer(
        process, options, tuple(model.name for model in models), log, shm_prefix, stubs, lock, guard, key_file
    )


def stop(pid: int, shm_prefix: str) -> None:
    """Stop a detached server, and return when it and all that belongs to it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_tritonserver(pid), STOP_TIMEOUT_S)
    clean_up(pid, shm_prefix)


def is_ready(options: ServerOptions) -> bool:
    """Whether the server answers, and every model it was given is loaded."""
    return fetch(f"http://{options.http_url}/v2/health/ready", timeout_s=5) is not None


def backends_alive(pid: int, stubs: int) -> bool:
    """Whether a server has all of its stub processes, one per model instance.

    One that dies is never started again, and Triton goes on calling itself ready.
    """
    return is_tritonserver(pid) and len(backends_of(pid)) >= stubs


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
    smaller, warning = check_shared_memory(models)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
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
            "concurrency": str(model.instances),
            "inference_precision": inference_precision(precision, capabilities, int8, quality),
            "runtime": f"OpenVINO {openvino.__version__.split('-')[0]}",
            **({"max_lr_pixels": str(smaller[model])} if model in smaller else {}),
        }
    return parameters


def _speed(model: repository.ServableModel, told: Mapping[str, str], run_dir: Path, again: bool) -> dict[str, str]:
    """What follows from how fast this machine is with a model."""
    precision = told["inference_precision"]
    file = repository.INT8_FILE if precision == "int8" else repository.MODEL_FILE
    threads = max(1, int(told["cpus"]) // model.instances)
    found = speed.measured(model.folder / repository.VERSION / file, precision, threads, run_dir / speed.FILE, again)
    return speed.parameters(model.parameters, found)


def _models(options: ServerOptions) -> list[repository.ServableModel]:
    """The models to serve."""
    models = repository.choose(repository.find_models(options.repository, options.variant), options.models)
    if not options.gpu or options.models:
        return models
    chosen = repository.without_second_models(models)
    if left_out := ", ".join(model.name for model in models if model not in chosen):
        words = f"{left_out} is left out: the card cannot hold all models together. MODEL={left_out} serves it alone."
        print(f"warning: {words}", file=sys.stderr)  # noqa: T201
    return chosen


def _serving_cards(
    models: Sequence[repository.ServableModel], cards: Sequence[Device], *, named: bool
) -> tuple[Device, ...]:
    """The GPUs that Triton may see."""
    chosen, warnings = card.serving_cards(models, cards, named=named)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
    return chosen


def gpu_parameters(
    models: Sequence[repository.ServableModel], cards: Sequence[Device]
) -> dict[repository.ServableModel, dict[str, str]]:
    """The same for engines on GPUs: every one has all models.

    Raises:
        InstallationError, NothingToServeError: they cannot run here, or not together.
    """
    runtime = card.runtime_version()
    for warning in card.check_engines(models, cards, runtime):
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


def _wait_until_ready(server: RunningServer, log_bytes: int, stopping: Event) -> None:
    """Raise StartupError if that does not come; its reasons are in the log after so many bytes."""
    timeout_s = server.options.ready_timeout_s

    loading, trouble = Loading(server.process.pid, server.stubs), ""

    def is_decided() -> bool:
        nonlocal trouble
        if stopping.is_set() or server.process.poll() is not None or is_ready(server.options):
            return True
        trouble = loading.trouble()
        return bool(trouble)

    wait_for(is_decided, timeout_s)
    if stopping.is_set():
        raise StartupError("It was stopped while it started.")
    if server.process.poll() is None and is_ready(server.options):
        return
    text = server.log.read_bytes()[log_bytes:].decode("utf-8", "replace")
    what = f"will not be ready, {trouble}" if trouble else f"was not ready after {timeout_s:g} s"
    if server.process.poll() is not None:
        what = how_it_ended(server.process.returncode)
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


def end_with_parent() -> Callable[[], None]:
    """For the child: ask the kernel to kill it when its parent ends. Prepared before the fork.

    Not to terminate it: one that is stopped would not hear that, and one with a stopped backend would wait for it.
    """
    pr_set_pdeathsig = 1
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
