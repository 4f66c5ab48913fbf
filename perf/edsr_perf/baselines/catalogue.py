"""What is compared: the ways to upscale, the environment of each, and how far its answers may be from float32."""

from __future__ import annotations

from dataclasses import dataclass

# From pixels to pixels, and from the content of a picture file to the content of one.
ARRAY, PNG, JPEG = "array", "png", "jpeg"
FILES = (PNG, JPEG)
PROJECT = ""


@dataclass(frozen=True)
class Baseline:
    """One way to upscale.

    Attributes:
        key: in results.
        title: in tables.
        precision: that it computes in: "f32", "bf16", "int8"; "" for no network.
        environment: folder in perf/baselines with its requirements; PROJECT for this project's own.
        module: of its worker, in perf/baselines; "" for what answers over HTTP.
        levels: what it is run on, of ARRAY, PNG and JPEG.
        is_ours: whether it is this project's server.
    """

    key: str
    title: str
    precision: str
    environment: str = PROJECT
    module: str = ""
    levels: tuple[str, ...] = (ARRAY,)
    is_ours: bool = False


@dataclass(frozen=True)
class Agreement:
    """What an answer may differ from float32's: PSNR in dB, at least, and levels of 255, at most (None: any)."""

    min_psnr_db: float
    max_levels: int | None = None


# Other libraries sum in another order: a value near a half rounds the other way. bfloat16 has 8 significant bits.
EXPECTED = {"f32": Agreement(60.0, 1), "bf16": Agreement(40.0), "int8": Agreement(30.0)}
# A JPEG file is not its pixels: it may be so much farther off than the encoder alone takes float32's answer.
JPEG_TOLERANCE_DB = 3.0


def compared(served: str, native: tuple[str, ...]) -> list[Baseline]:
    """Everything that is compared on a machine.

    Args:
        served: precision that the server takes here, "bf16" or "f32".
        native: OpenVINO's precisions to run in-process: "f32" first, for it is what the others are checked against.
    """
    found = [
        Baseline("opencv", "OpenCV 4.11 dnn_superres, in-process", "f32", "opencv_dnn", "opencv_dnn"),
        Baseline("flask", "Flask + OpenCV 4.11 dnn_superres, HTTP", "f32", "flask_opencv", levels=FILES),
        Baseline("onnxruntime", "ONNX Runtime, in-process", "f32", "onnx_runtime", "onnx_runtime"),
        *(Baseline(f"openvino-{p}", "OpenVINO, in-process", p, module="openvino_cpu") for p in native),
        Baseline("ours", "**ours: edsr-client, HTTP, Triton**", served, levels=(ARRAY, *FILES), is_ours=True),
        Baseline("bicubic", "bicubic (cv2.resize), no network", "", "opencv_dnn", "bicubic"),
    ]
    if served != "f32":
        in_f32 = Baseline("ours-f32", "ours, served in f32", "f32", levels=(ARRAY, *FILES), is_ours=True)
        found.insert(-1, in_f32)
    if "int8" in native:
        in_int8 = Baseline("ours-int8", "ours, served in int8", "int8", levels=(ARRAY, *FILES), is_ours=True)
        found.insert(-1, in_int8)
    return found


def expected(baseline: Baseline, level: str, by_encoder_db: float | None = None) -> Agreement | None:
    """How near its answers must be to float32's; None where no network runs.

    Args:
        baseline: whose answers.
        level: ARRAY, PNG or JPEG.
        by_encoder_db: PSNR of float32's own answer after a JPEG encoder, None if nothing was lost.
    """
    if not baseline.precision:
        return None
    of_precision = EXPECTED[baseline.precision]
    if level != JPEG or by_encoder_db is None:
        return of_precision
    return Agreement(min(of_precision.min_psnr_db, by_encoder_db - JPEG_TOLERANCE_DB))
