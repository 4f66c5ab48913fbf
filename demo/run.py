"""The demonstration: a real tritonserver upscales a photograph, over HTTP and over gRPC.

Without an argument the committed photograph is reduced by 3 and restored, so that the result can be measured against
the original. With a picture of your own, that picture is upscaled.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from comparison import Panel, comparison
from edsr_client import EdsrError, Upscaler
from edsr_client.files import read_file
from edsr_client.model_info import PREFERRED_MODELS
from edsr_client.pictures.decode import decode
from edsr_client.pictures.depth import to_8_bits
from edsr_conversion.quality import luma, psnr_y
from edsr_serving import ServerOptions, ServingError, free_ports, start
from edsr_serving.repository import find_models
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

HERE = Path(__file__).parent
ROOT = HERE.parent
PHOTOGRAPH = HERE / "photograph.png"
OUT = HERE / "out"
Pixels = NDArray[np.uint8]
TIMED_RUNS = 3


def main() -> int:
    """Run the demonstration; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", nargs="?", type=Path, help="a picture of your own")
    args = parser.parse_args()
    try:
        run(args.image and args.image.expanduser())
    except (EdsrError, ServingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def run(own: Path | None) -> None:
    """Serve, upscale, compare, and put everything into demo/out."""
    picture = rgb(own or PHOTOGRAPH)
    repository = ROOT / "model_repository"
    options = ServerOptions(repository, ROOT / ".run" / "demo", models=preferred(repository))
    print("starting tritonserver ...", flush=True)
    with (
        start(options.with_ports(*free_ports(3))) as server,
        Upscaler(server.options.http_url) as http,
        Upscaler(server.options.grpc_url, "grpc") as grpc,
    ):
        model = http.model_info()
        print(
            f"{model.name} on {model.runtime} ({model.inference_precision}), log: {server.log.relative_to(ROOT)}",
            flush=True,
        )
        low = picture if own else degraded(picture, model.scale)
        high, http_ms = timed(http, low)
        by_grpc, grpc_ms = timed(grpc, low)
    if not np.array_equal(high, by_grpc):
        raise EdsrError("HTTP and gRPC gave different pictures. Please report this, with the server's log.")
    size = f"{low.shape[1]}x{low.shape[0]} -> {high.shape[1]}x{high.shape[0]}"
    print(f"{size}: HTTP {http_ms:.0f} ms, gRPC {grpc_ms:.0f} ms (medians of {TIMED_RUNS}), identical results")
    save(low, high, None if own else picture[: high.shape[0], : high.shape[1]])
    print(f"look at {OUT.relative_to(ROOT)}/comparison.png")


def preferred(repository: Path) -> tuple[str, ...]:
    """The model that a client takes by itself; () if it is not built: then the server says what is."""
    built = [model.name for model in find_models(repository) if not model.problem]
    return tuple([name for name in PREFERRED_MODELS if name in built][:1])


def rgb(path: Path) -> Pixels:
    """A picture file as uint8 [H, W, 3] RGB: what is compared here are colours of 8 bits."""
    pixels = to_8_bits(decode(read_file(path), str(path)).frames[0])
    grey = pixels.ndim == 2 or pixels.shape[2] == 2
    colour = pixels.reshape(*pixels.shape[:2], -1)[..., :1].repeat(3, axis=2) if grey else pixels[..., :3]
    return np.ascontiguousarray(colour)


def timed(upscaler: Upscaler, image: Pixels) -> tuple[Pixels, float]:
    """The upscaled image and the median time of a request in ms, after one that warms up."""
    result = upscaler.upscale(image)
    times_ms = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        upscaler.upscale(image)
        times_ms.append((time.perf_counter() - started) * 1000)
    return result, statistics.median(times_ms)


def degraded(original: Pixels, scale: int) -> Pixels:
    """The original reduced by `scale` with an antialiased bicubic kernel, which is what the model was trained on."""
    return resized(original, original.shape[1] // scale, original.shape[0] // scale)


def resized(picture: Pixels, width_px: int, height_px: int) -> Pixels:
    """Bicubic, antialiased when it reduces."""
    return np.array(Image.fromarray(picture).resize((width_px, height_px), Image.Resampling.BICUBIC))


def save(low: Pixels, high: Pixels, original: Pixels | None) -> None:
    """Write the pictures and the comparison, and print what they are worth; demo/out is replaced as a whole."""
    bicubic = resized(low, high.shape[1], high.shape[0])
    nearest = np.array(Image.fromarray(low).resize((high.shape[1], high.shape[0]), Image.Resampling.NEAREST))
    pictures = {"lr": low, "bicubic": bicubic, "edsr": high}
    labels = {"bicubic": "bicubic", "edsr": "EDSR"}
    if original is not None:
        pictures["original"] = original
        for name in labels:
            decibel, ssim = psnr_y(pictures[name], original), ssim_y(pictures[name], original)
            labels[name] += f" {decibel:.2f} dB"
            print(f"{name:8} PSNR-Y {decibel:.2f} dB, SSIM {ssim:.4f}")
        gain = psnr_y(high, original) - psnr_y(bicubic, original)
        print(f"gain     {gain:+.2f} dB over bicubic")
    panels = [Panel("input", nearest), Panel(labels["bicubic"], bicubic), Panel(labels["edsr"], high)]
    if original is not None:
        panels.append(Panel("original", original))
    whole = Panel("the whole picture, by EDSR", high)
    partial = OUT.with_name("out.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        for name, pixels in pictures.items():
            Image.fromarray(pixels).save(partial / f"{name}.png")
        comparison(whole, panels).save(partial / "comparison.png")
        shutil.rmtree(OUT, ignore_errors=True)
        partial.replace(OUT)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def ssim_y(picture: Pixels, reference: Pixels, shave_px: int = 3) -> float:
    """Structural similarity of the luma with the 11x11 Gaussian window of the original paper, border left out."""
    inner = slice(shave_px, -shave_px)
    a, b = luma(picture)[inner, inner], luma(reference)[inner, inner]
    return float(
        structural_similarity(a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )


if __name__ == "__main__":
    sys.exit(main())
