"""What the network is shown beyond a picture, zeros or its mirror image: how good the rim becomes, and flat colours.

Pictures are upscaled whole in every precision of the CPU, by the client's own code over the served graph.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from edsr_client import MockTransport, Upscaler
from edsr_client.border import BORDERS, DEFAULT_BORDER, FLAT_PX, MARGIN_PX, SMALL_SIDE_PX
from numpy.typing import NDArray

from .machine import machine
from .sections import table, with_section, write_json, write_whole

RIM_PX = 3
PRECISIONS = {"f32": "model.onnx", "bf16": "model.onnx", "int8": "model.int8.onnx"}
PAGE, MARKER = "tiling.md", "<!-- border table, by `python -m edsr_perf border` -->"
# One pixel, lines, a few pixels, a thumbnail, a strip; and one that is large enough not to be small.
FLAT_SIZES = ((1, 1), (1, 64), (64, 1), (2, 3), (48, 48), (5, 200), (80, 80))
Picture = NDArray[np.uint8]


def add_command(commands: Any) -> None:
    """`python -m edsr_perf border`."""
    parser = commands.add_parser("border", help="zeros or the mirror image beyond a picture; renders docs/tiling.md")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--model", default="edsr_baseline_x3")
    parser.add_argument("--render-only", action="store_true", help="render the page from the figures that are kept")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    kept = args.root / "perf" / "results" / f"border-{args.model}.json"
    if not args.render_only:
        built = args.root / "model_repository" / args.model / "1"
        if not (built / "model.onnx").is_file():
            print(f"error: {args.model} is not built. Run `make onnx`.", file=sys.stderr)  # noqa: T201
            return 3
        write_json(kept, measured(args.model, built, lambda line: print(line, flush=True)))  # noqa: T201
    page = args.root / "docs" / PAGE
    results = json.loads(kept.read_text("utf-8"))
    write_whole(page, with_section(page.read_text("utf-8"), MARKER, rendered(results)).encode())
    print(f"wrote {kept} and docs/{PAGE}")  # noqa: T201
    return 0


def measured(model: str, built: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """All figures of a model: of every precision that is built, set of pictures and border."""
    network = json.loads((built / "model.json").read_text("utf-8"))["network"]
    scale = int(network["scale"])
    rows, flats = [], []
    for precision, file in PRECISIONS.items():
        if not (built / file).is_file():
            continue
        with upscaler_of(built / file, precision, network) as upscaler:
            for name, pairs in sets(scale).items():
                rows += [compare(upscaler, precision, name, list(pairs), scale)]
                tell(str(rows[-1]))
            flats.append({"precision": precision, **flat_levels(upscaler, scale)})
            tell(str(flats[-1]))
    return {
        "model": model,
        "scale": scale,
        "rim_px": RIM_PX,
        "margin_px": MARGIN_PX,
        "small_side_px": SMALL_SIDE_PX,
        "flat_px": FLAT_PX,
        "default": DEFAULT_BORDER,
        "rows": rows,
        "flat": flats,
        "machine": machine(),
    }


def upscaler_of(file: Path, precision: str, network: dict[str, Any]) -> Upscaler:
    """The client over the served graph, without a server."""
    from edsr_serving.openvino_model import compile_for_cpu

    compiled = compile_for_cpu(file, precision)
    told = {"halo_px": str(network["halo_px"]), "max_lr_pixels": "4194304"}
    handler = lambda images: np.array(compiled(images)[0])  # noqa: E731
    return Upscaler(transport=MockTransport(handler, scale=int(network["scale"]), parameters=told))


def sets(scale: int) -> dict[str, Iterator[tuple[Picture, Picture]]]:
    """(HR, LR) of photographs in no training, of others, and of graphics."""
    from edsr_conversion.pictures import GRAPHICS, held_out_pairs, pictures

    return {
        "photographs, held out": held_out_pairs(scale),
        "photographs, scikit-image": (_reduced(picture, scale) for picture in _scikit_image()),
        "text and shapes": (_reduced(picture, scale) for _, picture in pictures(GRAPHICS)),
    }


def _scikit_image() -> Iterator[Picture]:
    from skimage import data

    for name in ("astronaut", "cat", "coffee", "rocket", "camera", "coins", "moon", "brick", "grass", "gravel"):
        picture = np.asarray(getattr(data, name)())
        yield np.ascontiguousarray(picture if picture.ndim == 3 else np.stack([picture] * 3, axis=2))


def _reduced(picture: Picture, scale: int) -> tuple[Picture, Picture]:
    from PIL import Image

    height, width = (side // scale for side in picture.shape[:2])
    hr = np.ascontiguousarray(picture[: height * scale, : width * scale])
    return hr, np.array(Image.fromarray(hr).resize((width, height), Image.Resampling.BICUBIC))


def compare(
    upscaler: Upscaler, precision: str, name: str, pairs: list[tuple[Picture, Picture]], scale: int
) -> dict[str, Any]:
    """Mean PSNR-Y in dB of rim and whole with each border, and how often which rim is the better one."""
    none = ((0, 0), (0, 0))
    found: dict[str, list[tuple[float, float]]] = {border: [] for border in BORDERS}
    for hr, lr in pairs:
        for border in BORDERS:
            result = upscaler.upscale(lr, border=none if border == "zero" else border)
            found[border].append((psnr_y(result, hr, RIM_PX * scale), psnr_y(result, hr, None)))
    means = {border: np.mean(figures, axis=0) for border, figures in found.items()}
    rims = [(zero[0], other[0]) for zero, other in zip(*found.values(), strict=True)]
    return {
        "precision": precision,
        "pictures": name,
        "count": len(pairs),
        **{f"{border}_rim_db": round(float(mean[0]), 2) for border, mean in means.items()},
        **{f"{border}_whole_db": round(float(mean[1]), 2) for border, mean in means.items()},
        "zero_rim_better": sum(zero > other for zero, other in rims),
    }


def psnr_y(picture: Picture, reference: Picture, rim_px: int | None) -> float:
    """PSNR of the luma in dB, at most 60; of the outer `rim_px` alone, or of all."""
    from edsr_conversion.quality import luma

    square = (luma(picture) - luma(reference)) ** 2
    if rim_px is not None:
        is_rim = np.ones(square.shape, bool)
        is_rim[rim_px:-rim_px, rim_px:-rim_px] = False
        square = square[is_rim]
    return min(60.0, 10 * float(np.log10(255**2 / max(float(square.mean()), 1e-9))))


def flat_levels(upscaler: Upscaler, scale: int) -> dict[str, Any]:
    """Largest difference, in levels, of flat pictures of all sizes, and of almost flat ones with either border."""
    colours = [(g, g, g) for g in range(0, 256, 5)]
    colours += [tuple(255 * (corner >> bit & 1) for bit in range(3)) for corner in range(8)]  # type: ignore[misc]
    flat = [np.full((*size, 3), colour, np.uint8) for size in FLAT_SIZES for colour in colours]
    found = {"flat": max(_levels(upscaler.upscale(picture), picture, scale) for picture in flat)}
    dotted = [np.full((SMALL_SIDE_PX, SMALL_SIDE_PX, 3), colour, np.uint8) for colour in colours]
    for picture in dotted:  # one level, every few pixels: nothing is flat
        picture[::FLAT_PX, ::FLAT_PX] ^= 1
    for border in BORDERS:
        found[f"almost_flat_{border}"] = max(
            _levels(upscaler.upscale(picture, border=border), picture, scale) for picture in dotted
        )
    return found


def _levels(result: Picture, picture: Picture, scale: int) -> int:
    return int(np.abs(result.astype(int) - picture.repeat(scale, 0).repeat(scale, 1)).max())


def rendered(results: dict[str, Any]) -> str:
    """The table as Markdown, and where it was measured."""
    head = ["precision", "pictures", "rim, zero", "rim, symmetric", "whole, zero", "whole, symmetric", "zero is better"]
    rows = [
        [
            row["precision"],
            f"{row['pictures']} ({row['count']})",
            *(f"{row[f'{border}_{part}_db']:.2f} dB" for part in ("rim", "whole") for border in BORDERS),
            f"{row['zero_rim_better']} of {row['count']}",
        ]
        for row in results["rows"]
    ]
    where = results["machine"]
    note = (
        f"{results['model']}; PSNR-Y against the originals, means; the rim is what the outer {results['rim_px']} LR "
        f"pixels became. {where['processor']}, OpenVINO {where['packages']['openvino']}, {where['date']}."
    )
    levels = [["precision", "flat pictures", "almost flat, zero", "almost flat, symmetric"]]
    levels += [
        [one["precision"], *(f"{one[key]} level(s)" for key in ("flat", *(f"almost_flat_{b}" for b in BORDERS)))]
        for one in results["flat"]
    ]
    return f"{table([head, *rows], 'llrrrrr')}\n{table(levels, 'lrrr')}\n{note}\n"
