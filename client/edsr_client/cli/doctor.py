"""`edsr doctor`."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict

from ..addresses import addresses
from ..doctor import Check, examine
from ..transports import Credentials
from .connection import options_of, urls_of

MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def run(args: argparse.Namespace) -> int:
    """Print the findings; the exit code is that of the first failure."""
    checks = asyncio.run(_collect(args))
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    failed = [check for check in checks if check.exit_code]
    warned = sum(check.status == "warn" for check in checks)
    if not args.json:
        print(f"{len(failed)} problem(s), {warned} warning(s)")
    return failed[0].exit_code if failed else 0


async def _collect(args: argparse.Namespace) -> list[Check]:
    options = options_of(args)
    credentials = Credentials.of(
        *(options[key] for key in ("token", "headers", "ca_file", "cert_file", "key_file", "verify"))
    )
    checks, url = [], ""
    async for check in examine(addresses(urls_of(args), args.protocol), credentials, args.model):
        checks.append(check)
        if args.json:
            continue
        if check.url != url:
            url = check.url
            print(url)
        print(f"  {MARKS[check.status]} {check.subject}: {check.message}", flush=True)
        if check.advice:
            print(f"       {check.advice}")
    return checks
