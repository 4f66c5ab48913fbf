"""A change to the served graph that only OpenVINO needs: the end of it in integers.

The ONNX file adds the mean, rounds, clips, and moves pixels in float32, because TensorRT takes uint8 only at the very
end. On a CPU that is a tenth of the time. Here the last convolution writes uint8 itself (OpenVINO fuses the
quantisation into it) and the pixels are moved as bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# From the result back to the shuffling of pixels. Clip is read as a maximum and a minimum; a float16 body has a Convert
# before the float32 end.
TAIL = ("Result", "Convert", "Transpose", "Minimum", "Maximum", "Round", "Add", "Convert?")
SHUFFLE = "DepthToSpace"


class _Walk:
    """A walk through a graph against the flow of data; `constants` are those it passed, by the kind of operation."""

    def __init__(self, node: Any) -> None:
        self.node, self.matches = node, True
        self.constants: dict[str, NDArray[Any]] = {}

    def back_over(self, operation: str) -> _Walk:
        """Step to what `node` gets its data from, if it is this operation; "Convert?" may be missing."""
        kind = operation.removesuffix("?")
        if self.node.get_type_name() != kind:
            self.matches = self.matches and operation != kind
            return self
        sources = [value.get_node() for value in self.node.input_values()]
        constants = [node for node in sources if node.get_type_name() == "Constant"]
        others = [node for node in sources if node.get_type_name() != "Constant"]
        if constants:
            self.constants[kind] = constants[0].get_data()
        if others:
            self.node = others[0]
        return self


def answer_in_integers(model: Any) -> bool:
    """Let the last convolution of a serving graph write uint8; False, and nothing is changed, for any other graph.

    Rounding to even and clipping stay what they were. The sum with the mean is rounded once less, so a value that lies
    within float32's error of a half may become its other neighbour.

    Args:
        model: openvino.Model that ends in DepthToSpace, Add of the mean, Round, Clip, Transpose to NHWC, Cast to uint8.
    """
    from openvino import opset13 as op

    end = _Walk(model.get_results()[0])
    for operation in TAIL:
        end = end.back_over(operation)
    shuffle = end.node
    if not end.matches or shuffle.get_type_name() != SHUFFLE or shuffle.get_attributes().get("mode") != "blocks_first":
        return False
    mean_rgb = end.constants["Add"]
    scale = int(shuffle.get_attributes()["block_size"])
    mean = np.tile(mean_rgb.astype(np.float32).reshape(-1), scale * scale).reshape(1, -1, 1, 1)

    def scalar(value: float) -> Any:
        return op.constant(np.full((1, 1, 1, 1), value, np.float32))

    # The mean is in the limits and not added before: as a bias of the convolution it would be rounded to bfloat16.
    levels = op.fake_quantize(
        op.convert(shuffle.input_value(0), "f32"),
        op.constant(-mean),
        op.constant(255 - mean),
        scalar(0),
        scalar(255),
        256,
    )
    pixels = op.depth_to_space(op.convert(levels, "u8"), "blocks_first", scale)
    picture = op.transpose(pixels, op.constant(np.array([0, 2, 3, 1])))
    names = model.outputs[0].get_names()
    model.get_results()[0].input(0).replace_source_output(picture.output(0))
    model.outputs[0].get_tensor().set_names(names)
    model.validate_nodes_and_infer_types()
    return True
