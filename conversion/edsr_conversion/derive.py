"""model.<precision>.onnx from model.onnx: checked against it first, written last, with a sidecar of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edsr_serving.edge import DAMAGED
from edsr_serving.variants import engine_precision

from .convert import MODEL_FILE, SIDECAR_FILE, folder_lock, is_complete, write_pair
from .errors import ConversionError, EngineError, ParityError
from .int8 import Quality, quantize
from .json_text import json_text, read_json
from .precision_check import PrecisionCheck, measure_precision
from .precisions import FP16, FP32, INT8, PRECISIONS, file_name, to_fp16

if TYPE_CHECKING:
    from onnx import ModelProto

# Raise when a precision's graph changes, so that files made before are made again.
FORMAT = 1


@dataclass(frozen=True)
class Derived:
    """An ONNX file of one precision, whether it was made just now, and its sidecar."""

    path: Path
    built: bool
    sidecar: dict[str, Any]

    @property
    def sha256(self) -> str:
        digest: str = self.sidecar["model"]["sha256"]
        return digest


def derive(folder: Path, precision: str, report: Callable[[str], None] = lambda _: None) -> Derived:
    """The ONNX file of `precision` in `folder`, made from model.onnx there unless it is up to date.

    Raises:
        EngineError: model.onnx is missing, or is not the file its sidecar describes.
        ParityError: the precision is too far from float32, or overflows; nothing was written.
        ConversionError: unknown precision, or the folder cannot be written.
    """
    precision = engine_precision(precision)
    if precision not in PRECISIONS:
        raise ConversionError(f"There is no precision {precision!r}. There are: {', '.join(PRECISIONS)}.")
    if precision == FP32 or not folder.is_dir():
        return _fp32(folder)
    with folder_lock(folder, report):
        fp32 = _fp32(folder)
        return _up_to_date(fp32, precision) or _derive(fp32, precision, report)


def _derive(fp32: Derived, precision: str, report: Callable[[str], None]) -> Derived:
    import onnx

    report(f"converting {fp32.path} to {precision}")
    original = onnx.load(fp32.path)
    model, facts = _made(original, precision, report)
    report(f"comparing {precision} with float32")
    found = measure_precision(original, model)
    found.check(precision)
    raw = model.SerializeToString()
    sidecar = {
        "name": fp32.sidecar["name"],
        "identity": _identity(fp32.sha256, precision),
        "precision": precision,
        "model": {"file": file_name(precision), "sha256": hashlib.sha256(raw).hexdigest()},
        "made_from": {"file": MODEL_FILE, "sha256": fp32.sha256},
        "source": fp32.sidecar["source"],
        "network": fp32.sidecar["network"],
        "parity": asdict(found),
        **facts,
    }
    path = fp32.path.with_name(file_name(precision))
    write_pair(path, raw, path.with_suffix(".json"), json_text(sidecar).encode() + b"\n")
    return Derived(path, True, sidecar)


def _made(original: ModelProto, precision: str, report: Callable[[str], None]) -> tuple[ModelProto, dict[str, Any]]:
    """The graph in another precision, and what its sidecar says of the making."""
    if precision == FP16:
        return to_fp16(original), {}
    quantized = quantize(original, report)
    return quantized.model, {
        "quality": asdict(quantized.quality),
        "quantization": {
            "calibration_pictures": quantized.calibration_pictures,
            "float_layers": list(quantized.float_layers),
        },
    }


def _fp32(folder: Path) -> Derived:
    path = folder / MODEL_FILE
    again = f"`make onnx MODEL={folder.parent.name}` builds it, if the model's graph is present"
    try:
        sidecar = read_json(folder / SIDECAR_FILE)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        intact = sidecar["model"]["sha256"] == digest
    except FileNotFoundError:
        raise EngineError(f"There is no {path}: {again}.") from None
    except DAMAGED:
        raise EngineError(f"{path} or its sidecar cannot be read: {again}.") from None
    if not is_complete(sidecar):
        raise EngineError(f"The sidecar of {path} lacks something: {again}.")
    if not intact:
        raise EngineError(f"{path} is not the file its sidecar describes: {again}.")
    return Derived(path, False, sidecar)


def _up_to_date(fp32: Derived, precision: str) -> Derived | None:
    path = fp32.path.with_name(file_name(precision))
    try:
        sidecar = read_json(path.with_suffix(".json"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        fits = sidecar["identity"] == _identity(fp32.sha256, precision) and sidecar["model"]["sha256"] == digest
        fits = fits and all(sidecar[key] == fp32.sidecar[key] for key in ("name", "source", "network"))
        PrecisionCheck(**sidecar["parity"]).check(precision)
        if precision == INT8:
            Quality(**sidecar["quality"]).check()
    except (*DAMAGED, ParityError):
        return None
    return Derived(path, False, sidecar) if fits else None


def _identity(fp32_sha256: str, precision: str) -> str:
    made_of = {"format": FORMAT, "fp32": fp32_sha256, "precision": precision, "onnx": version("onnx")}
    if precision == INT8:  # its ranges were measured, and its quality judged, by this
        made_of["openvino"] = version("openvino")
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
