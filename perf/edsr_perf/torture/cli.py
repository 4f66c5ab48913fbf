"""`python -m edsr_perf torture FOLDER`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..analyzer.session import own_server
from ..errors import ScenarioError, reported
from .compare import Tolerance
from .run import DIFFERENT, LEFT_OUT, LOST, Verdict, as_json, as_markdown, files_of, judge, upscale_all

DIFFERENCES = 20
# Repetition in the place of a network changes no average.
EXACT = Tolerance(worst=12.0, mean=3.0, detail=0.0)
RESULTS, REPORT = "results", "report"


def add_command(commands: Any) -> None:
    """Register `torture`."""
    parser = commands.add_parser("torture", help="a folder through edsr batch, against a second decoder")
    parser.add_argument("folder", type=Path, help="picture files of any kind, in folders or not")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--out", type=Path, help="of results and report; made anew (default: .cache/torture)")
    parser.add_argument("--url", help="host:port of a server (default: one is started)")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.add_argument("--precision", default="auto", help="of the server that is started (default: %(default)s)")
    parser.add_argument("--no-server", action="store_true", help="repeat pixels instead: fast, compared more closely")
    parser.add_argument("--max-pixels", type=int, default=1_000_000, help="leave out larger pictures (%(default)s)")
    parser.add_argument("--max-bytes", type=int, default=50_000_000, help="leave out larger files (%(default)s)")
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    folder, out = args.folder.resolve(), (args.out or args.root / ".cache" / "torture").resolve()
    if not folder.is_dir():
        raise ScenarioError(f"There is no folder {args.folder}. Name one: make torture DIR=folder.")
    names, large = files_of(folder, args.max_bytes)
    if not names:
        raise ScenarioError(f"There is no file of at most {args.max_bytes:,} bytes in {args.folder}.")
    shutil.rmtree(out / RESULTS, ignore_errors=True)
    _tell(f"{len(names):,} files")
    with _upscaler(args) as make_upscaler:

        async def work() -> int:
            async with make_upscaler() as upscaler:
                await upscale_all(upscaler, folder, names, out / RESULTS, args.max_pixels, _tell)
                return int((await upscaler.model_info()).scale)

        scale = asyncio.run(work())
    tolerance = EXACT if args.no_server else Tolerance()
    verdicts = [*judge(folder, names, out / RESULTS, scale, tolerance), *(Verdict(name, LEFT_OUT) for name in large)]
    return _report(verdicts, out)


def _report(verdicts: list[Verdict], out: Path) -> int:
    report = as_json(verdicts)
    (out / f"{REPORT}.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8", "backslashreplace")
    (out / f"{REPORT}.md").write_text(as_markdown(verdicts), "utf-8", "backslashreplace")
    for status, count in report["summary"].items():
        print(f"{status}: {count:,}")
    print(f"wrote {out / REPORT}.json and .md")
    return DIFFERENCES if any(verdict.status in (DIFFERENT, LOST) for verdict in verdicts) else 0


@contextlib.contextmanager
def _upscaler(args: argparse.Namespace) -> Iterator[Any]:
    from edsr_client import AsyncUpscaler, MockTransport

    if args.no_server:
        yield lambda: AsyncUpscaler(transport=MockTransport(instances=4))
    elif args.url:
        yield lambda: AsyncUpscaler(args.url, model=args.model)
    else:
        with own_server(args.root, args.model, args.precision) as endpoint:
            yield lambda: AsyncUpscaler(endpoint.http)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
