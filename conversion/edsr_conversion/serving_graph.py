"""The ONNX graph that is served: a float body wrapped in the uint8 RGB NHWC contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .network import MEAN_BGR, Edsr

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

INPUT, OUTPUT = "image", "upscaled"
OPSET = 17
BODY_INPUT, BODY_OUTPUT = "body_input", "body_output"


def body_model(network: Edsr) -> ModelProto:
    """Convert the float body with tf2onnx: float32 [N, 3, H, W] in, float32 [N, 3, scale H, scale W] out.

    Channels stay in the order of `network`. Only Conv, Relu, Add and DepthToSpace remain.
    """
    import tf2onnx

    from .graph_writer import INPUT_NODE, OUTPUT_NHWC_NODE, graph_def

    definition = graph_def(network, quantized=False, fuse_bias=True)
    model, _ = tf2onnx.convert.from_graph_def(
        definition,
        input_names=[f"{INPUT_NODE}:0"],
        output_names=[f"{OUTPUT_NHWC_NODE}:0"],
        inputs_as_nchw=[f"{INPUT_NODE}:0"],
        outputs_as_nchw=[f"{OUTPUT_NHWC_NODE}:0"],
        opset=OPSET,
    )
    _rename(model.graph, {model.graph.input[0].name: BODY_INPUT, model.graph.output[0].name: BODY_OUTPUT})
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
    constants = {"mean_rgb": mean_rgb, "black": np.float32(0), "white": np.float32(255)}

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


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
