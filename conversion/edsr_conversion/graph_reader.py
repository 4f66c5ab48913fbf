"""Reads a frozen TensorFlow graph into an Edsr, and says what is wrong when it is not one."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import GraphNotFoundError, InvalidGraphError, UnsupportedGraphError
from .graph_writer import INPUT_NODE, OUTPUT_NHWC_NODE
from .network import Block, Conv, Edsr
from .quantization import QuantizedTensor

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

SUPPORTED = (
    "Supported: EDSR as OpenCV's dnn_superres publishes it (EDSR_x2.pb, EDSR_x3.pb, EDSR_x4.pb), "
    "with any number of blocks and filters, 8-bit or float weights."
)
ADDITIONS = ("Add", "AddV2", "BiasAdd")


@dataclass(frozen=True)
class FrozenGraph:
    """A graph file that was read: where from, its bytes' identity, TensorFlow's form and ours."""

    path: Path
    sha256: str
    size_bytes: int
    quantized: bool
    definition: GraphDef
    network: Edsr


def read_graph(path: Path) -> FrozenGraph:
    """Read and understand a frozen graph.

    Raises:
        GraphNotFoundError: no such file.
        InvalidGraphError: not a frozen TensorFlow graph, truncated, or with weights that are not finite.
        UnsupportedGraphError: another architecture.
    """
    raw = read_bytes(path)
    definition = parse(raw, path)
    reader = _Reader(definition, path)
    network = reader.network()
    for name, conv in network.convolutions():
        if not (np.isfinite(conv.kernel).all() and np.isfinite(conv.bias).all()):
            raise InvalidGraphError(f"{path}: NaN or infinite weights in {name}. Export the model again.")
    return FrozenGraph(path, hashlib.sha256(raw).hexdigest(), len(raw), reader.quantized, definition, network)


def read_bytes(path: Path) -> bytes:
    """The file's bytes; a GraphNotFoundError that names the path if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise GraphNotFoundError(
            f"There is no graph at {path.absolute()}. "
            "EDSR_x3.pb: `make fetch`, or `make fetch PB=/path/to/EDSR_x3.pb` where there is no internet access."
        ) from None
    except OSError as error:
        raise GraphNotFoundError(f"Cannot read {path.absolute()}: {error.strerror}.") from None


def parse(raw: bytes, path: Path) -> GraphDef:
    """Parse a GraphDef, or raise InvalidGraphError saying what the bytes are instead, as far as can be told."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph = GraphDef()
    try:
        graph.ParseFromString(raw)
    except DecodeError:
        raise InvalidGraphError(
            f"{path} is not a frozen TensorFlow graph, or is truncated ({len(raw):,} bytes). Fetch or export it again."
        ) from None
    if not graph.node or not all(node.op and node.name for node in graph.node):
        raise InvalidGraphError(f"{path} is not a frozen TensorFlow graph: it holds no operations. {SUPPORTED}")
    if graph.library.function or graph.library.gradient:
        # A frozen EDSR has none, and TensorFlow dies of one that calls itself.
        raise UnsupportedGraphError(f"{path} holds functions ({_names(graph)}), which no EDSR has. {SUPPORTED}")
    return graph


def _names(graph: GraphDef) -> str:
    names = [function.signature.name for function in graph.library.function] or ["gradients"]
    return ", ".join(name[:40] for name in names[:3]) + (", ..." if len(names) > 3 else "")


class _Reader:
    """Walks from the output back to the input, checking at each step that the graph is an EDSR."""

    def __init__(self, graph: GraphDef, path: Path) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self._path = path
        self.quantized = False

    def network(self) -> Edsr:
        output = self._nodes.get(OUTPUT_NHWC_NODE)
        if output is None or INPUT_NODE not in self._nodes or output.op != "DepthToSpace":
            raise self._unsupported(f"no input {INPUT_NODE} or no DepthToSpace named {OUTPUT_NHWC_NODE}")
        if output.attr["data_format"].s not in (b"", b"NHWC"):
            raise self._unsupported("DepthToSpace is not NHWC")
        x, tail = self._conv(self._input(output, 0))
        head_node, x = self._skip(x)
        x, body_end = self._conv(x)
        blocks: list[Block] = []
        scales: set[float] = set()
        while x.name != head_node.name:
            if len(blocks) > len(self._nodes):
                raise InvalidGraphError(f"{self._path}: the graph has a cycle at {x.name}; it is damaged.")
            x, block, scale = self._block(x)
            blocks.append(block)
            scales.add(scale)
        source, head = self._conv(head_node)
        if source.name != INPUT_NODE:
            raise self._unsupported(f"the first convolution reads {source.name}, not {INPUT_NODE}")
        if len(scales) > 1:
            raise self._unsupported(f"blocks have different residual scales: {sorted(scales)}")
        network = Edsr(head, tuple(reversed(blocks)), body_end, tail, scales.pop() if scales else 1.0)
        self._check_shapes(network, int(output.attr["block_size"].i))
        return network

    def _check_shapes(self, network: Edsr, scale: int) -> None:
        channels = network.filters
        if scale < 2 or channels < 1:
            raise self._unsupported(f"a scale of {scale} and {channels} filters")
        for name, conv in network.convolutions():
            expected = (3 if name == "head" else channels, 3 * scale * scale if name == "tail" else channels)
            if conv.kernel.shape[2:] != expected:
                raise self._unsupported(f"{name} has {conv.kernel.shape[2:]} channels, expected {expected}")

    def _block(self, add: NodeDef) -> tuple[NodeDef, Block, float]:
        """A residual block that ends at `add`: (its input, its weights, its residual scale)."""
        if add.op not in ADDITIONS:
            raise self._unsupported(f"{add.name} is {add.op} where a residual block's Add was expected")
        wrong = ""
        for skip, branch in ((0, 1), (1, 0)):
            inner, scale = self._residual_scale(self._input(add, branch))
            if not self._is_conv(inner):
                continue
            relu, second = self._conv(inner)
            if relu.op != "Relu":
                wrong = wrong or f"{relu.name} is {relu.op} where Relu was expected"
                continue
            source, first = self._conv(self._input(relu, 0))
            if source.name == self._input(add, skip).name:
                return source, Block(first, second), scale
        raise self._unsupported(wrong or f"{add.name} does not close a residual block")

    def _residual_scale(self, node: NodeDef) -> tuple[NodeDef, float]:
        if node.op != "Mul":
            return node, 1.0
        for value, factor in ((0, 1), (1, 0)):
            if self._input(node, factor).op == "Const":
                constant = self._constant(self._input(node, factor))
                if constant.size == 1 and np.isfinite(constant).all():
                    return self._input(node, value), float(constant.item())
        raise self._unsupported(f"{node.name} does not multiply by one finite number")

    def _skip(self, add: NodeDef) -> tuple[NodeDef, NodeDef]:
        """The long skip connection: (the head's output, the body's end)."""
        if add.op in ADDITIONS and len(add.input) == 2:
            for head, end in ((0, 1), (1, 0)):
                node = self._input(add, head)
                if self._is_conv(node) and self._conv(node)[0].name == INPUT_NODE:
                    return node, self._input(add, end)
        raise self._unsupported("no skip connection from the first convolution to the last but one")

    def _is_conv(self, node: NodeDef) -> bool:
        return node.op in ADDITIONS and "Conv2D" in (self._input(node, 0).op, self._input(node, 1).op)

    def _conv(self, node: NodeDef) -> tuple[NodeDef, Conv]:
        """A convolution with bias that ends at `node`: (its input, its weights)."""
        if not self._is_conv(node):
            raise self._unsupported(f"{node.name} ({node.op}) is not a convolution with bias")
        at = 0 if self._input(node, 0).op == "Conv2D" else 1
        conv = self._input(node, at)
        if conv.attr["padding"].s != b"SAME" or set(conv.attr["strides"].list.i) != {1}:
            raise self._unsupported(f"{conv.name} is not a convolution with stride 1 and SAME padding")
        if conv.attr["data_format"].s not in (b"", b"NHWC") or set(conv.attr["dilations"].list.i) - {1}:
            raise self._unsupported(f"{conv.name} is not an undilated NHWC convolution")
        kernel, bias = self._constant(self._input(conv, 1)), self._constant(self._input(node, 1 - at))
        try:
            return self._input(conv, 0), Conv(kernel, bias)
        except ValueError as error:
            raise self._unsupported(f"{conv.name}: {error}") from None

    def _constant(self, node: NodeDef) -> NDArray[np.float32]:
        if node.op == "Dequantize":
            return self._dequantized(node)
        if node.op != "Const":
            raise self._unsupported(f"{node.name} is {node.op} where stored weights were expected")
        values = self._array(node)
        if values.dtype != np.float32:
            raise self._unsupported(f"{node.name} holds {values.dtype} where float32 was expected")
        return np.asarray(values, dtype=np.float32)

    def _dequantized(self, node: NodeDef) -> NDArray[np.float32]:
        from tensorflow import quint8

        if node.attr["mode"].s not in (b"", b"MIN_COMBINED", b"MIN_FIRST", b"SCALED"):
            raise self._unsupported(f"{node.name}: unknown Dequantize mode {node.attr['mode'].s!r}")
        if node.attr["mode"].s != b"MIN_FIRST" or node.attr["T"].type != quint8.as_datatype_enum:
            raise self._unsupported(f"{node.name}: only quint8 weights in mode MIN_FIRST are supported")
        values, low, high = (self._array(self._input(node, index)) for index in range(3))
        if low.dtype != np.float32 or high.dtype != np.float32 or values.dtype != quint8.as_numpy_dtype:
            raise self._unsupported(f"{node.name} is not quint8 with a float32 range")
        if low.shape != () or high.shape != () or not -np.inf < low <= high < np.inf:
            raise InvalidGraphError(f"{self._path}: {node.name} has an unusable range. Export the model again.")
        self.quantized = True
        return QuantizedTensor(values.view(np.uint8), low.item(), high.item()).dequantize()

    def _array(self, node: NodeDef) -> NDArray[Any]:
        from tensorflow import make_ndarray

        if node.op != "Const":
            raise self._unsupported(f"{node.name} is {node.op} where a constant was expected")
        try:
            array: NDArray[Any] = make_ndarray(node.attr["value"].tensor)
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
            raise InvalidGraphError(f"{self._path}: the constant {node.name} is damaged ({error}).") from None
        return array

    def _input(self, node: NodeDef, index: int) -> NodeDef:
        """The node that feeds an input, through any Identity."""
        for _ in self._nodes:
            try:
                node = self._nodes[node.input[index].split(":")[0]]
            except (KeyError, IndexError):
                raise InvalidGraphError(
                    f"{self._path}: an input of {node.name} is missing; the graph is damaged. Fetch or export it again."
                ) from None
            if node.op != "Identity":
                return node
            index = 0
        raise InvalidGraphError(f"{self._path}: the graph has a cycle at {node.name}; it is damaged.")

    def _unsupported(self, reason: str) -> UnsupportedGraphError:
        return UnsupportedGraphError(f"{self._path} is {self._guess()}, not a supported EDSR: {reason}. {SUPPORTED}")

    def _guess(self) -> str:
        operations = Counter(node.op for node in self._nodes.values())
        convolutions = operations["Conv2D"]
        if "Tanh" in operations and "DepthToSpace" in operations:
            return f"probably ESPCN ({convolutions} convolutions, Tanh)"
        if "Conv2DBackpropInput" in operations:
            return f"probably LapSRN or FSRCNN ({operations['Conv2DBackpropInput']} transposed convolutions)"
        if "Abs" in operations and "DepthToSpace" in operations:
            return f"probably FSRCNN ({convolutions} convolutions, PReLU)"
        names = ", ".join(sorted(set(operations) - {"Const", "Placeholder", "Identity"})[:8])
        return f"a graph of {len(self._nodes)} nodes ({names})"
