"""An Upscaler from the command line's options."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..upscaler import Upscaler

URL_VARIABLE, TOKEN_VARIABLE = "EDSR_URL", "EDSR_TOKEN"


def upscaler_of(args: argparse.Namespace) -> Upscaler:
    """Not connected yet.

    Raises:
        ValueError: an option is malformed.
    """
    return Upscaler(urls_of(args), args.protocol, args.model, args.timeout, **options_of(args))


def urls_of(args: argparse.Namespace) -> str | None:
    """All that --url named, else what the environment says."""
    return ",".join(args.url) if args.url else os.environ.get(URL_VARIABLE)


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of Upscaler beside its first four."""
    return {
        "retries": args.retries,
        "token": args.token,
        "headers": dict(_header(text) for text in args.header),
        "ca_file": args.ca_file,
        "cert_file": args.cert_file,
        "key_file": args.key_file,
        "verify": not args.insecure,
        "shared_memory": args.shared_memory,
        "self_ensemble": getattr(args, "self_ensemble", False),  # commands that upscale nothing do not have it
    }


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"{text!r} is not NAME:VALUE (--header)")
    return name.strip(), value.strip()
