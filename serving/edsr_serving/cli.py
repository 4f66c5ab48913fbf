"""The command line of the server: run, start, stop, status."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import background, repository
from .arguments import Parser
from .edge import unforeseen
from .errors import ServingError, StartupError
from .log import readable
from .options import ServerOptions
from .others import running_servers
from .server import RunningServer, backends_alive, start, wait_for
from .variants import AUTO, PRECISIONS, spelled

EXAMPLES = """\
examples:
  python -m edsr_serving run                        in the foreground, Ctrl-C stops it
  python -m edsr_serving start --http-port 9000     in the background
  python -m edsr_serving status --json
  python -m edsr_serving stop
"""
CHECK_S = 0.5
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
    for name, function, text in (
        ("stop", _stop, "stop the server in the background"),
        ("status", _status, "is it running, where, and with which models (exit code 3: not running)"),
    ):
        asking = commands.add_parser(name, help=text)
        _add_places(asking)
        asking.set_defaults(run=function)
        if name == "status":
            asking.add_argument("--json", action="store_true", help="machine-readable output")
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
    )


def _run(args: argparse.Namespace) -> int:
    options = _options(args)
    # Every run in the foreground has files of its own: two servers in two terminals do not disturb each other.
    options = replace(options, run_dir=options.run_dir / f"foreground-{options.http_port}")
    if options.is_public:
        print(PUBLIC_WARNING, file=sys.stderr)
    _leave_on_signals()
    print("starting tritonserver ...", flush=True)
    with start(options) as server:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: stopped.set())
        print(_summary(options, server.models), flush=True)
        follower = threading.Thread(target=_follow, args=(server, stopped), daemon=True)
        follower.start()
        while not stopped.wait(CHECK_S) and backends_alive(server.process.pid, server.stubs):
            pass
        if not stopped.is_set():
            stopped.set()
            raise StartupError(f"tritonserver or a backend of it ended by itself. Its log: {server.log.absolute()}")
        print("stopping ...", flush=True)
    return 0


def _leave_on_signals() -> None:
    """While the server starts, a signal is an exception, so that what was started is stopped."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)


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
    _leave_on_signals()
    background.make_way(options.run_dir)  # says so at once; under its lock, start() asks again
    if options.is_public:
        print(PUBLIC_WARNING, file=sys.stderr)
    server = start(options, detached=True, make_way=background.make_way)
    background.remember(server)
    print(_summary(options, server.models))
    return 0


def _stop(args: argparse.Namespace) -> int:
    pid = background.stop(args.run_dir)
    print(f"stopped (pid {pid})")
    return 0


def _status(args: argparse.Namespace) -> int:
    state = background.read(args.run_dir)
    ready = state is not None and wait_for(state.is_ready, 1.0)
    models = {}
    for model in repository.find_models(args.repository):
        loaded = state is not None and model.name in state.models
        models[model.name] = ("ready" if ready else "loading") if loaded else model.problem or "built, not loaded"
    others = [other for other in running_servers() if state is None or other.pid != state.pid]
    if args.json:
        facts = {"running": state is not None, "ready": ready, "models": models}
        facts["others"] = [{"pid": o.pid, "run_dir": str(o.run_dir), "http_port": o.http_port} for o in others]
        print(json.dumps(facts | (state.as_dict() if state else {}), indent=2))
    else:
        print(
            f"running (pid {state.pid}), http://{state.http_url}, gRPC {state.grpc_url}"
            if state
            else "no server in the background"
        )
        for name, text in models.items():
            print(f"  {name}: {text}")
        for other in others:
            print(f"another server runs (pid {other.pid}), HTTP port {other.http_port}, run folder {other.run_dir}")
    return 0 if ready else 3
