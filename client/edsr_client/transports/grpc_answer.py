"""An answer over gRPC: one array of the shape that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .http_answer import LONGEST_ANSWER, check_output

# Of a message beside the pixels.
SPARE = 1 << 16
LARGEST_MESSAGE = 2**31 - 1


def read_output(response: Any, name: str, expected: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The output of that name, read-only; None if the answer has no such output.

    Args:
        response: inference.ModelInferResponse.
        name: of a UINT8 output.
        expected: its shape.

    Raises:
        WrongOutputError: the output is another one than was asked for.
    """
    contents = response.raw_output_contents
    for index, output in enumerate(response.outputs):
        if output.name == name:
            raw = contents[index] if index < len(contents) else b""
            check_output(output.datatype, list(output.shape), len(raw), expected)
            return np.frombuffer(raw, np.uint8).reshape(expected)
    return None


def message_limit(answer_bytes: int) -> int:
    """The longest message to take when an answer of so many bytes is expected; a power of two, so that there are few.

    gRPC reads no message that is longer. What a server says of itself has `answer_bytes` 0.
    """
    if answer_bytes + SPARE <= LONGEST_ANSWER:
        return LONGEST_ANSWER
    return min(LARGEST_MESSAGE, 1 << (answer_bytes + SPARE - 1).bit_length())
