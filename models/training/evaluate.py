"""Judges the shipped model on the ten held-out photographs, on the ONNX that is served."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from edsr_conversion.pictures import HELD_OUT, pictures
from edsr_conversion.quality import psnr_y

from . import data

Upscale = Callable[[data.Image8], data.Image8]


def references() -> Iterator[tuple[str, data.Image8]]:
    """Yield (name, HR uint8 [H, W, 3] RGB) of the committed held-out references."""
    return pictures(HELD_OUT)


def evaluate(upscale: Upscale) -> dict[str, dict[str, float]]:
    """PSNR-Y in dB by photograph: of bicubic interpolation, of `upscale`, and the gain; and their means.

    Args:
        upscale: uint8 [H, W, 3] RGB -> uint8 [3H, 3W, 3] RGB.
    """
    table: dict[str, dict[str, float]] = {}
    for name, original in references():
        hr, lr = data.pair(original)
        bicubic = psnr_y(data.resize(lr, hr.shape[1], hr.shape[0]), hr)
        model = psnr_y(upscale(lr), hr)
        table[name] = {"bicubic_db": bicubic, "model_db": model, "gain_db": model - bicubic}
    table["mean"] = {
        key: statistics.fmean(row[key] for row in table.values()) for key in ("bicubic_db", "model_db", "gain_db")
    }
    return table


def openvino_upscale(model: Path, precision: str) -> Upscale:
    """Run a served model.onnx with OpenVINO in "f32" or "bf16"."""
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda lr: np.array(compiled(lr[None])[0])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("model_repository/edsr_baseline_x3/1/model.onnx"))
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args()
    results = {precision: evaluate(openvino_upscale(args.model, precision)) for precision in ("f32", "bf16")}
    print(f"{'':36}  bicubic      f32   gain     bf16   gain   (PSNR-Y in dB)")
    for name, f32 in results["f32"].items():
        bf16 = results["bf16"][name]
        print(
            f"{name:36}  {f32['bicubic_db']:7.2f}  {f32['model_db']:7.2f}  {f32['gain_db']:+5.2f}  "
            f"{bf16['model_db']:7.2f}  {bf16['gain_db']:+5.2f}"
        )
    if args.json:
        rounded = {p: {n: {k: round(v, 3) for k, v in r.items()} for n, r in t.items()} for p, t in results.items()}
        args.json.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
