"""Runs a model, for comparison: TensorFlow on the original graph, OpenVINO in float32 on ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidGraphError

if TYPE_CHECKING:
    from onnx import ModelProto
    from tensorflow.core.framework.graph_pb2 import GraphDef

Runner = Callable[[NDArray[Any]], NDArray[Any]]


def tensorflow_runner(definition: GraphDef, input_name: str, output_name: str) -> Runner:
    """A function that runs one input tensor of a frozen graph to one output tensor.

    Raises:
        InvalidGraphError: TensorFlow does not take the graph, now or when it runs.
    """
    import tensorflow as tf

    def imported() -> None:
        tf.graph_util.import_graph_def(definition, name="")

    def run(x: NDArray[Any]) -> NDArray[Any]:
        try:
            return np.asarray(pruned(tf.constant(x)))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise _refused(error) from None

    try:
        pruned = tf.compat.v1.wrap_function(imported, []).prune(f"{input_name}:0", f"{output_name}:0")
    except (tf.errors.OpError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise _refused(error) from None
    return run


def _refused(error: Exception) -> InvalidGraphError:
    words = " ".join(str(error).split())[:300]
    return InvalidGraphError(f"TensorFlow does not take this graph: {words}. Fetch or export it again.")


def openvino_runner(model: ModelProto) -> Runner:
    """A function that runs a single-input, single-output ONNX model in float32 on the CPU."""
    import openvino as ov

    compiled = ov.Core().compile_model(
        ov.Core().read_model(model=model.SerializeToString()),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"},
    )
    return lambda x: np.array(compiled(x)[0])
