"""An answer over HTTP, read from the socket straight into the array that is returned; never more than was asked for.

tritonclient reads an answer into a list of pieces, joins them, and slices the join: three times the memory of the
picture, most of it fetched anew from the system for every request. For a large tile that costs more than sending it.
It also reads as much as the server sends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"
LONGEST_HEADER = 1 << 20
# Of what a server says of itself: the statistics of a model are kilobytes, a list of a thousand models is 100 of them.
LONGEST_ANSWER = 4 << 20
PIECE = 1 << 16


class MalformedAnswerError(ValueError):
    """The answer is not what KServe's protocol with its binary tensor extension says."""


class WrongOutputError(ValueError):
    """The output has another type or size than was asked for; the message says which."""


async def read_json(response: Any) -> Any:
    """The body of an answer, as JSON.

    Args:
        response: aiohttp.ClientResponse, its body not read yet.

    Raises:
        MalformedAnswerError: it is not JSON, or longer than LONGEST_ANSWER.
        aiohttp.ClientError: the connection was lost.
    """
    body = await read_text(response)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedAnswerError("its answer is not JSON") from None


async def read_text(response: Any) -> bytes:
    """The body of an answer, at most LONGEST_ANSWER bytes.

    Raises:
        MalformedAnswerError: it is longer.
        aiohttp.ClientError: the connection was lost.
    """
    body, promised = bytearray(), response.content_length or 0
    while promised <= LONGEST_ANSWER and (piece := await response.content.read(PIECE)):
        body += piece
        promised = max(promised, len(body))
    if promised > LONGEST_ANSWER:
        raise MalformedAnswerError(f"it says more than {LONGEST_ANSWER:,} bytes where a few hundred would do")
    return bytes(body)


async def read_output(response: Any, name: str, expected: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The output of that name; None if the answer has no such output.

    Args:
        response: aiohttp.ClientResponse with status 200, its body not read yet.
        name: of a UINT8 output that was asked for in binary form.
        expected: its shape. Memory is taken for no other.

    Raises:
        MalformedAnswerError: it makes no sense.
        WrongOutputError: the output is another one than was asked for.
        aiohttp.ClientError: the connection was lost.
    """
    length = response.headers.get(HEADER_LENGTH, "")
    if not (length.isascii() and length.isdigit() and len(length) < 10 and 0 < int(length) <= LONGEST_HEADER):
        raise MalformedAnswerError(f"{HEADER_LENGTH} is {length or 'missing'}")
    outputs = _outputs(await _read(response.content, int(length)))
    for output in outputs:
        size = _size(output)
        if output.get("name") == name:
            check_output(output.get("datatype"), output.get("shape"), size, expected)
            return (await _read(response.content, size)).reshape(expected)
        await _pass_over(response.content, size, int(np.prod(expected, dtype=object)))
    return None


def check_output(datatype: Any, shape: Any, size: int, expected: tuple[int, ...]) -> None:
    """Raise WrongOutputError unless an output is uint8 of the shape that was asked for, in as many bytes."""
    if datatype != "UINT8" or shape != list(expected) or size != int(np.prod(expected, dtype=object)):
        raise WrongOutputError(f"{datatype} {shape} in {size:,} bytes")


async def _read(stream: Any, size: int) -> NDArray[np.uint8]:
    """The next `size` bytes of an aiohttp.StreamReader."""
    target = np.empty(size, np.uint8)
    view, at = target.data, 0
    while at < size:
        piece = await stream.read(size - at)
        if not piece:
            raise MalformedAnswerError(f"it ends after {at:,} of {size:,} bytes")
        view[at : at + len(piece)] = piece
        at += len(piece)
    return target


async def _pass_over(stream: Any, size: int, most: int) -> None:
    """Read an output that was not asked for, which is no reason to read for ever."""
    if size > most:
        raise MalformedAnswerError(f"it has {size:,} bytes of an output that was not asked for")
    await _read(stream, size)


def _outputs(header: NDArray[np.uint8]) -> list[Mapping[str, Any]]:
    try:
        outputs = json.loads(header.tobytes())["outputs"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedAnswerError("its header is not JSON with outputs") from None
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise MalformedAnswerError("its outputs are no list of objects")
    return outputs


def _size(output: Mapping[str, Any]) -> int:
    parameters = output.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if not isinstance(size, int) or size < 0:
        raise MalformedAnswerError(f"the output {str(output.get('name'))[:100]!r} has no binary_data_size")
    return size
