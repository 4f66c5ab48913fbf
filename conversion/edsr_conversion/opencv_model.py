"""The ONNX that OpenCV's own dnn_superres reads since 5.1, which has no importer of TensorFlow graphs any more.

dnn_superres keeps its part of the work: it subtracts the mean, gives float32 NCHW in BGR, and adds the mean afterwards.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .convert import Conversion, Report, describe, folder_lock, standing, versions, write_pair
from .errors import CatalogueError
from .graph_reader import FrozenGraph
from .graph_writer import INPUT_NODE, OUTPUT_NHWC_NODE
from .json_text import json_text
from .network import MEAN_BGR, Edsr
from .parity import Parity, measure, to_uint8
from .runtimes import Runner, openvino_runner, tensorflow_runner
from .serving_graph import BODY_INPUT, BODY_OUTPUT, OPSET, body_model

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT, OUTPUT = "bgr_minus_mean", "upscaled_minus_mean"
SUFFIX, SIDECAR_SUFFIX = ".onnx", ".json"
# Raise when the graph we write changes, so that files written before are written again.
FORMAT = 1


def opencv_model(network: Edsr, name: str) -> ModelProto:
    """`bgr_minus_mean` float32 [N, 3, H, W] -> `upscaled_minus_mean` float32 [N, 3, scale H, scale W].

    Args:
        network: takes and gives BGR, as the graph had it.
        name: of the ONNX graph.

    OpenCV 5.1 multiplies the first convolution with whatever channels there are: a grey picture would give a wrong
    one, without a word. So the three channels are split, which it refuses where they are not three, and joined again.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    body = body_model(network)
    scale, channels = network.scale, ["blue", "green", "red"]
    before = [
        helper.make_node("Split", [INPUT, "one_each"], channels, name="three_channels", axis=1),
        helper.make_node("Concat", channels, [BODY_INPUT], name="joined", axis=1),
    ]
    for node in body.graph.node:
        node.output[:] = [OUTPUT if value == BODY_OUTPUT else value for value in node.output]
    graph = helper.make_graph(
        [*before, *body.graph.node],
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", 3, f"{scale}*H", f"{scale}*W"])],
        initializer=[*body.graph.initializer, numpy_helper.from_array(np.ones(3, np.int64), "one_each")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def convert_for_opencv(graph: FrozenGraph, out: Path, report: Report = lambda _: None) -> Conversion:
    """Write `out` and its sidecar, `out` + ".json", unless they stand there already, made of the same.

    Args:
        graph: from `read_graph`.
        out: an .onnx file; its folder is made if missing, and what is there is replaced.
        report: called with one line per step.

    Raises:
        CatalogueError: `out` cannot be the file's place.
        ParityError: what OpenCV would compute with it differs from TensorFlow's; nothing was written.
        ConversionError: the folder cannot be written.
    """
    check_places(graph.path, out)
    partial = re.compile(rf"\.{re.escape(out.name)}({re.escape(SIDECAR_SUFFIX)})?\.[a-z0-9_]{{8}}")
    with folder_lock(out.parent, report, partial):
        return opencv_up_to_date(graph.sha256, out, graph.path.stem) or _convert(graph, out, report)


def check_places(graph: Path, out: Path) -> None:
    """Raise CatalogueError unless `out` can be written without losing something else."""
    if out.suffix.lower() != SUFFIX:
        raise CatalogueError(f"{out} does not end in {SUFFIX}, by which OpenCV knows the format. Name such a file.")
    for path in (out, sidecar_of(out)):
        if path.is_dir():
            raise CatalogueError(f"{path} is a folder. Name the file to write, for example {out / 'EDSR_x3.onnx'}.")
        if path.exists() and graph.exists() and path.samefile(graph):
            raise CatalogueError(f"{path} is the graph itself, which would be lost. Name another file.")


def sidecar_of(out: Path) -> Path:
    """EDSR_x3.onnx.json, not EDSR_x3.json: a file that nobody named must not replace one of the user's."""
    return out.with_name(out.name + SIDECAR_SUFFIX)


def opencv_up_to_date(source_sha256: str, out: Path, name: str) -> Conversion | None:
    """The conversion that stands at `out`, if it is whole and was made of this source by these versions."""
    return standing(out, sidecar_of(out), _identity(source_sha256, name))


def _convert(graph: FrozenGraph, out: Path, report: Report) -> Conversion:
    original = tensorflow_runner(graph.definition, INPUT_NODE, OUTPUT_NHWC_NODE)
    name = graph.path.stem
    report("converting to ONNX (tf2onnx)")
    model = opencv_model(graph.network, name)
    report("comparing with TensorFlow")
    parity = _measured(original, openvino_runner(model))
    parity.check()
    raw = model.SerializeToString()
    facts = {"file": out.name, "sha256": hashlib.sha256(raw).hexdigest(), "opset": OPSET}
    sidecar = describe(graph, name, _identity(graph.sha256, name), facts, parity)
    write_pair(out, raw, sidecar_of(out), json_text(sidecar).encode() + b"\n")
    return Conversion(out, True, sidecar)


def _identity(source_sha256: str, name: str) -> str:
    made_of = {"opencv_format": FORMAT, "source": source_sha256, "name": name, "opset": OPSET, "versions": versions()}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _measured(original: Runner, run: Runner) -> Parity:
    """Against TensorFlow: the model itself, and with what dnn_superres does around it."""

    def body(rgb: NDArray[Any]) -> NDArray[Any]:
        return run(np.ascontiguousarray(rgb[:, ::-1]))[:, ::-1]

    return measure(original, body, as_dnn_superres(run))


def as_dnn_superres(run: Runner) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """What `DnnSuperResImpl.upsample` computes with a model: uint8 [N, H, W, 3] RGB -> uint8 at the scale."""
    mean = np.array(MEAN_BGR, np.float32)

    def upsample(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        blob = (rgb[..., ::-1].astype(np.float32) - mean).transpose(0, 3, 1, 2)
        pixels = run(np.ascontiguousarray(blob)).transpose(0, 2, 3, 1) + mean
        return to_uint8(pixels)[..., ::-1]

    return upsample
