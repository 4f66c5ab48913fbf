"""The command edsr-gateway: options, each of which an environment variable may give as well."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .limits.limits import Limits
from .settings import Settings

PREFIX = "EDSR_GATEWAY_"
EXAMPLES = """\
examples:
  edsr-gateway                                       in front of the Triton on this machine
  edsr-gateway --url http://gpu1:8000 --url http://gpu2:8000 --address 0.0.0.0
  edsr-gateway --limit pixels=100000000 --limit in_flight=64
  edsr-gateway key alice --keys keys.txt             makes an API key, and shows it once

The token of a Triton that asks for one is read from $EDSR_TOKEN. Every option has a variable: --job-workers is
$EDSR_GATEWAY_JOB_WORKERS; of options that may be repeated, the variable has several with commas between.
"""


@dataclass(frozen=True)
class _Option:
    """An option of the command line, and the field of Settings that it sets."""

    field: str
    flag: str
    help: str
    read: Callable[[str], Any] = str
    is_repeated: bool = False
    metavar: str | None = None

    @property
    def variable(self) -> str:
        return PREFIX + self.flag.removeprefix("--").replace("-", "_").upper()


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number") from None


OPTIONS = (
    _Option("urls", "--url", "a Triton's HTTP port; may be repeated", is_repeated=True, metavar="URL"),
    _Option("address", "--address", "where to listen; 0.0.0.0 lets other machines in"),
    _Option("port", "--port", "where to listen", _whole),
    _Option("model", "--model", "for requests that name none"),
    _Option("workers", "--workers", "processes for requests that wait for their answer", _whole, metavar="N"),
    _Option("job_workers", "--job-workers", "processes for jobs", _whole, metavar="N"),
    _Option("folder", "--folder", "where uploads, results and jobs lie", Path),
    _Option("keys", "--keys", "a file of API keys; without it everybody may come in", Path, metavar="FILE"),
    _Option(
        "origins",
        "--origin",
        "a web page's origin that may call this (CORS); may be repeated",
        is_repeated=True,
        metavar="ORIGIN",
    ),
    _Option(
        "forwarded_from",
        "--forwarded-from",
        "address or network of a proxy whose X-Forwarded-For is believed; may be repeated",
        is_repeated=True,
        metavar="ADDRESS",
    ),
    _Option("redis", "--redis", "redis://host:6379/0, the queue that several gateways share", metavar="URL"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code. What a user can act on is one line on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["key"]:
            return _key(words[1:])
        settings = settings_of(words, os.environ)
    except ValueError as error:
        return _failed(str(error), 2)
    return _serve(settings)


def _failed(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="edsr-gateway",
        description="Speaks pictures over HTTP in front of Triton: a page, /enhance, /v1, and a checked /v2.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in OPTIONS:
        value = getattr(default, option.field)
        shown = ", ".join(value) if isinstance(value, tuple) else value
        text = option.help + (f"; default: {shown}" if shown not in (None, "") else "")
        parser.add_argument(
            option.flag,
            dest=option.field,
            metavar=option.metavar,
            help=text,
            action="append" if option.is_repeated else "store",
        )
    bounds = ", ".join(f"{one.name}={getattr(default.limits, one.name)}" for one in fields(Limits))
    parser.add_argument(
        "--limit",
        action="append",
        metavar="NAME=VALUE",
        help=f"a bound; may be repeated. Bytes, pixels and seconds in plain numbers. The names and defaults: {bounds}",
    )
    return parser


def settings_of(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The options of a command line and, where it is silent, of the environment. Raises ValueError."""
    args = _parser().parse_args(argv)
    _check_variables(environment)
    found: dict[str, Any] = {}
    for option in OPTIONS:
        value, source = getattr(args, option.field), option.flag
        if value is None and environment.get(option.variable):
            text, source = environment[option.variable], f"${option.variable}"
            value = [one.strip() for one in text.split(",") if one.strip()] if option.is_repeated else text
        if value is None:
            continue
        try:
            found[option.field] = tuple(option.read(one) for one in value) if option.is_repeated else option.read(value)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
    text = environment.get(f"{PREFIX}LIMIT", "")
    pairs = args.limit if args.limit is not None else [one for one in text.split(",") if one.strip()]
    return Settings(**found, token=environment.get("EDSR_TOKEN") or None, limits=limits_of(pairs))


def _check_variables(environment: Mapping[str, str]) -> None:
    """Raise ValueError for a variable that would be ignored: a misspelt limit is none."""
    known = {option.variable for option in OPTIONS} | {f"{PREFIX}LIMIT"}
    for name in sorted(set(environment) - known):
        if name.startswith(PREFIX):
            raise ValueError(f"there is no option for ${name}. There are: {', '.join(sorted(known))}")


def limits_of(pairs: Sequence[str]) -> Limits:
    """Limits of words as "pixels=100000000".

    Raises:
        ValueError: one is unknown, comes twice or has a value that makes no sense.
    """
    known = {one.name: one.type for one in fields(Limits)}
    found: dict[str, float] = {}
    for pair in pairs:
        name, sign, value = (part.strip() for part in pair.partition("="))
        if name not in known or not sign:
            raise ValueError(f"--limit {pair!r}: there is no such limit; there are {', '.join(known)}")
        if name in found:
            raise ValueError(f"--limit {name} comes twice")
        try:
            number = float(value)
            found[name] = int(number) if known[name] == "int" else number
        except (ValueError, OverflowError):
            raise ValueError(f"--limit {pair!r}: {value!r} is no number") from None
    return Limits(**found)  # type: ignore[arg-type]


def _key(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="edsr-gateway key", description="Make an API key, and show its token once; the file keeps its hash."
    )
    parser.add_argument("name", help="whose it is: small letters, digits, . _ -")
    file = os.environ.get(f"{PREFIX}KEYS")
    parser.add_argument("--keys", type=Path, default=file, required=not file, metavar="FILE", help="the file of keys")
    parser.add_argument("--remove", action="store_true", help="shut its owner out instead")
    args = parser.parse_args(argv)
    from .limits import keys

    try:
        if args.remove:
            keys.remove(args.name, args.keys)
        else:
            print(keys.create(args.name, args.keys))
    except OSError as error:
        return _failed(f"{args.keys}: {error.strerror or error}.", 1)
    return 0


def _serve(settings: Settings) -> int:
    from .jobs.store import StoreBrokenError
    from .jobs.stores import check
    from .listening import ListenError, addresses
    from .serving import serve

    def ready(port: int) -> None:
        first, *others = addresses(settings.address, port)
        also = f" (from other machines: {', '.join(others)})" if others else ""
        print(f"open {first}{also}", flush=True)

    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
        check(settings)
        return serve(settings, ready)
    except (StoreBrokenError, ListenError) as error:
        return _failed(str(error), 1)
    except ValueError as error:  # the file of the keys
        return _failed(str(error), 2)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _failed(f"{error.strerror or error}{where}.", 1)
