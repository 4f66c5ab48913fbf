"""The command line of the server: run, start, stop, status."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import background, repository
from .arguments import Parser
from .edge import unforeseen
from .errors import RequestsCutOffError, ServingError, StartupError
from .keeper import Keeper
from .log import readable
from .options import ServerOptions
from .others import running_servers
from .server import RunningServer, check_options
from .variants import AUTO, PRECISIONS, spelled
from .watch import how_it_ended

EXAMPLES = """\
examples:
  python -m edsr_serving run                        in the foreground, Ctrl-C stops it
  python -m edsr_serving start --http-port 9000     in the background
  python -m edsr_serving status --json
  python -m edsr_serving stop
"""
PUBLIC_WARNING = (
    "warning: other machines can reach this server. The embedded Triton is release 24.10, older than the security "
    "fixes of 2025 and 2026, and has neither TLS nor passwords: keep it on loopback, or behind a proxy you trust."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit code. Errors a user can act on are one line on standard error."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        return unforeseen(error, "edsr_serving")
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="edsr_serving",
        description="Runs the embedded Triton server on a model repository, on the CPU or, with --gpu, on a GPU.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, function, text in (
        ("run", _run, "serve in the foreground"),
        ("start", _start, "serve in the background; returns when the models are ready"),
    ):
        serving = commands.add_parser(name, help=text)
        _add_options(serving)
        serving.set_defaults(run=function)
    keep = commands.add_parser("keep")  # what `start` leaves behind; not for people
    _add_options(keep)
    keep.set_defaults(run=_serve_detached)
    for name, function, text in (
        ("stop", _stop, "stop the server in the background"),
        ("status", _status, "is it running, where, and with which models (exit code 3: not running)"),
    ):
        asking = commands.add_parser(name, help=text)
        _add_places(asking)
        asking.set_defaults(run=function)
        if name == "status":
            asking.add_argument("--json", action="store_true", help="machine-readable output")
        else:
            asking.add_argument("--exit-timeout", type=float, help="seconds that its requests may take")
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    default = ServerOptions()
    parser.add_argument("--repository", type=Path, default=default.repository, help="default: %(default)s")
    parser.add_argument("--run-dir", type=Path, default=default.run_dir, help="pid, log; default: %(default)s")


def _add_options(parser: argparse.ArgumentParser) -> None:
    default = ServerOptions()
    _add_places(parser)
    parser.add_argument("--model", action="append", default=[], help="serve only this model; may be repeated")
    parser.add_argument("--bind", default=default.address, metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--http-port", type=int, default=default.http_port, help="default: %(default)s")
    parser.add_argument("--grpc-port", type=int, default=default.grpc_port, help="default: %(default)s")
    parser.add_argument("--metrics-port", type=int, default=default.metrics_port, help="default: %(default)s")
    parser.add_argument("--gpu", default=default.gpu, metavar="CARD", help="serve the engines built for this card")
    parser.add_argument(
        "--precision",
        type=spelled,
        choices=(AUTO, *PRECISIONS),
        default=default.precision,
        help="default: %(default)s",
    )
    parser.add_argument(
        "--exit-timeout",
        type=float,
        default=default.exit_timeout_s,
        help="seconds that requests may take when the server is stopped; default: %(default)s",
    )
    parser.add_argument("--ready-timeout", type=float, default=default.ready_timeout_s, help="seconds, %(default)s")


def _options(args: argparse.Namespace) -> ServerOptions:
    return ServerOptions(
        repository=args.repository,
        run_dir=args.run_dir,
        models=tuple(args.model),
        address=args.bind,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        gpu=args.gpu,
        precision=args.precision,
        ready_timeout_s=args.ready_timeout,
        exit_timeout_s=args.exit_timeout,
    )


def _run(args: argparse.Namespace) -> int:
    options = _options(args)
    # Every run in the foreground has files of its own: two servers in two terminals do not disturb each other.
    options = replace(options, run_dir=options.run_dir / f"foreground-{options.http_port}")
    if options.is_public:
        print(PUBLIC_WARNING, file=sys.stderr)
    print("starting tritonserver ...", flush=True)
    follower: threading.Thread | None = None

    def tell(server: RunningServer | None, trouble: str) -> None:
        nonlocal follower
        if server is None:
            print(f"error: {trouble}", file=sys.stderr, flush=True)
            return
        print(_summary(options, server.models), flush=True)
        if follower is None:
            follower = threading.Thread(target=_follow, args=(server, keeper.stopping), daemon=True)
            follower.start()

    keeper = _keeper(options, tell)
    _keep(keeper)
    return 0


def _serve_detached(args: argparse.Namespace) -> int:
    """What `start` leaves behind: keeps the server, and says once, on standard output, whether it started."""
    told = False

    def tell(server: RunningServer | None, _: str) -> None:
        nonlocal told
        if server is not None and not told:
            told = True
            _answer({"models": server.models})

    try:
        _keep(_keeper(_options(args), tell))
    except ServingError as error:
        if not told:
            _answer({"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    return 0


def _answer(facts: dict[str, object]) -> None:
    """Tell `start`, which may have gone; nobody else reads what this process writes."""
    with contextlib.suppress(OSError):
        print(json.dumps(facts), flush=True)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(null, stream)


def _keeper(options: ServerOptions, tell: Callable[[RunningServer | None, str], None]) -> Keeper:
    """A keeper that also writes into the run folder how its server is."""

    def remember_and_tell(server: RunningServer | None, trouble: str) -> None:
        if server is not None:
            background.remember(server)
        else:
            background.remember_trouble(options.run_dir, trouble)
        tell(server, trouble)

    def patience_s(default_s: float) -> float:
        return background.patience_s(options.run_dir, default_s)

    return Keeper(options, background.make_way, remember_and_tell, patience_s)


def _keep(keeper: Keeper) -> None:
    """Run a keeper until a signal; a second one ends it without waiting for requests."""
    run_dir = keeper.options.run_dir

    def leave(number: int, _: object) -> None:
        if not keeper.is_serving:  # an exception stops what was started
            sys.exit(128 + number)
        if keeper.stopping.is_set():
            keeper.hurrying.set()
        else:
            print("stopping ... (again: without waiting for requests)", flush=True)
        keeper.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        keeper.run()
    except RequestsCutOffError as error:
        background.forget(run_dir, error.lost)
        raise
    except ServingError as error:
        if keeper.is_serving:
            background.remember_trouble(run_dir, str(error))
        raise
    background.forget(run_dir)


def _follow(server: RunningServer, stopped: threading.Event) -> None:
    """Print the server's log as it grows, in its readable form."""
    with server.log.open(encoding="utf-8", errors="replace") as log:
        while not stopped.is_set():
            if not (line := log.readline()):
                time.sleep(0.1)
            elif (text := readable(line)) is not None:
                print(text, flush=True)


def _summary(options: ServerOptions, models: Sequence[str]) -> str:
    return (
        f"ready: http://{options.http_url}  gRPC {options.grpc_url}  metrics {options.host}:{options.metrics_port}\n"
        f"models: {', '.join(models)}\n"
        f"log: {options.run_dir / 'triton.log'}"
    )


def _start(args: argparse.Namespace) -> int:
    options = _options(args)
    check_options(options)
    background.make_way(options.run_dir)  # says so at once; under its lock, start() asks again
    if options.is_public:
        print(PUBLIC_WARNING, file=sys.stderr)
    command = [sys.executable, "-m", "edsr_serving", "keep", *sys.argv[2:]]
    keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)

    def leave(number: int, _: object) -> None:
        keeper.terminate()  # stops what it has started
        keeper.wait()
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    assert keeper.stdout is not None  # noqa: S101
    line = keeper.stdout.readline()
    try:
        answer = json.loads(line)
    except ValueError:
        raise StartupError(f"The process that was to keep the server {how_it_ended(keeper.wait())}.") from None
    if "error" in answer:
        keeper.wait()
        print(f"error: {answer['error']}", file=sys.stderr)
        return int(answer["exit_code"])
    print(_summary(options, answer["models"]))
    return 0


def _stop(args: argparse.Namespace) -> int:
    pid = background.stop(args.run_dir, args.exit_timeout)
    print(f"stopped (pid {pid}), every request was answered")
    return 0


def _status(args: argparse.Namespace) -> int:
    state = background.read(args.run_dir)
    asked = state.model_states() if state is not None else {}
    ready = bool(asked) and all(is_well for is_well, _ in asked.values())
    models = {}
    for model in repository.find_models(args.repository):
        models[model.name] = asked[model.name][1] if model.name in asked else model.problem or "built, not loaded"
    trouble = state.trouble if state else background.last_trouble(args.run_dir)
    others = [other for other in running_servers() if state is None or other.pid != state.pid]
    if args.json:
        facts = {"running": state is not None, "ready": ready, "models": models, "trouble": trouble}
        facts["others"] = [{"pid": o.pid, "run_dir": str(o.run_dir), "http_port": o.http_port} for o in others]
        print(json.dumps(facts | (state.as_dict() if state else {}), indent=2))
        return 0 if ready else 3
    if state is None:
        print("no server in the background" + (f": {trouble}" if trouble else ""))
    elif trouble:
        print(f"no server at http://{state.http_url} now: {trouble}")
    else:
        print(f"running (pid {state.pid}), http://{state.http_url}, gRPC {state.grpc_url}")
    for name, text in models.items():
        print(f"  {name}: {text}")
    for other in others:
        print(f"another server runs (pid {other.pid}), HTTP port {other.http_port}, run folder {other.run_dir}")
    return 0 if ready else 3
