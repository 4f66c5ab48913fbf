"""The ONNX graph that is served: a float body wrapped in the uint8 RGB NHWC contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import ConversionError
from .graph_writer import INPUT_NODE, OUTPUT_NHWC_NODE, graph_def, named_convolutions
from .network import MEAN_BGR, Edsr
from .synthetic import random_network

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

INPUT, OUTPUT = "image", "upscaled"
OPSET = 17
SKELETON_FILTERS = 8
BODY_INPUT, BODY_OUTPUT = "body_input", "body_output"
CONSTANTS = ("mean_rgb", "black", "white")


def body_model(network: Edsr) -> ModelProto:
    """Convert the float body with tf2onnx: float32 [N, 3, H, W] in, float32 [N, 3, scale H, scale W] out.

    Channels stay in the order of `network`. The residual scale is folded into the weights, so that only Conv, Relu,
    Add and DepthToSpace remain.

    tf2onnx copies all weights in each of its passes: 12 GiB and 46 s for 32 blocks of 256 filters. So it converts the
    same graph with few filters, and the weights are put in afterwards, by name; parity proves the result.
    """
    import tf2onnx

    skeleton = random_network(len(network.blocks), SKELETON_FILTERS, network.scale)
    definition = graph_def(skeleton.fold_residual_scale(), quantized=False, fuse_bias=True)
    model, _ = tf2onnx.convert.from_graph_def(
        definition,
        input_names=[f"{INPUT_NODE}:0"],
        output_names=[f"{OUTPUT_NHWC_NODE}:0"],
        inputs_as_nchw=[f"{INPUT_NODE}:0"],
        outputs_as_nchw=[f"{OUTPUT_NHWC_NODE}:0"],
        opset=OPSET,
    )
    _rename(model.graph, {model.graph.input[0].name: BODY_INPUT, model.graph.output[0].name: BODY_OUTPUT})
    _fill_in(model.graph, network.fold_residual_scale())
    return model


def serving_model(body: ModelProto, scale: int, name: str) -> ModelProto:
    """Wrap a body that takes RGB: `image` uint8 [N, H, W, 3] -> `upscaled` uint8 [N, scale H, scale W, 3].

    Cast before transpose on the way in and after it on the way out: TensorRT takes uint8 only next to a Cast.
    The mean is subtracted, not folded into the first bias: zero padding stands for mean grey, at every border.
    Round halves to even and clip before the cast, which truncates and is undefined outside 0..255.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    mean_rgb = np.array(MEAN_BGR[::-1], np.float32).reshape(1, 3, 1, 1)
    constants = dict(zip(CONSTANTS, (mean_rgb, np.float32(0), np.float32(255)), strict=True))

    def node(operation: str, inputs: list[str], output: str, **attributes: object) -> NodeProto:
        return helper.make_node(operation, inputs, [output], name=f"serve_{output}", **attributes)

    before = [
        node("Cast", [INPUT], "image_float", to=TensorProto.FLOAT),
        node("Transpose", ["image_float"], "image_nchw", perm=[0, 3, 1, 2]),
        node("Sub", ["image_nchw", "mean_rgb"], BODY_INPUT),
    ]
    after = [
        node("Add", [BODY_OUTPUT, "mean_rgb"], "pixels"),
        node("Round", ["pixels"], "rounded"),
        node("Clip", ["rounded", "black", "white"], "clipped"),
        node("Transpose", ["clipped"], "clipped_nhwc", perm=[0, 2, 3, 1]),
        node("Cast", ["clipped_nhwc"], OUTPUT, to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        [*before, *body.graph.node, *after],
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.UINT8, ["N", f"{scale}*H", f"{scale}*W", 3])],
        initializer=[
            *body.graph.initializer,
            *(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _fill_in(graph: GraphProto, network: Edsr) -> None:
    """Replace every initializer by the weights of that name: kernels OIHW, biases as they are."""
    from onnx import numpy_helper

    weights: dict[str, NDArray[np.float32]] = {}
    for kernel_name, bias_name, conv in named_convolutions(network):
        weights[f"{kernel_name}:0"] = np.ascontiguousarray(conv.kernel.transpose(3, 2, 0, 1))
        weights[f"{bias_name}:0"] = conv.bias
    if {tensor.name for tensor in graph.initializer} != weights.keys():
        raise ConversionError("tf2onnx gave other weights than expected. Install the versions of constraints.txt.")
    for tensor in graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
