"""One conversion from a frozen graph to a served ONNX model with its sidecar: proven first, written last."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edsr_serving.edge import DAMAGED

from .errors import ConversionError, ParityError
from .graph_reader import FrozenGraph
from .graph_writer import INPUT_NODE, OUTPUT_NHWC_NODE
from .json_text import json_text, read_json
from .parity import Parity, measure
from .runtimes import openvino_runner, tensorflow_runner
from .serving_graph import OPSET, body_model, serving_model

MODEL_FILE, SIDECAR_FILE = "model.onnx", "model.json"
PRECISION = "fp32"
# Raise when the graph we write changes, so that models converted before are converted again.
FORMAT = 2
# What `write_atomically` leaves of a model, an engine or a sidecar when it is killed.
PARTIAL = re.compile(r"\..+\.(onnx|plan|json)\.[a-z0-9_]{8}")
# What a sidecar says of the network: whole numbers all.
NETWORK_FACTS = ("blocks", "filters", "scale", "halo_px", "parameters", "flop_per_lr_pixel")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Conversion:
    """What was done: where the model is, whether it was there already, and what its sidecar says."""

    model: Path
    built: bool
    sidecar: dict[str, Any]


def convert(graph: FrozenGraph, out: Path, name: str, report: Report = lambda _: None) -> Conversion:
    """Write `out`/model.onnx and `out`/model.json for a graph, unless they stand there already, made of the same.

    Args:
        graph: from `read_graph`.
        out: folder; made if missing.
        name: of the model, written into the ONNX graph.
        report: called with one line per step.

    Raises:
        ParityError: the result differs from TensorFlow's; nothing was written.
        ConversionError: the folder cannot be written.
    """
    with folder_lock(out, report):
        return up_to_date(graph.sha256, out, name) or _convert(graph, out, name, report)


def _convert(graph: FrozenGraph, out: Path, name: str, report: Report) -> Conversion:
    original = tensorflow_runner(graph.definition, INPUT_NODE, OUTPUT_NHWC_NODE)
    report("converting to ONNX (tf2onnx)")
    body = body_model(graph.network.swap_red_and_blue())
    model = serving_model(body, graph.network.scale, name)
    report("comparing with TensorFlow")
    parity = measure(original, openvino_runner(body), openvino_runner(model))
    parity.check()
    raw = model.SerializeToString()
    facts = {"file": MODEL_FILE, "sha256": hashlib.sha256(raw).hexdigest(), "opset": OPSET}
    sidecar = describe(graph, name, _identity(graph.sha256, name), facts, parity)
    write_pair(out / MODEL_FILE, raw, out / SIDECAR_FILE, json_text(sidecar).encode() + b"\n")
    return Conversion(out / MODEL_FILE, True, sidecar)


def up_to_date(source_sha256: str, out: Path, name: str) -> Conversion | None:
    """The conversion that stands in `out`, if it is whole and was made of this source by these versions."""
    return standing(out / MODEL_FILE, out / SIDECAR_FILE, _identity(source_sha256, name))


def standing(model: Path, sidecar_file: Path, identity: str) -> Conversion | None:
    """The conversion in these two files, if they are whole and fit each other and `identity`."""
    try:
        sidecar: dict[str, Any] = read_json(sidecar_file)
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        fits = sidecar["identity"] == identity and sidecar["model"]["sha256"] == digest
    except DAMAGED:
        return None
    return Conversion(model, False, sidecar) if fits and is_complete(sidecar) else None


def is_complete(sidecar: Any) -> bool:
    """Whether a sidecar of model.onnx has everything its readers look for, and a parity that may be served."""
    try:
        _ = sidecar["name"], sidecar["precision"], sidecar["versions"], sidecar["model"]["file"]
        _ = sidecar["source"]["file"], sidecar["source"]["sha256"], sidecar["source"]["quantized"]
        Parity(**sidecar["parity"]).check()
        return all(type(sidecar["network"][fact]) is int for fact in NETWORK_FACTS)
    except (*DAMAGED, ParityError):
        return False


def versions() -> dict[str, str]:
    """Versions of everything that decides what the conversion writes."""
    return {name: version(name) for name in ("edsr-triton", "onnx", "openvino", "tensorflow-cpu", "tf2onnx")}


def _identity(source_sha256: str, name: str) -> str:
    made_of = {"format": FORMAT, "source": source_sha256, "name": name, "opset": OPSET, "versions": versions()}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def describe(
    graph: FrozenGraph, name: str, identity: str, model: Mapping[str, object], parity: Parity
) -> dict[str, Any]:
    """What the sidecar of a model says that was made of `graph`; `model`: its file, sha256 and opset."""
    network = graph.network
    return {
        "name": name,
        "identity": identity,
        "precision": PRECISION,
        "model": dict(model),
        "source": {"file": graph.path.name, "sha256": graph.sha256, "quantized": graph.quantized},
        "network": {
            "blocks": len(network.blocks),
            "filters": network.filters,
            "scale": network.scale,
            "halo_px": network.halo_px,
            "parameters": network.parameters,
            "flop_per_lr_pixel": network.flop_per_lr_pixel,
        },
        "parity": asdict(parity),
        "versions": versions(),
    }


def write_file(path: Path, content: bytes) -> None:
    """`path` appears whole or not at all; its folder is made.

    Raises:
        ConversionError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ConversionError(f"Cannot write {path}: {error.strerror}.") from None


def write_pair(model: Path, content: bytes, sidecar: Path, description: bytes) -> None:
    """Both files appear whole, the sidecar last: a model without a fitting sidecar is never taken for a good one.

    Raises:
        ConversionError: the folder cannot be made or written.
    """
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(model, content)
        write_atomically(sidecar, description)
    except OSError as error:
        raise ConversionError(
            f"Cannot write to {model.parent}: {error.strerror}. Free some space or choose another."
        ) from None


@contextlib.contextmanager
def folder_lock(folder: Path, report: Report = lambda _: None, partial: re.Pattern[str] = PARTIAL) -> Iterator[None]:
    """Keep `folder`, made if missing, to this process while it makes models or engines there.

    What killed processes left half written, under names that `partial` fits, is removed. The lock ends with the
    process, however that ends, and leaves no file behind.

    Raises:
        ConversionError: the folder cannot be made or read.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConversionError(f"Cannot write to {folder}: {error.strerror}. Mend it or choose another.") from None
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks; a read-only one has no leftovers
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report(f"waiting for another process that writes to {folder}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            for path in folder.iterdir():
                if partial.fullmatch(path.name):
                    path.unlink()
        yield
    finally:
        os.close(descriptor)
        if is_new:  # and nothing came of it
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, flush to disk, rename. On failure nothing is left behind."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
