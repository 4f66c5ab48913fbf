"""Whether a request for inference is what the model takes; pure.

Triton 24.10 believes what a request says of its shape. One that promises terabytes ends it, or its backend. So nothing
reaches it here unless the bytes that come are those that the shape promises.

Format: the predict protocol of KServe, version 2, with Triton's binary tensor data extension.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import Problem

MOST_HEADER_BYTES = 64 * 1024
# A tensor in JSON is a Python object for each value while it is checked.
MOST_JSON_BYTES = 8 << 20
MOST_ID = 256
MOST_SIDE = 1 << 20
_MOST_DIGITS = 18
_SHARED_MEMORY = "Shared memory is for programs on the server's machine; send the tensor in the request."
_KEYS = ("id", "parameters", "inputs", "outputs")
_BYTES_OF = {"UINT8": 1, "INT8": 1, "FP16": 2, "FP32": 4}


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model: `shape` has -1 where any size goes, the batch first where there is one."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contract:
    """What a model takes and gives, as its metadata and configuration say.

    Attributes:
        max_batch: 0 if the model has no dimension for batches.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    max_batch: int

    @staticmethod
    def of(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> Contract:
        """Of what Triton answers for a model and its configuration.

        Raises:
            LookupError, TypeError, ValueError: it is none of ours.
        """
        inputs = tuple(
            Tensor(str(one["name"]), str(one["datatype"]), tuple(int(side) for side in one["shape"]))
            for one in metadata["inputs"]
        )
        outputs = tuple(str(one["name"]) for one in metadata["outputs"])
        return Contract(inputs, outputs, int(config.get("max_batch_size", 0)))


@dataclass(frozen=True)
class Proved:
    """A sound request.

    Attributes:
        pixels: LR pixels in all, of the whole batch.
        binary_bytes: that follow the JSON.
    """

    pixels: int
    binary_bytes: int


def check(text: bytes, binary_bytes: int, contract: Contract) -> Proved:
    """Prove a request sound.

    Args:
        text: its JSON.
        binary_bytes: that come after the JSON.
        contract: of the model.

    Raises:
        Problem: 400, and what is wrong with it.
    """
    request = _object(_loaded(text), "The request", _KEYS)
    if not isinstance(request.get("id", ""), str) or len(request.get("id", "")) > MOST_ID:
        _refuse(f"id is a text of at most {MOST_ID} letters.")
    _check_parameters(request.get("parameters", {}), "The request", ("binary_data_output", "timeout"))
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != len(contract.inputs):
        _refuse(f"inputs is a list of {len(contract.inputs)}: {', '.join(one.name for one in contract.inputs)}.")
    known = {one.name: one for one in contract.inputs}
    pixels = binary = 0
    seen = set()
    for one in inputs:
        given = _object(one, "An input", ("name", "shape", "datatype", "parameters", "data"))
        name = given.get("name")
        if not isinstance(name, str) or name not in known or name in seen:
            _refuse(f"An input of this model is named {' or '.join(known)}, once, not {_short(name)}.")
        seen.add(name)
        found, came = _check_input(given, known[name], contract.max_batch)
        pixels, binary = pixels + found, binary + came
    _check_outputs(request.get("outputs", []), contract.outputs)
    if binary != binary_bytes:
        _refuse(f"The inputs say that {binary:,} bytes follow, and {binary_bytes:,} do.")
    return Proved(pixels, binary)


def _check_input(given: Mapping[str, Any], tensor: Tensor, max_batch: int) -> tuple[int, int]:
    """LR pixels, and binary bytes, of one input."""
    name = tensor.name
    if given.get("datatype") != tensor.datatype:
        _refuse(f"The datatype of {name} is {tensor.datatype}, not {_short(given.get('datatype'))}.")
    shape = given.get("shape")
    if not isinstance(shape, list) or len(shape) != len(tensor.shape):
        _refuse(f"The shape of {name} has {len(tensor.shape)} whole numbers.")
    for side, wanted in zip(shape, tensor.shape, strict=True):
        if type(side) is not int or not 1 <= side <= MOST_SIDE or wanted not in (-1, side):
            _refuse(
                f"The shape of {name} is {list(tensor.shape)} with sides from 1 to {MOST_SIDE:,}, not {_short(shape)}."
            )
    if max_batch and shape[0] > max_batch:
        _refuse(f"A batch has at most {max_batch}, not {shape[0]:,}.")
    size = math.prod(shape) * _BYTES_OF.get(tensor.datatype, 0)
    if not size:
        _refuse(f"The datatype {tensor.datatype} is not passed on.")
    pixels = math.prod(shape) // shape[-1]
    parameters = _check_parameters(given.get("parameters", {}), f"The input {name}", ("binary_data_size",))
    binary = parameters.get("binary_data_size")
    if ("data" in given) == (binary is not None):
        _refuse(f"The input {name} comes either as data, or as binary_data_size bytes after the JSON.")
    if binary is not None:
        if type(binary) is not int or binary != size:
            _refuse(f"The shape of {name} promises {size:,} bytes, and binary_data_size is {_short(binary)}.")
        return pixels, size
    count = _count_values(given["data"], name)
    if count != math.prod(shape):
        _refuse(f"The shape of {name} promises {math.prod(shape):,} values, and data has {count:,}.")
    return pixels, 0


def _count_values(data: object, name: str) -> int:
    """How many values from 0 to 255 there are in a list, nested or not."""
    if not isinstance(data, list):
        _refuse(f"The data of {name} is a list.")
    count, left = 0, [data]
    while left:
        for value in left.pop():
            if isinstance(value, list):
                left.append(value)
            elif type(value) is int and 0 <= value <= 255:
                count += 1
            else:
                _refuse(f"The data of {name} are whole numbers from 0 to 255, not {_short(value)}.")
    return count


def _check_outputs(outputs: object, known: Sequence[str]) -> None:
    if not isinstance(outputs, list) or len(outputs) > len(known):
        _refuse(f"outputs is a list of at most {len(known)}: {', '.join(known)}.")
    for one in outputs:
        given = _object(one, "An output", ("name", "parameters"))
        if given.get("name") not in known:
            _refuse(f"An output of this model is named {' or '.join(known)}, not {_short(given.get('name'))}.")
        _check_parameters(given.get("parameters", {}), "An output", ("binary_data",))


def _check_parameters(given: object, where: str, allowed: Sequence[str]) -> Mapping[str, Any]:
    parameters = _object(given, f"{where}: parameters", None)
    for name, value in parameters.items():
        if name.startswith("shared_memory"):
            _refuse(_SHARED_MEMORY)
        if name not in allowed:
            there = ", ".join(allowed)
            _refuse(f"{where} has the parameter {_short(name)}; passed on are: {there}.")
        is_flag = name in ("binary_data", "binary_data_output")
        if is_flag and type(value) is not bool:
            _refuse(f"{name} is true or false.")
        if name == "timeout" and (type(value) is not int or value < 0):
            _refuse("timeout is a whole number of microseconds.")
    return parameters


def _object(given: object, where: str, keys: Sequence[str] | None) -> dict[str, Any]:
    if not isinstance(given, dict):
        _refuse(f"{where} is an object of JSON.")
    for key in given:
        if keys is not None and key not in keys:
            _refuse(f"{where} has the member {_short(key)}; there are: {', '.join(keys)}.")
    return given


def _loaded(text: bytes) -> object:
    try:
        return json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=lambda word: _refuse(f"{word} is no number."),
            parse_int=_bounded,
        )
    except (ValueError, RecursionError):
        _refuse("The request is no JSON that can be read.")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("The request has a member twice.")
    return found


def _bounded(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        _refuse("The request has a number that is too large.")
    return int(digits)


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(detail: str) -> NoReturn:
    raise Problem(400, detail)
