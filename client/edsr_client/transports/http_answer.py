"""An answer over HTTP, read from the socket straight into the array that is returned.

tritonclient reads an answer into a list of pieces, joins them, and slices the join: three times the memory of the
picture, most of it fetched anew from the system for every request. For a large tile that costs more than sending it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"
LONGEST_HEADER = 1 << 20


class MalformedAnswerError(ValueError):
    """The answer is not what KServe's protocol with its binary tensor extension says."""


async def read_output(response: Any, name: str) -> NDArray[np.uint8] | None:
    """The output of that name, of the shape that the answer states; None if the answer has no such output.

    Args:
        response: aiohttp.ClientResponse with status 200, its body not read yet.
        name: of a UINT8 output that was asked for in binary form.

    Raises:
        MalformedAnswerError: it makes no sense.
        aiohttp.ClientError: the connection was lost.
    """
    length = response.headers.get(HEADER_LENGTH, "")
    if not length.isdigit() or not 0 < int(length) <= LONGEST_HEADER:
        raise MalformedAnswerError(f"{HEADER_LENGTH} is {length or 'missing'}")
    outputs = _outputs(await _read(response.content, int(length)))
    found = None
    for output in outputs:
        size = _size(output)
        array = await _read(response.content, size)
        if output.get("name") == name:
            found = array.reshape(_shape(output, size))
    return found


async def _read(stream: Any, size: int) -> NDArray[np.uint8]:
    """The next `size` bytes of an aiohttp.StreamReader."""
    try:
        target = np.empty(size, np.uint8)
    except (MemoryError, ValueError):
        raise MalformedAnswerError(f"it promises {size:,} bytes") from None
    view, at = target.data, 0
    while at < size:
        piece = await stream.read(size - at)
        if not piece:
            raise MalformedAnswerError(f"it ends after {at:,} of {size:,} bytes")
        view[at : at + len(piece)] = piece
        at += len(piece)
    return target


def _outputs(header: NDArray[np.uint8]) -> list[Mapping[str, Any]]:
    try:
        outputs = json.loads(header.tobytes())["outputs"]
    except (ValueError, KeyError, TypeError):
        raise MalformedAnswerError("its header is not JSON with outputs") from None
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise MalformedAnswerError("its outputs are no list of objects")
    return outputs


def _size(output: Mapping[str, Any]) -> int:
    parameters = output.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if not isinstance(size, int) or size < 0:
        raise MalformedAnswerError(f"the output {output.get('name')!r} has no binary_data_size")
    return size


def _shape(output: Mapping[str, Any], size: int) -> tuple[int, ...]:
    shape = output.get("shape")
    if not isinstance(shape, list) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise MalformedAnswerError(f"the shape of {output.get('name')!r} is {shape!r}")
    if output.get("datatype") != "UINT8" or int(np.prod(shape, dtype=object)) != size:
        raise MalformedAnswerError(f"{output.get('name')!r} is {output.get('datatype')} {shape} in {size:,} bytes")
    return tuple(shape)
