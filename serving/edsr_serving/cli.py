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
from typing import TextIO

from . import background, repository, web
from .arguments import Parser
from .edge import unforeseen
from .errors import AlreadyRunningError, NothingToServeError, RequestsCutOffError, ServingError, StartupError
from .keeper import Keeper
from .log import readable
from .options import LOOPBACK, ServerOptions
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
    for name, function, text in (
        ("web", _web, "serve the gateway and its page, with Triton behind it, in the foreground"),
        ("web-start", _web_start, "the same in the background"),
    ):
        serving = commands.add_parser(name, help=text)
        _add_options(serving)
        serving.add_argument("--url", action="append", default=[], help="a Triton elsewhere; then none is started here")
        serving.add_argument("--gateway-bind", default=LOOPBACK, metavar="ADDRESS", help="default: %(default)s")
        serving.add_argument("--gateway-port", type=int, default=8080, help="default: %(default)s")
        serving.add_argument("--workers", type=int, default=0, help="the gateway's processes for pictures")
        serving.set_defaults(run=function)
    stopping = commands.add_parser("web-stop", help="stop that gateway, and the Triton started with it")
    _add_places(stopping)
    stopping.add_argument("--exit-timeout", type=float, help="seconds that Triton's requests may take")
    stopping.set_defaults(run=_web_stop)
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
    parser.add_argument("--expose", choices=("yes",), help="let other machines reach Triton itself; it is not safe")
    parser.add_argument("--http-port", type=int, default=default.http_port, help="default: %(default)s")
    parser.add_argument("--grpc-port", type=int, default=default.grpc_port, help="default: %(default)s")
    parser.add_argument("--metrics-port", type=int, default=default.metrics_port, help="default: %(default)s")
    parser.add_argument("--gpu", default=default.gpu, metavar="CARD", help="serve the engines built for this card")
    words = "index or UUID of the GPUs to serve on, with commas; default: all that are that card (`make gpus`)"
    parser.add_argument("--device", default=default.device, help=words)
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


def check_exposure(options: ServerOptions, is_admitted: bool) -> None:
    """Let other machines reach Triton itself only where somebody has said that this is meant; warn then.

    Raises:
        StartupError: nobody has.
    """
    if not options.is_public:
        return
    if not is_admitted:
        raise StartupError(
            f"Other machines could reach Triton at {options.address}. The embedded release, 24.10, is older than the "
            "security fixes of 2025 and 2026 and has neither TLS nor passwords. Let others reach the gateway instead: "
            "`make web GATEWAY_BIND=0.0.0.0`; Triton stays on loopback. If you mean it all the same, on a network that "
            "you trust: EXPOSE=yes (`--expose yes`)."
        )
    print(
        f"warning: other machines can reach Triton at {options.address}, a release without the security fixes of 2025 "
        "and 2026, without TLS and without passwords.",
        file=sys.stderr,
    )


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
        device=args.device,
        precision=args.precision,
        ready_timeout_s=args.ready_timeout,
        exit_timeout_s=args.exit_timeout,
    )


def _run(args: argparse.Namespace) -> int:
    options = _options(args)
    # Every run in the foreground has files of its own: two servers in two terminals do not disturb each other.
    options = replace(options, run_dir=options.run_dir / f"foreground-{options.http_port}")
    check_exposure(options, args.expose == "yes")
    print("starting tritonserver ...", flush=True)
    follower: threading.Thread | None = None

    def tell(server: RunningServer | None, trouble: str) -> None:
        nonlocal follower
        if server is None:
            _show(f"error: {trouble}", sys.stderr)
            return
        _show(_summary(options, server.models))
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
    _silence(1, 2)


def _silence(*streams: int) -> None:
    """Let what is written there go nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(null, stream)
    os.close(null)


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
            _show("stopping ... (again: without waiting for requests)")
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


def _show(text: str, stream: TextIO | None = None) -> None:
    """Print what a server has to say, if anybody reads it: one that has no reader any more goes on."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _silence(stream.fileno())
    except OSError:  # a full disk
        return


def _follow(server: RunningServer, stopped: threading.Event) -> None:
    """Print the server's log as it grows, in its readable form."""
    with server.log.open(encoding="utf-8", errors="replace") as log:
        while not stopped.is_set():
            if not (line := log.readline()):
                time.sleep(0.1)
            elif (text := readable(line)) is not None:
                _show(text)


def _summary(options: ServerOptions, models: Sequence[str]) -> str:
    return (
        f"ready: http://{options.http_url}  gRPC {options.grpc_url}  metrics {options.host}:{options.metrics_port}\n"
        f"models: {', '.join(models)}\n"
        f"log: {options.run_dir / 'triton.log'}"
    )


def _start(args: argparse.Namespace) -> int:
    options = _options(args)
    check_exposure(options, args.expose == "yes")
    check_options(options)
    background.make_way(options.run_dir)  # says so at once; under its lock, start() asks again
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
    models = {name: text for name, (_, text) in asked.items()}
    try:
        for model in repository.find_models(args.repository):
            models.setdefault(model.name, model.problem or "built, not loaded")
    except NothingToServeError:
        if state is None:  # else it has outlived its models' folder, or has another
            raise
    trouble = state.trouble if state else background.last_trouble(args.run_dir)
    gateway = web.read(args.run_dir)
    others = [other for other in running_servers() if state is None or other.pid != state.pid]
    if args.json:
        facts = {"running": state is not None, "ready": ready, "models": models, "trouble": trouble}
        facts["gateway"] = {"pid": gateway.pid, "url": gateway.url} if gateway else None
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
    if gateway is not None:
        print(f"gateway (pid {gateway.pid}): {gateway.url}")
    for other in others:
        print(f"another server runs (pid {other.pid}), HTTP port {other.http_port}, run folder {other.run_dir}")
    return 0 if ready else 3


def _web_options(args: argparse.Namespace) -> web.WebOptions:
    options = _options(args)
    check_exposure(options, args.expose == "yes")
    urls = tuple(word for text in args.url for word in text.split())
    return web.WebOptions(options, args.gateway_bind, args.gateway_port, urls, args.workers)


def _web(args: argparse.Namespace) -> int:
    return web.run(_web_options(args), [sys.executable, "-m", "edsr_serving", "run", *_serving_words(args)])


def _web_start(args: argparse.Namespace) -> int:
    options = _web_options(args)
    if (running := web.read(args.run_dir)) is not None:
        raise AlreadyRunningError(f"The gateway runs already: {running.url}. `make web-stop` stops it.")
    web.check_port(options)
    starts_triton = not options.urls and not web.has_triton(options.server)
    if starts_triton:
        command = [sys.executable, "-m", "edsr_serving", "start", *_serving_words(args)]
        if code := subprocess.call(command):
            return code
    try:
        killed = web.remembered(args.run_dir)
        owns_triton = starts_triton or (killed is not None and killed.has_started_triton)
        state = replace(web.start(options), has_started_triton=owns_triton)
        web.remember(args.run_dir, state)
    except BaseException:
        if starts_triton:
            background.stop(args.run_dir, 0)
        raise
    print(f"open {state.url}\n`make web-stop` stops it; log: {args.run_dir / web.LOG_FILE}")
    return 0


def _web_stop(args: argparse.Namespace) -> int:
    state = web.stop(args.run_dir)
    print(f"stopped the gateway (pid {state.pid})")
    if state.has_started_triton and background.read(args.run_dir) is not None:
        return _stop(args)
    return 0


def _serving_words(args: argparse.Namespace) -> list[str]:
    """The options of `run` and `start` among those of `web`."""
    words = ["--repository", str(args.repository), "--run-dir", str(args.run_dir), "--bind", args.bind]
    words += ["--http-port", str(args.http_port), "--grpc-port", str(args.grpc_port)]
    words += ["--metrics-port", str(args.metrics_port), "--precision", args.precision]
    words += ["--exit-timeout", str(args.exit_timeout), "--ready-timeout", str(args.ready_timeout)]
    words += ["--gpu", args.gpu] if args.gpu else []
    words += ["--device", args.device] if args.device else []
    words += [word for model in args.model for word in ("--model", model)]
    return words + (["--expose", args.expose] if args.expose else [])
