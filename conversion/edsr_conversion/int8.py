"""8-bit integers by post-training quantisation: QuantizeLinear/DequantizeLinear (QDQ) around the convolutions.

One file for OpenVINO and TensorRT: scales are symmetric (zero point 0) and the types signed, as TensorRT requires;
weights have a scale per output channel, activations one per tensor. What is not quantised is float16 as in
`precisions.to_fp16`. The stream of residuals is quantised once for the convolution that reads it and for the addition
around it: engines then run a residual block in integers from end to end. With the addition left in floating point,
OpenVINO spends more time on changing formats than it saves (measured: no faster than bfloat16).

The first and the last convolution stay in floating point. They hold under 3% of the work; the first reads the
picture's own 256 levels, the last writes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ParityError
from .pictures import CALIBRATION, GRAPHICS, held_out_pairs, pictures
from .precisions import to_fp16
from .quality import psnr_y
from .runtimes import Runner, openvino_runner

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Q and DQ take float16 scales from here on.
OPSET, IR_VERSION = 19, 9
LEVELS = 127
# What the fastest precision may lose against float32 of the same weights, in dB of PSNR-Y on the held-out photographs.
MAX_DROP_DB = 0.05
# At most this part of all convolutions is taken back to floating point for quality, in so many steps.
MAX_FLOAT_SHARE, STEPS = 0.5, 4
# How many of the calibration pictures tell what a convolution costs: there is a run for each convolution.
SENSITIVITY_PICTURES = 4


@dataclass(frozen=True)
class Quality:
    """What 8 bits cost.

    Attributes:
        pictures: held-out photographs judged.
        fp32_psnr_y_db, psnr_y_db: PSNR-Y in dB against their originals, means.
        drop_db, worst_drop_db: how much it falls: the mean, and the photograph that loses most.
        graphics_psnr_db: against float32 on text and flat colours, the worst of them. Such pictures drive activations
            beyond the range of photographs, where 8 bits are cut off.
    """

    pictures: int
    fp32_psnr_y_db: float
    psnr_y_db: float
    drop_db: float
    worst_drop_db: float
    graphics_psnr_db: float

    def check(self) -> None:
        """Raise ParityError if photographs lose too much."""
        if not self.drop_db <= MAX_DROP_DB:
            raise ParityError(
                f"8 bits lose {self.drop_db:.2f} dB on the held-out photographs; {MAX_DROP_DB:g} are allowed. Nothing "
                "was written. Use another precision for this model."
            )


@dataclass(frozen=True)
class Quantized:
    """A graph in 8 bits.

    Attributes:
        model: uint8 [N, H, W, 3] -> uint8, as every serving graph.
        float_layers: names of the convolutions that stayed in float16.
        calibration_pictures: how many the ranges were measured on.
        quality: on the held-out photographs.
    """

    model: ModelProto
    float_layers: tuple[str, ...]
    calibration_pictures: int
    quality: Quality


def quantize(fp32: ModelProto, report: Callable[[str], None] = lambda _: None) -> Quantized:
    """The serving graph in 8 bits, as many convolutions as the quality allows.

    If too much is lost with the first and last convolution in floating point, those that cost most follow, until
    MAX_DROP_DB is kept.

    Args:
        fp32: from `serving_model`.
        report: called with one line per step.

    Raises:
        ParityError: photographs lose too much even with half of the convolutions in floating point.
    """
    report("measuring the ranges of activations on photographs")
    inputs = [picture[None] for _, picture in pictures(CALIBRATION)]
    ranges = activation_ranges(fp32, inputs)
    layers = convolutions(fp32)
    kept = [layers[0].name, layers[-1].name]
    reference = _judged(openvino_runner(fp32), scale_of(fp32))
    graphics = [picture[None] for _, picture in pictures(GRAPHICS)]
    by_cost: list[str] = []
    while True:
        model = with_qdq(fp32, ranges, kept)
        report(f"judging {len(layers) - len(kept)} of {len(layers)} convolutions in 8 bits on the held-out photographs")
        run = openvino_runner(model)
        worst = min(_psnr_db(run(image), openvino_runner(fp32)(image)) for image in graphics)
        quality = _quality(reference, _judged(run, scale_of(fp32)), worst)
        if len(kept) >= MAX_FLOAT_SHARE * len(layers):
            quality.check()
        if quality.drop_db <= MAX_DROP_DB:
            return Quantized(model, tuple(kept), len(inputs), quality)
        if not by_cost:
            report("measuring what each convolution costs")
            errors = sensitivity(fp32, ranges, inputs[:SENSITIVITY_PICTURES])
            by_cost = [name for name in sorted(errors, key=lambda name: -errors[name]) if name not in kept]
        step = max(1, round(len(layers) * MAX_FLOAT_SHARE / STEPS))
        kept, by_cost = kept + by_cost[:step], by_cost[step:]


def convolutions(model: ModelProto) -> list[NodeProto]:
    """The convolutions of a serving graph, from input to output."""
    return [node for node in model.graph.node if node.op_type == "Conv"]


def scale_of(model: ModelProto) -> int:
    """The network's scale, from its DepthToSpace."""
    (node,) = (node for node in model.graph.node if node.op_type == "DepthToSpace")
    return next(int(a.i) for a in node.attribute if a.name == "blocksize")


def activation_ranges(fp32: ModelProto, inputs: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
    """The largest magnitude of every convolution's input over `inputs`, uint8 [N, H, W, 3].

    The maximum, not a percentile: cutting off the largest values blurs exactly the edges that super-resolution is for
    (measured on the embedded model: ranges of least squared error lose 0.02 dB more and are off by twice the levels).
    """
    import onnx

    names = {node.input[0] for node in convolutions(fp32)}
    model = type(fp32)()
    model.CopyFrom(fp32)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in sorted(names))
    run = _named_runner(model)
    ranges = dict.fromkeys(names, 0.0)
    for image in inputs:
        for name, values in run(image).items():
            if name in ranges:
                ranges[name] = max(ranges[name], float(np.abs(values).max()))
    return ranges


def with_qdq(fp32: ModelProto, ranges: dict[str, float], float_layers: Collection[str]) -> ModelProto:
    """The graph with Q/DQ before every convolution that is not in `float_layers`, the rest in float16.

    Args:
        fp32: from `serving_model`.
        ranges: largest magnitude of every convolution's input.
        float_layers: names of convolutions to leave in float16.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = to_fp16(fp32)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in fp32.graph.initializer}
    nodes: list[NodeProto] = []
    dequantized: dict[str, str] = {}
    constants: dict[str, NDArray[Any]] = {}

    def dequantize(name: str, **axis: int) -> NodeProto:
        inputs = [f"{name}_q", f"{name}_scale", f"{name}_zero"]
        return helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], name=f"{name}_DQ", **axis)

    for node in graph.node:
        nodes.append(node)
        if node.op_type != "Conv" or node.name in float_layers:
            continue
        nodes.pop()
        source, kernel = node.input[0], node.input[1]
        if source not in dequantized:
            constants[f"{source}_scale"] = np.float16(_at_least_tiny(np.float32(ranges[source]) / LEVELS))
            constants[f"{source}_zero"] = np.int8(0)
            inputs = [source, f"{source}_scale", f"{source}_zero"]
            nodes.append(helper.make_node("QuantizeLinear", inputs, [f"{source}_q"], name=f"{source}_Q"))
            nodes.append(dequantize(source))
            dequantized[source] = f"{source}_dq"
        values = numpy_helper.to_array(weights[kernel])
        scales = _at_least_tiny(np.abs(values).max(axis=(1, 2, 3)) / LEVELS).astype(np.float16)
        integers = np.round(values / scales.astype(np.float32)[:, None, None, None]).clip(-LEVELS, LEVELS)
        constants[f"{kernel}_q"] = integers.astype(np.int8)
        constants[f"{kernel}_scale"] = scales
        constants[f"{kernel}_zero"] = np.zeros(len(scales), np.int8)
        nodes.append(dequantize(kernel, axis=0))
        node.input[0], node.input[1] = dequantized[source], f"{kernel}_dq"
        nodes.append(node)
    for node in nodes:
        if node.op_type == "Add":
            node.input[:] = [dequantized.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    halves = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(halves)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    model.opset_import[0].version, model.ir_version = OPSET, IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def sensitivity(
    fp32: ModelProto,
    ranges: dict[str, float],
    inputs: Sequence[NDArray[np.uint8]],
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """Mean squared error, in levels, that each convolution causes if it alone is in 8 bits: by name, in order.

    Args:
        fp32: from `serving_model`.
        ranges: from `activation_ranges`.
        inputs: uint8 [N, H, W, 3].
        report: called with the name of each convolution.
    """
    names = [node.name for node in convolutions(fp32)]
    without = openvino_runner(with_qdq(fp32, ranges, names))
    references = [without(image).astype(np.int64) for image in inputs]
    errors = {}
    for name in names:
        report(name)
        run = openvino_runner(with_qdq(fp32, ranges, [other for other in names if other != name]))
        squares = [((run(image) - reference) ** 2).mean() for image, reference in zip(inputs, references, strict=True)]
        errors[name] = float(np.mean(squares))
    return errors


def _at_least_tiny(scale: Any) -> Any:
    """A scale of zero divides by zero: channels and tensors that are zero everywhere get float16's smallest normal."""
    return np.maximum(scale, np.finfo(np.float16).tiny)


def _judged(run: Runner, scale: int) -> list[float]:
    return [psnr_y(run(lr[None])[0], hr, scale) for hr, lr in held_out_pairs(scale)]


def _psnr_db(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    square = float(((picture.astype(np.float64) - reference) ** 2).mean())
    return 10 * math.log10(255**2 / square) if square else 999.0


def _quality(reference: Sequence[float], found: Sequence[float], graphics_psnr_db: float) -> Quality:
    drops = [before - after for before, after in zip(reference, found, strict=True)]
    return Quality(
        pictures=len(found),
        fp32_psnr_y_db=round(float(np.mean(reference)), 4),
        psnr_y_db=round(float(np.mean(found)), 4),
        drop_db=round(float(np.mean(drops)), 4),
        worst_drop_db=round(float(max(drops)), 4),
        graphics_psnr_db=round(graphics_psnr_db, 2),
    )


def _named_runner(model: ModelProto) -> Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]]:
    import openvino as ov

    compiled = ov.Core().compile_model(
        ov.Core().read_model(model=model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )

    def run(image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        answer = compiled(image)
        return {output.get_any_name(): answer[output] for output in compiled.outputs}

    return run
