"""Conversions of tiny graphs of the published form, against TensorFlow; and everything that is not such a graph."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edsr_conversion import (
    CatalogueError,
    Conv,
    GraphNotFoundError,
    InvalidGraphError,
    ParityError,
    UnsupportedGraphError,
    convert,
    graph_def,
    load_models,
    random_network,
    read_graph,
)
from edsr_conversion.network import MEAN_BGR
from edsr_conversion.parity import Parity, to_uint8
from edsr_conversion.quantization import QuantizedTensor, quantize
from edsr_conversion.runtimes import openvino_runner, tensorflow_runner

WriteGraph = Callable[..., Path]


def test_dequantisation_is_tensorflows_own() -> None:
    import tensorflow as tf

    random = np.random.default_rng(1)
    ranges = [
        (-0.5, 0.5),
        (-0.123, 0.0456),
        (0.0, 1.0),
        (0.1, 0.7),
        (-0.9, -0.2),
        (-1e-6, 3e-6),
        (0.25, 0.25),
        (-3, 40),
    ]
    for low, high in ranges:
        values = random.integers(0, 256, (7, 11), dtype=np.uint8)
        stored = tf.constant(values.astype(tf.quint8.as_numpy_dtype), tf.quint8)
        expected = tf.raw_ops.Dequantize(input=stored, min_range=low, max_range=high, mode="MIN_FIRST").numpy()
        got = QuantizedTensor(values, low, high).dequantize()
        np.testing.assert_allclose(got, expected, atol=4e-7 * max(abs(low), abs(high)), rtol=1e-6)


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_graph_is_read_back_as_it_was_written(write_graph: WriteGraph, quantized: bool, scale: int) -> None:
    network = random_network(2, 12, scale)
    graph = read_graph(write_graph(network, quantized))
    assert graph.quantized is quantized
    assert (len(graph.network.blocks), graph.network.filters, graph.network.scale) == (2, 12, scale)
    assert graph.network.residual_scale == pytest.approx(0.1)
    kernel = network.blocks[1].second.kernel
    expected = quantize(kernel).dequantize() if quantized else kernel
    np.testing.assert_array_equal(graph.network.blocks[1].second.kernel, expected)
    np.testing.assert_array_equal(graph.network.tail.bias, network.tail.bias)


@pytest.mark.parametrize("blocks", [0, 1, 3])
@pytest.mark.parametrize("quantized", [True, False])
def test_a_converted_model_answers_as_tensorflow_for_any_shape(
    tmp_path: Path, write_graph: WriteGraph, blocks: int, quantized: bool
) -> None:
    graph = read_graph(write_graph(random_network(blocks, 16, seed=blocks), quantized))
    conversion = convert(graph, tmp_path / "out", "tiny")
    assert conversion.built
    served = openvino_runner(onnx.load(conversion.model))
    original = tensorflow_runner(graph.definition, "IteratorGetNext", "NCHW_output")
    mean = np.array(MEAN_BGR, np.float32)
    random = np.random.default_rng(5)
    for shape in ((1, 1, 1, 3), (3, 7, 2, 3), (1, 31, 40, 3)):
        image = random.integers(0, 256, shape, dtype=np.uint8)
        expected = original(image[..., ::-1].astype(np.float32) - mean).transpose(0, 2, 3, 1) + mean
        difference = np.abs(to_uint8(expected)[..., ::-1].astype(int) - served(image))
        assert difference.max() <= 1
        assert difference.mean() < 1e-2


def test_the_onnx_holds_the_contract_and_few_operations(tmp_path: Path, write_graph: WriteGraph) -> None:
    model = onnx.load(convert(read_graph(write_graph(random_network(1, 8))), tmp_path, "tiny").model)
    assert {node.op_type for node in model.graph.node} == {
        *("Add", "Cast", "Clip", "Conv", "DepthToSpace", "Relu", "Round", "Sub", "Transpose"),
    }
    (image,), (upscaled,) = model.graph.input, model.graph.output
    assert (image.name, upscaled.name) == ("image", "upscaled")
    for value in (image, upscaled):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert value.type.tensor_type.shape.dim[3].dim_value == 3


def test_the_sidecar_says_what_made_the_model(tmp_path: Path, write_graph: WriteGraph) -> None:
    graph = read_graph(write_graph(random_network(1, 8)))
    conversion = convert(graph, tmp_path / "out", "tiny")
    sidecar = json.loads((tmp_path / "out" / "model.json").read_text("utf-8"))
    assert sidecar == conversion.sidecar
    assert sidecar["source"] == {"file": "tiny.pb", "sha256": graph.sha256, "quantized": True}
    assert (sidecar["network"]["blocks"], sidecar["network"]["filters"], sidecar["precision"]) == (1, 8, "fp32")
    assert sidecar["parity"]["inputs"] == 10
    assert {"tensorflow-cpu", "tf2onnx", "onnx", "openvino"} <= sidecar["versions"].keys()


def test_a_second_conversion_does_nothing_and_a_damaged_one_is_done_again(
    tmp_path: Path, write_graph: WriteGraph
) -> None:
    graph = read_graph(write_graph(random_network(1, 8)))
    first = convert(graph, tmp_path / "out", "tiny")
    good = first.model.read_bytes()
    assert not convert(graph, tmp_path / "out", "tiny").built
    first.model.write_bytes(good[:-1])
    assert convert(graph, tmp_path / "out", "tiny").built
    assert first.model.read_bytes() == good
    (tmp_path / "out" / "model.json").unlink()
    assert convert(graph, tmp_path / "out", "tiny").built


def test_a_model_that_does_not_match_is_not_written(
    tmp_path: Path, write_graph: WriteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The definition TensorFlow runs has other weights than the network that is converted."""
    graph = read_graph(write_graph(random_network(1, 8)))
    other = dataclasses.replace(graph, network=random_network(1, 8, seed=99))
    with pytest.raises(ParityError, match="Nothing was written"):
        convert(other, tmp_path / "out", "tiny")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "parity",
    [
        Parity(1, 1, 2e-3, 0, 0),
        Parity(1, 1, float("nan"), 0, 0),
        Parity(1, 1, 0, 2, 0),
        Parity(1, 1, 0, 1, 2e-3),
    ],
)
def test_each_bound_of_parity_is_enforced(parity: Parity) -> None:
    with pytest.raises(ParityError):
        parity.check()


def test_a_missing_graph_says_where_it_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(GraphNotFoundError, match=f"{tmp_path}.*make fetch"):
        read_graph(tmp_path / "EDSR_x3.pb")
    with pytest.raises(GraphNotFoundError, match="directory"):
        read_graph(tmp_path)


def test_what_is_no_graph_is_refused(tmp_path: Path, write_graph: WriteGraph) -> None:
    whole = write_graph(random_network(1, 16)).read_bytes()
    bad = tmp_path / "bad.pb"
    for content in (b"", b"hello", b"\x89PNG\r\n", bytes(1000), whole[: len(whole) // 2], whole[:-1], whole[100:]):
        bad.write_bytes(content)
        with pytest.raises((InvalidGraphError, UnsupportedGraphError), match=r"bad\.pb"):
            read_graph(bad)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(write_graph: WriteGraph, value: float) -> None:
    network = random_network(1, 8)
    kernel = network.body_end.kernel.copy()
    kernel[1, 1, 0, 0] = value
    broken = dataclasses.replace(network, body_end=Conv(kernel, network.body_end.bias))
    with pytest.raises(InvalidGraphError, match="NaN or infinite weights in body end"):
        read_graph(write_graph(broken, quantized=False))


def test_an_unusable_quantisation_range_is_refused(tmp_path: Path) -> None:
    definition = graph_def(random_network(0, 64), quantized=True)
    for node in definition.node:
        if node.name == "resFilter_two_quantized_max":
            node.attr["value"].tensor.float_val[:] = [float("nan")]
            node.attr["value"].tensor.ClearField("tensor_content")
    (tmp_path / "range.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(InvalidGraphError, match="unusable range"):
        read_graph(tmp_path / "range.pb")


def espcn() -> object:
    """A graph with the operations of ESPCN_x3.pb."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, (None, None, None, 1), name="IteratorGetNext")
        for channels_in, channels in ((1, 8), (8, 8)):
            x = tf.tanh(tf.nn.conv2d(x, tf.zeros((3, 3, channels_in, channels)), 1, "SAME"))
        x = tf.nn.conv2d(x, tf.zeros((3, 3, 8, 9)), 1, "SAME")
        tf.nn.depth_to_space(x, 3, name="NHWC_output")
        return graph.as_graph_def()


def edited(change: Callable[[object], None]) -> object:
    definition = graph_def(random_network(1, 8), quantized=False)
    for node in definition.node:
        change(node)
    return definition


def to_tanh(node) -> None:  # type: ignore[no-untyped-def]
    if node.op == "Relu":
        node.op = "Tanh"


def to_valid_padding(node) -> None:  # type: ignore[no-untyped-def]
    if node.op == "Conv2D":
        node.attr["padding"].s = b"VALID"


def without_skip(node) -> None:  # type: ignore[no-untyped-def]
    if node.name == "long_skip":
        node.input[1] = node.input[0]


def renamed_output(node) -> None:  # type: ignore[no-untyped-def]
    if node.op == "DepthToSpace":
        node.op = "Elu"


def to_integers(node) -> None:  # type: ignore[no-untyped-def]
    if node.name == "resBias0":
        import tensorflow as tf

        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.zeros(8, np.int32)))


def test_a_graph_tensorflow_does_not_take_is_refused(tmp_path: Path) -> None:
    definition = graph_def(random_network(1, 8), quantized=False)
    definition.node.add(op="NoSuchOperation", name="stranger")
    (tmp_path / "odd.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(InvalidGraphError, match="NoSuchOperation"):
        convert(read_graph(tmp_path / "odd.pb"), tmp_path / "out", "odd")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("swapped", ["residual_0", "residual_1", "mul_0", "long_skip"])
def test_operands_may_stand_in_either_order(tmp_path: Path, swapped: str) -> None:
    definition = graph_def(random_network(2, 8), quantized=False)
    for node in definition.node:
        if node.name == swapped:
            node.input[:] = list(reversed(node.input))
    (tmp_path / "swapped.pb").write_bytes(definition.SerializeToString())
    assert len(read_graph(tmp_path / "swapped.pb").network.blocks) == 2


def test_one_filter_is_enough(tmp_path: Path, write_graph: WriteGraph) -> None:
    assert convert(read_graph(write_graph(random_network(1, 1))), tmp_path / "out", "tiny").built


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (espcn, "probably ESPCN"),
        (lambda: edited(to_tanh), "Tanh where Relu"),
        (lambda: edited(to_valid_padding), "SAME padding"),
        (lambda: edited(without_skip), "skip connection"),
        (lambda: edited(renamed_output), "no DepthToSpace"),
        (lambda: edited(to_integers), "int32 where float32"),
    ],
)
def test_another_architecture_is_named_and_the_supported_ones_are_said(
    tmp_path: Path, make: Callable[[], object], words: str
) -> None:
    (tmp_path / "other.pb").write_bytes(make().SerializeToString())  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedGraphError, match=words) as caught:
        read_graph(tmp_path / "other.pb")
    assert "EDSR_x3.pb" in str(caught.value)


def test_a_graph_with_an_input_missing_is_damaged(tmp_path: Path) -> None:
    definition = graph_def(random_network(1, 8), quantized=False)
    kept = [node for node in definition.node if node.name != "resFilter1"]
    del definition.node[:]
    definition.node.extend(kept)
    (tmp_path / "gap.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(InvalidGraphError, match="missing"):
        read_graph(tmp_path / "gap.pb")


@pytest.mark.parametrize("operation", ["Identity", "Add"])
def test_a_cycle_ends_with_an_error(tmp_path: Path, operation: str) -> None:
    definition = graph_def(random_network(2, 8), quantized=False)
    for node in definition.node:
        if node.name == "residual_0":
            node.op = operation
            node.input[0] = "residual_1" if operation == "Add" else node.name
    (tmp_path / "cycle.pb").write_bytes(definition.SerializeToString())
    with pytest.raises((InvalidGraphError, UnsupportedGraphError)):
        read_graph(tmp_path / "cycle.pb")


def test_the_embedded_graph_has_the_published_form(root: Path) -> None:
    graph = read_graph(root / "models" / "edsr_baseline_x3.pb")
    load_models(root)["edsr_baseline_x3"].check(graph)
    nodes = {node.name: node for node in graph.definition.node}
    assert nodes["IteratorGetNext"].op == "Placeholder"
    assert nodes["NHWC_output"].op == "DepthToSpace"
    assert nodes["NCHW_output"].op == "Transpose"
    dequantized = [node for node in graph.definition.node if node.op == "Dequantize"]
    assert len(dequantized) == 2 * 16 + 3
    assert {node.attr["mode"].s for node in dequantized} == {b"MIN_FIRST"}
    assert graph.network.residual_scale == pytest.approx(0.1)
    assert graph.network.tail.kernel.shape == (3, 3, 64, 27)


def test_a_listed_graph_with_another_hash_is_refused(root: Path, write_graph: WriteGraph) -> None:
    with pytest.raises(CatalogueError, match=r"models\.toml promises"):
        load_models(root)["edsr_baseline_x3"].check(read_graph(write_graph(random_network(1, 8))))
