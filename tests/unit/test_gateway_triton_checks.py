"""What a request for inference must be before Triton sees a byte of it."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from edsr_gateway.errors import Problem
from edsr_gateway.triton.checks import Contract, Tensor, check
from hypothesis import given
from hypothesis import strategies as st

CONTRACT = Contract((Tensor("image", "UINT8", (-1, -1, -1, 3)),), ("upscaled",), 8)


def request(shape: Any = (1, 2, 2, 3), size: Any = 12, **more: Any) -> dict[str, Any]:
    tensor = {"name": "image", "shape": list(shape), "datatype": "UINT8", "parameters": {"binary_data_size": size}}
    return {"inputs": [tensor | more]}


def checked(message: Any, binary_bytes: int = 12) -> int:
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    return check(text, binary_bytes, CONTRACT).pixels


def test_what_stock_clients_send_is_sound() -> None:
    message = request() | {
        "id": "1",
        "parameters": {"binary_data_output": True, "timeout": 1000},
        "outputs": [{"name": "upscaled", "parameters": {"binary_data": True}}],
    }
    assert checked(message) == 4


def test_values_in_json_may_be_nested_or_flat() -> None:
    tensor = {"name": "image", "shape": [1, 1, 2, 3], "datatype": "UINT8"}
    for data in ([[[[1, 2, 3], [4, 5, 255]]]], [1, 2, 3, 4, 5, 255]):
        assert checked({"inputs": [tensor | {"data": data}]}, 0) == 2


@pytest.mark.parametrize(
    "shape",
    [
        [1, 1 << 20, 1 << 20, 3],
        [1, 2**40, 1, 3],
        [1, -2, -2, 3],
        [1, 0, 2, 3],
        [1, 2, 2, 4],
        [9, 1, 1, 3],
        [1, 2, 3],
        [1, 2.0, 2, 3],
        [1, "2", 2, 3],
        [1, True, 4, 3],
        [1, None, 2, 3],
        [1, 2, 2, 3, 1],
        [],
    ],
)
def test_no_shape_but_that_of_the_bytes_is_sound(shape: list[Any]) -> None:
    with pytest.raises(Problem) as raised:
        checked(request(shape))
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"inputs": NaN}',
        b'{"inputs": [], "inputs": []}',
        b'{"inputs": [{"name": "image", "shape": [1' + b"0" * 400 + b", 1, 1, 3]}]}",
        b'{"inputs": [{"name": "image", "shape": [1e308, 1, 1, 3], "datatype": "UINT8"}]}',
        {},
        {"inputs": []},
        {"inputs": request()["inputs"] * 2},
        request(name="other"),
        request(datatype="FP32"),
        request(datatype=["UINT8"]),
        request(size=11),
        request(size=-12),
        request(size=12.0),
        request(data=[1] * 12),
        request(parameters={}),
        request(parameters={"binary_data_size": 12, "shared_memory_region": "x"}),
        request(parameters={"binary_data_size": 12, "other": 1}),
        request(other=1),
        request() | {"other": 1},
        request() | {"id": 7},
        request() | {"id": "x" * 1000},
        request() | {"parameters": {"sequence_id": 1}},
        request() | {"parameters": {"timeout": -1}},
        request() | {"parameters": {"binary_data_output": "yes"}},
        request() | {"outputs": [{"name": "other"}]},
        request() | {"outputs": [{"name": "upscaled", "parameters": {"classification": 3}}]},
        request() | {"outputs": [{"name": "upscaled", "parameters": {"shared_memory_region": "x"}}]},
        request() | {"outputs": [{"name": "upscaled"}] * 2},
    ],
)
def test_whatever_is_not_of_the_protocol_is_refused(message: Any) -> None:
    with pytest.raises(Problem) as raised:
        checked(message)
    assert raised.value.status == 400


@pytest.mark.parametrize("data", [[1.5] * 12, [256] * 12, [-1] * 12, [True] * 12, ["1"] * 12, [1] * 11, 7, {}, [[]]])
def test_values_in_json_are_those_of_the_shape(data: Any) -> None:
    tensor = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": data}
    with pytest.raises(Problem):
        checked({"inputs": [tensor]}, 0)


def test_shared_memory_is_refused_by_name() -> None:
    with pytest.raises(Problem, match="Shared memory"):
        checked(request(parameters={"shared_memory_region": "x", "shared_memory_byte_size": 12}))


@given(
    st.lists(st.integers(-3, 6) | st.integers() | st.floats() | st.text() | st.none(), max_size=6),
    st.integers() | st.floats(),
    st.integers(0, 10_000),
)
def test_whatever_passes_has_a_shape_of_exactly_the_bytes_that_come(shape: list[Any], size: Any, comes: int) -> None:
    with contextlib.suppress(Problem):
        check(json.dumps(request(shape, size)).encode(), comes, CONTRACT)
        assert math.prod(shape) == size == comes
        assert all(side > 0 for side in shape)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON, st.sampled_from(["id", "parameters", "inputs", "outputs", "name", "shape", "datatype", "data"]))
def test_no_json_is_a_surprise(value: Any, where: str) -> None:
    message = request()
    (message if where in ("id", "parameters", "inputs", "outputs") else message["inputs"][0])[where] = value
    with contextlib.suppress(Problem):
        checked(message)
