"""`edsr info`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ..errors import ModelNotFoundError
from ..model_info import ModelInfo
from .connection import upscaler_of


def run(args: argparse.Namespace) -> None:
    """Print what the servers are and serve."""
    with upscaler_of(args) as upscaler:
        servers = upscaler.server_info()
        try:
            model = upscaler.model_info()
        except ModelNotFoundError:
            if args.model:
                raise
            model = None  # it serves other models than the usual ones: say which
    if args.json:
        print(json.dumps({"servers": servers, "model": asdict(model) if model else None}, indent=2))
        return
    for server in servers:
        state = "ready" if server["ready"] else "not ready"
        what = server["error"] or f"{server['name']} {server['version']} at {server['url']}, {state}"
        print_table(("server", what))
        if not server["error"]:
            print_table(("models ready", ", ".join(server["models"]) or "none"))
    if model is not None:
        _print_model(model)
    else:
        print("name one of them with --model to see more")


def print_table(*rows: tuple[str, str]) -> None:
    """Two columns."""
    for key, value in rows:
        print(f"{key:13} {value}")


def _print_model(model: ModelInfo) -> None:
    shapes = " or ".join(f"{height}x{width}" for height, width in model.max_shapes)
    limit = f"{model.max_lr_pixels:,} pixels in one request" if model.max_lr_pixels else "not stated"
    tile = "{}x{}".format(*model.tile) if model.tile else "as large as the limit allows"
    runtime = f" ({model.runtime})" if model.runtime else ""
    exact = "not stated" if model.halo_px is None else f"{model.halo_px} is exact"
    print_table(
        ("model", f"{model.name}, x{model.scale}{f', for {model.inputs} pictures' if model.inputs else ''}"),
        ("weights", f"{model.source}, sha256 {model.source_sha256}"),
        ("precision", f"{model.inference_precision}, from a {model.precision} model file"),
        ("backend", f"{model.backend}{runtime}, {model.instances} instance(s)"),
        ("limit", limit + (f", within {shapes}" if shapes else "")),
        ("tile", f"{tile}, halo {model.best_halo_px} ({exact})"),
    )
