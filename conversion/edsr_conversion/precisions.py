"""The same network in another number format: one ONNX file per precision, typed throughout ("strongly typed").

A precision is a file, never a flag of an engine builder: TensorRT 11 has no such flags any more. To add one, name it
in edsr_serving/variants.py, write a function from the float32 serving graph to the new one, and call it in derive.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from edsr_serving.variants import ENGINE_PRECISIONS, FP16, FP32, INT8

from .errors import ParityError
from .serving_graph import BODY_INPUT, BODY_OUTPUT, CONSTANTS

__all__ = ["FP16", "FP32", "INT8", "PRECISIONS", "file_name", "to_fp16"]

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PRECISIONS = ENGINE_PRECISIONS


def file_name(precision: str) -> str:
    """The ONNX file of a precision: fp32 is `model.onnx`, which is also what a CPU serves."""
    return "model.onnx" if precision == FP32 else f"model.{precision}.onnx"


def to_fp16(model: ModelProto) -> ModelProto:
    """The serving graph with its body in float16: same names, same uint8 input and output.

    Mean, rounding and clipping stay float32: float16 has 11 significant bits, so between 128 and 255 its steps are an
    eighth of a level, and a value near a half would round to the wrong level. Residuals around zero do not suffer so.

    Raises:
        ParityError: a weight does not fit float16.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    half = type(model)()
    half.CopyFrom(model)
    graph = half.graph
    for tensor in graph.initializer:
        if tensor.name in CONSTANTS:
            continue
        with np.errstate(over="ignore"):
            values = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(values).all():
            raise ParityError(f"Weights {tensor.name} do not fit float16 (65504 at most). Use fp32 for this model.")
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes: list[NodeProto] = []
    for node in graph.node:
        if BODY_INPUT in node.output:
            node.output[:] = [f"{BODY_INPUT}_fp32"]
            cast = helper.make_node("Cast", [f"{BODY_INPUT}_fp32"], [BODY_INPUT], "to_fp16", to=TensorProto.FLOAT16)
            nodes += [node, cast]
        elif BODY_OUTPUT in node.input:
            node.input[:] = [f"{BODY_OUTPUT}_fp32" if name == BODY_OUTPUT else name for name in node.input]
            cast = helper.make_node("Cast", [BODY_OUTPUT], [f"{BODY_OUTPUT}_fp32"], "to_fp32", to=TensorProto.FLOAT)
            nodes += [cast, node]
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(half, full_check=True)
    return half
