"""What the gateway adds: a JPEG through it and by the client itself, in turns, on running servers."""

from __future__ import annotations

import argparse
import http.client
import io
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .errors import PerfError, reported
from .machine import machine
from .publishing import add_options, target
from .sections import write_json

PHOTOGRAPH = Path("demo/photograph.png")
QUALITY = 90
WARM_UP = 5
PATH = "/v1/upscale?format=jpeg"
PACKAGES = ("edsr-gateway", "starlette", "uvicorn", "h11")


@dataclass(frozen=True)
class Pair:
    """One picture by both ways, in milliseconds."""

    client_ms: float
    gateway_ms: float
    work_ms: float
    """Of the gateway's time what it reports itself: decoding, inference, encoding."""


def add_command(commands: Any) -> None:
    """`python -m edsr_perf gateway`."""
    parser = commands.add_parser("gateway", help="JPEG to JPEG through the gateway, beside the client itself")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--url", default="localhost:8000", help="host:port of a Triton (default: %(default)s)")
    parser.add_argument("--gateway", default="localhost:8080", help="host:port of a gateway before it")
    parser.add_argument("--side", type=int, default=512, help="of the picture, LR pixels (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument(
        "--tensor", action="store_true", help="Triton's own protocol by the stock client instead of pictures"
    )
    add_options(parser)
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    if args.tensor:
        return _tensors(args)
    from edsr_client import Finishing, Upscaler

    content = jpeg(args.root / PHOTOGRAPH, args.side)
    with Upscaler(args.url, model="auto") as upscaler:
        finishing = Finishing(format="jpeg")

        def direct() -> tuple[bytes, float]:
            made, result = upscaler.upscale_bytes(content, finishing=finishing)
            return made, result.seconds

        connection = http.client.HTTPConnection(args.gateway)
        pairs = measure(direct, lambda: through(connection, content), args.pairs)
        name = upscaler.upscale_bytes(content, finishing=finishing)[1].model
        model = next(
            one for one in (upscaler.model_info(), upscaler.compressed_model_info()) if one and one.name == name
        )
    facts = {
        "model": name,
        "precision": model.inference_precision,
        "picture": [args.side, args.side],
        "jpeg_bytes": len(content),
        **summary(pairs),
        "pairs": [[pair.client_ms, pair.gateway_ms, pair.work_ms] for pair in pairs],
        "versions": {package: version(package) for package in PACKAGES},
        "machine": machine(),
    }
    path = target(args.root, f"gateway-{name}-{model.inference_precision}", facts, args.publish)
    write_json(path, facts)
    sys.stdout.write(
        f"{len(pairs)} pairs of {args.side}x{args.side}: client {facts['client_p50_ms']} ms, "
        f"gateway {facts['gateway_p50_ms']} ms, {facts['overhead']:+.1%}; wrote {path}\n"
    )
    return 0


def _tensors(args: argparse.Namespace) -> int:
    """Inference at Triton and through the gateway's /v2."""
    import numpy as np
    import tritonclient.http as triton
    from edsr_client import Upscaler

    pixels = np.random.default_rng(1).integers(0, 256, (1, args.side, args.side, 3), np.uint8)
    with Upscaler(args.url) as upscaler:
        model = upscaler.model_info()
    clients = [triton.InferenceServerClient(url, network_timeout=120) for url in (args.url, args.gateway)]

    def way(client: Any) -> Callable[[], tuple[bytes, float]]:
        def run() -> tuple[bytes, float]:
            tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
            tensor.set_data_from_numpy(pixels)
            return client.infer(model.name, [tensor]).as_numpy("upscaled").tobytes(), 0.0

        return run

    pairs = measure(way(clients[0]), way(clients[1]), args.pairs)
    facts = {
        "model": model.name,
        "precision": model.inference_precision,
        "picture": [args.side, args.side],
        **{name.replace("client", "triton"): value for name, value in summary(pairs).items() if "work" not in name},
        "pairs": [[pair.client_ms, pair.gateway_ms] for pair in pairs],
        "versions": {package: version(package) for package in (*PACKAGES, "aiohttp", "tritonclient")},
        "machine": machine(),
    }
    path = target(args.root, f"gateway-tensor-{model.name}-{model.inference_precision}", facts, args.publish)
    write_json(path, facts)
    sys.stdout.write(
        f"{len(pairs)} pairs of {args.side}x{args.side}: Triton {facts['triton_p50_ms']} ms, "
        f"gateway {facts['gateway_p50_ms']} ms, {facts['overhead']:+.1%}; wrote {path}\n"
    )
    return 0


def jpeg(photograph: Path, side: int) -> bytes:
    """A square of a photograph, in JPEG.

    Raises:
        PerfError: there is none.
    """
    from PIL import Image

    try:
        with Image.open(photograph) as image:
            file = io.BytesIO()
            image.convert("RGB").resize((side, side)).save(file, "JPEG", quality=QUALITY)
            return file.getvalue()
    except OSError as error:
        raise PerfError(f"Cannot read {photograph}: {error}. Run from the repository's root, or name it.") from None


def through(connection: http.client.HTTPConnection, content: bytes) -> tuple[bytes, float]:
    """The picture by the gateway: the result, and the seconds of work that it reports.

    Raises:
        PerfError: the gateway does not answer, or with an error.
    """
    try:
        connection.request("POST", PATH, content, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        made = answer.read()
    except OSError as error:
        raise PerfError(f"No gateway at {connection.host}:{connection.port}: {error}. Start one: make web") from None
    if answer.status != 200:
        raise PerfError(f"The gateway answered {answer.status}: {made[:300].decode('utf-8', 'replace')}")
    return made, float(answer.headers["Edsr-Seconds"])


def measure(
    direct: Callable[[], tuple[bytes, float]], gateway: Callable[[], tuple[bytes, float]], count: int
) -> list[Pair]:
    """Both ways in turns; which comes first changes.

    Raises:
        PerfError: the results differ.
    """
    pairs = []
    for number in range(WARM_UP + count):
        ways = (direct, gateway) if number % 2 else (gateway, direct)
        took = {}
        for way in ways:
            started = time.perf_counter()
            took[way] = (*way(), (time.perf_counter() - started) * 1000)
        (one, _, client_ms), (other, work_s, gateway_ms) = took[direct], took[gateway]
        if one != other:
            raise PerfError("The gateway's result differs from the client's; they must be of one version and model.")
        if number >= WARM_UP:
            pairs.append(Pair(round(client_ms, 2), round(gateway_ms, 2), round(work_s * 1000, 1)))
    return pairs


def summary(pairs: list[Pair]) -> dict[str, float]:
    """Medians, and what the gateway adds: by the medians, and by the median of the pairs' ratios."""
    client = statistics.median(pair.client_ms for pair in pairs)
    gateway = statistics.median(pair.gateway_ms for pair in pairs)
    return {
        "client_p50_ms": round(client, 1),
        "gateway_p50_ms": round(gateway, 1),
        "work_p50_ms": round(statistics.median(pair.work_ms for pair in pairs), 1),
        "overhead": round(gateway / client - 1, 4),
        "overhead_of_pairs": round(statistics.median(pair.gateway_ms / pair.client_ms for pair in pairs) - 1, 4),
    }
