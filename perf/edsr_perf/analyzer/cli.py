"""`run`, `report` and `compare`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import reported
from . import report
from .compare import WORSE, as_text, compare
from .results import read_results
from .scenarios import read_scenario
from .session import Endpoint, own_server, run_scenario
from .tool import find_tool

SCENARIOS = Path("perf/scenarios")
RESULTS = Path("perf/results")
# In the environment that this runs in, whatever it is called (VENV= of make).
TOOL_FOLDER = Path(sys.prefix) / "perf_analyzer"
REGRESSION = 20


def add_commands(commands: Any) -> None:
    """Register the commands."""
    run = commands.add_parser("run", help="load-test a server with perf_analyzer; writes JSON and an HTML report")
    run.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    run.add_argument("--scenario", default="quick", help="a name in perf/scenarios, or a file (default: %(default)s)")
    run.add_argument("--model", default="edsr_baseline_x3", help="default: %(default)s")
    run.add_argument("--precision", default="auto", help="of the server that is started (default: %(default)s)")
    run.add_argument("--url", help="HTTP host:port of a running server; without it one is started")
    run.add_argument("--grpc-url", help="its gRPC host:port (default: the next port)")
    run.add_argument("--metrics-url", help="its metrics (default: the port after that)")
    run.add_argument("--out", type=Path, help="default: perf/results/run-SCENARIO-MODEL-PRECISION.json")
    run.add_argument("--tools", type=Path, help="folder for perf_analyzer (default: in this Python environment)")
    run.set_defaults(run=reported(_run))
    shown = commands.add_parser("report", help="the HTML report of a file of results, beside it")
    shown.add_argument("results", type=Path)
    shown.set_defaults(run=reported(_report))
    compared = commands.add_parser("compare", help="two files of results; exit code 20 if B is slower beyond the noise")
    compared.add_argument("a", type=Path, metavar="A", help="before")
    compared.add_argument("b", type=Path, metavar="B", help="after")
    compared.add_argument("--html", type=Path, help="write a page, too")
    compared.add_argument("--svg", type=Path, help="write a plot of the latencies of all requests, too")
    compared.set_defaults(run=reported(_compare))


def _run(args: argparse.Namespace) -> int:
    named = Path(args.scenario)
    scenario = read_scenario(named if named.suffix == ".toml" else args.root / SCENARIOS / f"{named}.toml")
    tool = find_tool(args.tools or TOOL_FOLDER, _tell)
    if args.url:
        data = run_scenario(scenario, tool, _endpoint(args), args.model, _tell)
    else:
        _tell(f"starting a server of {args.model}, {args.precision}")
        with own_server(args.root, args.model, args.precision) as endpoint:
            version = args.root / "model_repository" / args.model / "1"
            data = run_scenario(scenario, tool, endpoint, args.model, _tell, version)
    out = args.out or args.root / RESULTS / f"run-{scenario.name}-{data['model']}-{data['precision']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    print(f"wrote {out} and {_write_report(data, out)} ({data['seconds']:.0f} s)")
    return 0


def _endpoint(args: argparse.Namespace) -> Endpoint:
    host, _, port = args.url.rpartition(":")
    host, number = (host, int(port)) if host and port.isdigit() else (args.url, 8000)
    return Endpoint(
        f"{host}:{number}", args.grpc_url or f"{host}:{number + 1}", args.metrics_url or f"{host}:{number + 2}"
    )


def _report(args: argparse.Namespace) -> int:
    print(f"wrote {_write_report(read_results(args.results), args.results)}")
    return 0


def _write_report(data: dict[str, Any], results: Path) -> Path:
    target = results.with_suffix(".html")
    target.write_text(report.page(data), "utf-8")
    return target


def _compare(args: argparse.Namespace) -> int:
    a, b = read_results(args.a), read_results(args.b)
    changes = compare(a, b)
    if not changes:
        print("the two have no measurement in common")
        return 1
    print(as_text(changes))
    if args.html:
        args.html.write_text(report.comparison_page(a, b, changes), "utf-8")
        print(f"wrote {args.html}")
    if args.svg:
        args.svg.write_text(report.how_even(a, b), "utf-8")
        print(f"wrote {args.svg}")
    worse = sum(change.verdict == WORSE for change in changes)
    print(f"{worse} of {len(changes)} slower beyond the noise")
    return REGRESSION if worse else 0


def _tell(line: str) -> None:
    print(line, flush=True)
