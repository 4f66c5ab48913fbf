"""How a gateway and its workers speak: a line of JSON with the length of the content that follows it.

JSON and not pickle: what a damaged file made of a worker must not run code in the gateway.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

HEAD = struct.Struct("!II")
"""Bytes of the JSON, bytes of the content."""
MOST_JSON = 1 << 20
MOST_CONTENT = 1 << 30


def packed(message: Mapping[str, Any], content: bytes = b"") -> list[bytes]:
    """The parts to send, one after the other."""
    text = json.dumps(message).encode()
    return [HEAD.pack(len(text), len(content)), text, content] if content else [HEAD.pack(len(text), 0), text]


def lengths(head: bytes) -> tuple[int, int]:
    """What follows a head of HEAD.size bytes.

    Raises:
        ValueError: it is none that `packed` makes for us.
    """
    text, content = HEAD.unpack(head)
    if text > MOST_JSON or content > MOST_CONTENT:
        raise ValueError(f"a message of {text} and {content} bytes")
    return text, content
