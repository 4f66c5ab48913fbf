"""`edsr batch`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..async_upscaler import AsyncUpscaler
from ..batch import MANIFEST, BatchOptions, Estimate, Outcome, Summary, estimate, run_batch
from ..batch.sources import Job, find, read_list
from ..files import Finishing
from ..texts import visible
from .connection import options_of, urls_of
from .progress import BatchProgress, duration

SOME_FAILED = 10
FAILURES_NAMED = 5


def run(args: argparse.Namespace) -> int:
    """Upscale folders into a folder."""
    *named, out = args.paths
    if not named and not args.from_file:
        raise ValueError(f"Name the folder of the results, too: edsr batch {out} OUT.")
    listed = read_list(args.from_file) if args.from_file else ()
    options = BatchOptions(
        finishing=Finishing(args.format, args.quality, args.scale, args.max_side, args.strip_metadata, args.png_effort),
        recursive=args.recursive,
        follow_links=args.follow_links,
        overwrite=args.overwrite,
        own_results=args.own_results,
        jobs=args.jobs,
        tile=args.tile,
        halo=args.halo,
        border=args.border,
        max_pixels=args.max_pixels,
        frame=args.frame,
        patience_s=args.patience,
    )
    if args.dry_run:
        found = asyncio.run(_estimate(args, named, Path(out), options, listed))
        if not found.to_make + found.unreadable + found.left_alone and not args.json:
            print(f"note: {_nothing_found(options)}", file=sys.stderr)
        return _tell_estimate(found, args.json)
    return _run(args, named, Path(out), options, listed)


def _run(
    args: argparse.Namespace, named: Sequence[str], out: Path, options: BatchOptions, listed: Sequence[str]
) -> int:
    summary = Summary()
    failures: Counter[str] = Counter()
    looked_for = options.sources(named, listed, out)
    with BatchProgress(lambda: sum(isinstance(one, Job) for one in find(looked_for)), summary, args.quiet) as progress:

        def tell(outcome: Outcome) -> None:
            if outcome.error:
                failures[outcome.error] += 1
            if args.json:
                print(json.dumps(outcome.line), flush=True)
            elif outcome.error and failures.total() <= FAILURES_NAMED:
                progress.say(f"failed: {outcome.error}")
            elif args.verbose:
                progress.say(f"{outcome.source} -> {outcome.output}")
            progress.update()

        async def work() -> None:
            async with _upscaler(args) as upscaler:
                note = lambda words: progress.say(f"note: {words}")  # noqa: E731
                await run_batch(upscaler, named, out, options, listed=listed, tell=tell, note=note, summary=summary)

        try:
            asyncio.run(work())
        except BaseException:
            progress.close()
            if summary.seen:
                print(f"{_in_words(summary)}. The same command goes on from here.", file=sys.stderr)
            raise
    if args.json:
        print(json.dumps({"status": "summary", **asdict(summary)}))
    elif not args.quiet:
        print(_in_words(summary))
    if not summary.seen and not args.json:
        print(f"note: {_nothing_found(options)}", file=sys.stderr)
    if summary.own_results and not args.json:
        words = "results of pictures beside them, by their names, were passed over; --own-results takes them, too"
        print(f"note: {summary.own_results:,} {words}", file=sys.stderr)
    if summary.other_settings and not args.json:
        words = "were made with other options or another model; --overwrite makes them anew"
        print(f"note: {summary.other_settings:,} of those that are there {words}", file=sys.stderr)
    if summary.failed > FAILURES_NAMED and not args.json:
        print(f"note: all {summary.failed:,} failures are in {visible(str(out / MANIFEST))}", file=sys.stderr)
    return SOME_FAILED if summary.failed else 0


async def _estimate(
    args: argparse.Namespace, named: Sequence[str], out: Path, options: BatchOptions, listed: Sequence[str]
) -> Estimate:
    async with _upscaler(args) as upscaler:
        note = lambda words: print(f"note: {visible(words)}", file=sys.stderr)  # noqa: E731
        return await estimate(upscaler, named, out, options, listed=listed, note=note)


def _nothing_found(options: BatchOptions) -> str:
    deeper = "" if options.recursive else "; folders in folders are looked into with --recursive"
    return f"there is no picture to be found there, going by the names' extensions{deeper}"


def _upscaler(args: argparse.Namespace) -> AsyncUpscaler:
    return AsyncUpscaler(urls_of(args), args.protocol, args.model, args.timeout, **options_of(args))


def _tell_estimate(found: Estimate, as_json: bool) -> int:
    if as_json:
        print(json.dumps(asdict(found)))
        return 0
    unreadable = f", of which {found.unreadable:,} cannot be read" if found.unreadable else ""
    print(f"to make: {found.to_make:,} pictures, {found.megapixels:,.1f} megapixels{unreadable}")
    print(f"left alone: {found.left_alone:,} results that are there (--overwrite makes them anew)")
    if found.seconds is not None:
        print(f"time: about {duration(found.seconds)}")
    return 0


def _in_words(summary: Summary) -> str:
    parts = [f"{summary.made:,} made"]
    if summary.changed:
        parts[0] += f" ({summary.changed:,} anew, their pictures have changed)"
    if summary.done_before:
        parts.append(f"{summary.done_before:,} done before")
    if summary.there_already:
        parts.append(f"{summary.there_already:,} there already")
    if summary.failed:
        parts.append(f"{summary.failed:,} failed")
    rate = ""
    if summary.made and summary.seconds:
        rate = f", {summary.made / summary.seconds:.2f} pictures/s, {summary.megapixels / summary.seconds:.2f} MP/s"
    return f"{', '.join(parts)}; {duration(summary.seconds)}{rate}"
