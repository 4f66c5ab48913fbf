"""An Edsr as a frozen TensorFlow graph with the node names, operations and weight format of EDSR_x3.pb."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .network import Conv, Edsr
from .quantization import quantize

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

INPUT_NODE = "IteratorGetNext"
OUTPUT_NHWC_NODE = "NHWC_output"
OUTPUT_NCHW_NODE = "NCHW_output"
# quantize_weights leaves tensors below this number of values alone: biases, in practice.
QUANTIZED_FROM_SIZE = 1024


def graph_def(network: Edsr, *, quantized: bool, fuse_bias: bool = False) -> GraphDef:
    """Write `network` as a GraphDef.

    Args:
        network: the weights.
        quantized: store each filter of 1024 values and more as quint8 and a `Dequantize`; else as float32.
        fuse_bias: add biases by `BiasAdd`, which converters fuse into the convolution; the published graphs use `Add`.

    Raises:
        ValueError: a weight is not finite and `quantized` is set.
    """
    writer = _Writer(quantized, "BiasAdd" if fuse_bias else "Add")
    convolutions = iter(named_convolutions(network))
    head = writer.conv(writer.placeholder(INPUT_NODE), *next(convolutions))
    x = head
    for index in range(len(network.blocks)):
        inner = writer.conv(x, *next(convolutions))
        inner = writer.node("Relu", f"Relu_{index}", [inner])
        inner = writer.conv(inner, *next(convolutions))
        if network.residual_scale != 1:
            factor = writer.constant(f"mul_{index}/y", np.float32(network.residual_scale))
            inner = writer.node("Mul", f"mul_{index}", [inner, factor])
        x = writer.node("Add", f"residual_{index}", [x, inner])
    x = writer.conv(x, *next(convolutions))
    x = writer.node("Add", "long_skip", [x, head])
    x = writer.conv(x, *next(convolutions))
    x = writer.depth_to_space(x, network.scale)
    order = writer.constant(f"{OUTPUT_NCHW_NODE}/perm", np.array([0, 3, 1, 2], np.int32))
    writer.node("Transpose", OUTPUT_NCHW_NODE, [x, order], Tperm="int32")
    return writer.graph


def named_convolutions(network: Edsr) -> Iterator[tuple[str, str, Conv]]:
    """Yield (name of the filter, name of the bias, convolution) from input to output, as the published graphs do."""
    yield "resFilter_one", "BiasOne", network.head
    for index, block in enumerate(network.blocks):
        yield f"resFilter{2 * index}", f"resBias{2 * index}", block.first
        yield f"resFilter{2 * index + 1}", f"resBias{2 * index + 1}", block.second
    yield "resFilter_two", "BiasTwo", network.body_end
    yield "resFilter_three", "BiasThree", network.tail


class _Writer:
    """Appends nodes to a GraphDef; every method returns the name of the node that holds the result."""

    def __init__(self, quantized: bool, bias_operation: str) -> None:
        from tensorflow.core.framework.graph_pb2 import GraphDef

        self.graph = GraphDef()
        self.graph.versions.producer = 27  # TensorFlow 1.14, which wrote the published graphs
        self._quantized = quantized
        self._bias_operation = bias_operation

    def node(self, operation: str, name: str, inputs: list[str], **types: str) -> str:
        from tensorflow import as_dtype

        node = self.graph.node.add(op=operation, name=name, input=inputs)
        for key, dtype in {"T": "float32", **types}.items():
            node.attr[key].type = as_dtype(dtype).as_datatype_enum
        return name

    def placeholder(self, name: str) -> str:
        self.node("Placeholder", name, [], dtype="float32")
        node = self.graph.node[-1]
        del node.attr["T"]
        for size in (-1, -1, -1, 3):
            node.attr["shape"].shape.dim.add(size=size)
        return name

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        import tensorflow as tf

        node = self.graph.node.add(op="Const", name=name)
        proto = tf.make_tensor_proto(value, dtype=dtype)
        node.attr["dtype"].type = proto.dtype
        node.attr["value"].tensor.CopyFrom(proto)
        return name

    def weights(self, name: str, values: NDArray[np.float32]) -> str:
        if not self._quantized or values.size < QUANTIZED_FROM_SIZE:
            return self.constant(name, values)
        stored = quantize(values)
        import tensorflow as tf

        inputs = [
            self.constant(f"{name}_quantized_const", stored.values.astype(tf.quint8.as_numpy_dtype), tf.quint8),
            self.constant(f"{name}_quantized_min", np.float32(stored.minimum)),
            self.constant(f"{name}_quantized_max", np.float32(stored.maximum)),
        ]
        self.node("Dequantize", name, inputs, T="quint8")
        self.graph.node[-1].attr["mode"].s = b"MIN_FIRST"
        return name

    def conv(self, x: str, kernel_name: str, bias_name: str, conv: Conv) -> str:
        kernel = self.weights(kernel_name, conv.kernel)
        bias = self.constant(bias_name, conv.bias)
        result = self.node("Conv2D", f"Conv2D_{kernel_name}", [x, kernel])
        node = self.graph.node[-1]
        node.attr["strides"].list.i.extend([1, 1, 1, 1])
        node.attr["dilations"].list.i.extend([1, 1, 1, 1])
        node.attr["padding"].s = b"SAME"
        node.attr["data_format"].s = b"NHWC"
        return self.node(self._bias_operation, f"add_{bias_name}", [result, bias])

    def depth_to_space(self, x: str, scale: int) -> str:
        self.node("DepthToSpace", OUTPUT_NHWC_NODE, [x])
        node = self.graph.node[-1]
        node.attr["block_size"].i = scale
        node.attr["data_format"].s = b"NHWC"
        return OUTPUT_NHWC_NODE
