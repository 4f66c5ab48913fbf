"""What PNG's efforts cost in bytes and time: the encoder alone, single pictures, and a folder beside bare requests."""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .analyzer.runner import run_window
from .analyzer.scenarios import Load
from .analyzer.session import own_server
from .analyzer.tool import find_tool
from .errors import reported
from .folder import IN_FLIGHT, bare_rate, batch, tell
from .gateway import PHOTOGRAPH
from .machine import machine
from .publishing import add_options, target, where
from .sections import write_json

# Sides of the folder's pictures, and how many of each: 9.1 megapixels, so that the start of a run counts little.
SIDES = {128: 32, 256: 32, 384: 16, 512: 16}
SINGLE_SIDE, SINGLES, ENCODINGS = 512, 8, 3
# What PNG files were written by before there were efforts.
BEFORE = "Pillow, level 4"


def add_command(commands: Any) -> None:
    """`python -m edsr_perf png-effort`."""
    parser = commands.add_parser("png-effort", help="bytes and time of PNG's efforts, alone and in a folder")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.add_argument("--precision", default="auto", help="of the server (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    add_options(parser)
    parser.set_defaults(run=reported(_run))


def _run(args: argparse.Namespace) -> int:
    from edsr_client import Upscaler
    from edsr_client.pictures.png_effort import DEFAULT_EFFORT, EFFORTS

    tool = find_tool(args.root / ".venv" / "perf_analyzer", tell)
    photograph = args.root / PHOTOGRAPH
    with own_server(args.root, args.model, args.precision) as endpoint, tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        _make(folder, photograph)
        with Upscaler(endpoint.http) as upscaler:
            model = upscaler.model_info()
            encoder = {
                kind: _encodings(upscaler.upscale(small))
                for kind, small in {"photograph": _pixels(photograph), "page of text": _page()}.items()
            }
            single = _singles(upscaler, tuple(EFFORTS), _pixels(photograph, SINGLE_SIDE))
        shares: dict[str, list[float]] = {effort: [] for effort in (*EFFORTS, "jpeg")}
        sizes: dict[str, int] = {}
        for number in range(args.rounds):
            bare_s = sum(
                count / _bare(tool, endpoint.http, model.name, model.scale, side) for side, count in SIDES.items()
            )
            for effort in shares:
                out = Path(name) / f"{effort}-{number}"
                how = {"format": "jpeg"} if effort == "jpeg" else {"format": "png", "png_effort": effort}
                seconds = batch(endpoint.http, folder, out, **how)
                shares[effort].append(bare_s / seconds)
                sizes[effort] = sum(path.stat().st_size for path in out.glob("*.*g"))
                tell(f"[{number + 1}/{args.rounds}] {effort}: {bare_s / seconds:.1%} of the server's own rate")
    result = {
        "model": model.name,
        "precision": model.inference_precision,
        "default": DEFAULT_EFFORT,
        "encoder": encoder,
        "single": single,
        "folder": {
            "pictures": {str(side): count for side, count in SIDES.items()},
            "rounds": args.rounds,
            "share": {effort: round(statistics.median(found), 3) for effort, found in shares.items()},
            "megabytes": {effort: round(size / 1e6, 2) for effort, size in sizes.items()},
        },
        "machine": machine(),
    }
    path = target(args.root, f"png-effort-{model.name}", result, args.publish)
    write_json(path, result)
    tell(where(path, args.publish))
    return 0


def _bare(tool: Any, url: str, model: str, scale: int, side: int) -> float:
    """Requests a second."""
    requests = 2 * SIDES[side]
    load = Load("png-effort", side, side, concurrency=IN_FLIGHT, requests=requests)
    return bare_rate(run_window(tool, load, model, url, scale).throughput, requests)


def _encodings(image: NDArray[np.uint8]) -> dict[str, Any]:
    """Milliseconds and megabytes of every effort for one result."""
    from edsr_client import FORMATS, Picture
    from edsr_client.pictures.encode import encode
    from edsr_client.pictures.png_effort import EFFORTS
    from PIL import Image

    def before() -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=4)
        return file.getvalue()

    ways: dict[str, Callable[[], bytes]] = {BEFORE: before}
    for effort in EFFORTS:
        ways[effort] = lambda effort=effort: encode(Picture([image]), FORMATS["png"], png_effort=effort)[0]  # type: ignore[misc]
    found: dict[str, Any] = {"size": [image.shape[1], image.shape[0]]}
    for name, way in ways.items():
        took, content = _timed(way, ENCODINGS)
        found[name] = {"ms": round(took * 1000, 1), "megabytes": round(len(content) / 1e6, 3)}
        tell(f"{image.shape[1]}x{image.shape[0]} {name}: {found[name]}")
    return found


def _singles(upscaler: Any, efforts: Sequence[str], image: NDArray[np.uint8]) -> dict[str, Any]:
    """One picture at a time, file to file in memory, beside the bare array; medians in milliseconds."""
    from edsr_client import Finishing
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)

    def whole(effort: str) -> Callable[[], Any]:
        return lambda: upscaler.upscale_bytes(file.getvalue(), finishing=Finishing(format="png", png_effort=effort))

    ways = {"array": lambda: upscaler.upscale(image), **{effort: whole(effort) for effort in efforts}}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(SINGLES):
        for name, way in ways.items():
            times[name].append(_timed(way, 1)[0] * 1000)
    told = {name: round(statistics.median(found), 1) for name, found in times.items()}
    tell(f"single {image.shape[1]}x{image.shape[0]}, ms: {told}")
    return {"picture": [image.shape[1], image.shape[0]], "ms": told}


def _timed(work: Callable[[], Any], count: int) -> tuple[float, Any]:
    """Seconds of the fastest, and what it gave."""
    took = []
    for _ in range(count):
        started = time.perf_counter()
        made = work()
        took.append(time.perf_counter() - started)
    return min(took), made


def _pixels(photograph: Path, side: int | None = None) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(photograph) as image:
        whole = image.convert("RGB")
        return np.asarray(whole if side is None else whole.resize((side, side), Image.Resampling.BICUBIC))


def _page() -> NDArray[np.uint8]:
    """A page of text under a coloured bar."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (700, 500), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, 700, 40), fill=(40, 60, 120))
    words = (__doc__ or "").replace("\n", " ") * 3
    for line in range(33):
        pen.text((12, 50 + line * 13), words[line * 7 : line * 7 + 105], fill=(20, 20, 20))
    return np.asarray(image)


def _make(folder: Path, photograph: Path) -> None:
    """Parts of the photograph."""
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    with Image.open(photograph) as opened:
        whole = opened.convert("RGB").resize((1024, 808), Image.Resampling.BICUBIC)
    for side, count in SIDES.items():
        for index in range(count):
            left, top = (int(random.integers(0, room - side)) for room in whole.size)
            whole.crop((left, top, left + side, top + side)).save(folder / f"{side}-{index}.png")
