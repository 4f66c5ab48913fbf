"""Judges the shipped models on the ten held-out photographs, clean and compressed, on the ONNX that is served."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from edsr_conversion.pictures import HELD_OUT, pictures
from edsr_conversion.quality import psnr_y

from . import data

Upscale = Callable[[data.Image8], data.Image8]
CLEAN_MODEL, PHOTO_MODEL = "edsr_baseline_x3", "edsr_photo_x3"
# Kinds of input: the JPEG quality they are compressed with, None for as they are.
KINDS: dict[str, int | None] = {"clean": None, **{f"jpeg {quality}": quality for quality in (90, 75, 50, 30)}}
PRECISIONS = ("f32", "bf16")
# Where the two models are compared closely.
CROSSING_QUALITIES = range(88, 99)


def references() -> Iterator[tuple[str, data.Image8]]:
    """Yield (name, HR uint8 [H, W, 3] RGB) of the committed held-out references."""
    return pictures(HELD_OUT)


def evaluate(upscale: Upscale, quality: int | None = None) -> dict[str, dict[str, float]]:
    """PSNR-Y in dB by photograph: of bicubic interpolation, of `upscale`, and the gain; and their means.

    Args:
        upscale: uint8 [H, W, 3] RGB -> uint8 [3H, 3W, 3] RGB.
        quality: of the JPEG (4:2:0) that the reduced photograph goes through; None for none.
    """
    table: dict[str, dict[str, float]] = {}
    for name, original in references():
        hr, lr = data.pair(original)
        lr = data.through_jpeg(lr, quality)
        bicubic = psnr_y(data.resize(lr, hr.shape[1], hr.shape[0]), hr)
        model = psnr_y(upscale(lr), hr)
        table[name] = {"bicubic_db": bicubic, "model_db": model, "gain_db": model - bicubic}
    table["mean"] = {
        key: statistics.fmean(row[key] for row in table.values()) for key in ("bicubic_db", "model_db", "gain_db")
    }
    return table


def crossing(clean: Upscale, photo: Upscale) -> dict[str, Any]:
    """Mean gain over bicubic in dB of both models by JPEG quality, and the quality at which they cross.

    `crossing`: the lowest quality from which on the model for clean pictures is the better one at every quality tried,
    or 100 if it is at none. Below it the model for compressed ones is to be taken.
    """
    rows, least = [], 100
    for quality in CROSSING_QUALITIES:
        gains = [evaluate(upscale, quality)["mean"]["gain_db"] for upscale in (clean, photo)]
        rows.append({"quality": quality, "clean_gain_db": round(gains[0], 3), "photo_gain_db": round(gains[1], 3)})
    for row in reversed(rows):
        if row["photo_gain_db"] > row["clean_gain_db"]:
            break
        least = int(row["quality"])
    return {"crossing": least, "by_quality": rows}


def openvino_upscale(model: Path, precision: str) -> Upscale:
    """Run a served model.onnx with OpenVINO in "f32" or "bf16"."""
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda lr: np.array(compiled(lr[None])[0])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--model", action="append", help="only this model; may be repeated")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--crossing", type=Path, help="compare the two models closely, and write that there")
    args = parser.parse_args()

    def served(name: str, precision: str) -> Upscale:
        return openvino_upscale(args.repository / name / "1" / "model.onnx", precision)

    if args.crossing:
        found = crossing(served(CLEAN_MODEL, "f32"), served(PHOTO_MODEL, "f32"))
        args.crossing.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"the models cross at JPEG quality {found['crossing']}")
        return
    results = {
        name: {p: {kind: evaluate(served(name, p), quality) for kind, quality in KINDS.items()} for p in PRECISIONS}
        for name in args.model or (CLEAN_MODEL, PHOTO_MODEL)
    }
    for name, by_precision in results.items():
        _print(name, by_precision)
    if args.json:
        args.json.write_text(json.dumps(_rounded(results), indent=1) + "\n", encoding="utf-8")


def _print(name: str, by_precision: dict[str, dict[str, dict[str, dict[str, float]]]]) -> None:
    for kind, table in by_precision["f32"].items():
        print(f"{name}, {kind}: {'':12}  bicubic      f32   gain     bf16   gain   (PSNR-Y in dB)")
        for photograph, f32 in table.items():
            bf16 = by_precision["bf16"][kind][photograph]
            print(
                f"{photograph:36}  {f32['bicubic_db']:7.2f}  {f32['model_db']:7.2f}  {f32['gain_db']:+5.2f}  "
                f"{bf16['model_db']:7.2f}  {bf16['gain_db']:+5.2f}"
            )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 3)


if __name__ == "__main__":
    main()
