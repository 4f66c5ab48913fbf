"""Whether somebody still waits for the answer to a request; asked by a backend before and while it computes."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from .peers import is_abandoned, waiting_connections

# Of the environment, written by the launcher.
HTTP_PORT, SERVED_MODELS = "EDSR_HTTP_PORT", "EDSR_SERVED_MODELS"
# Headers that Triton is told to forward as parameters of a request (a regular expression); gRPC's are not.
FORWARDED_HEADERS = "(?i)host|content-length"
# The end of the request before this one may not have reached its connection yet.
SECOND_LOOK_S = 0.02


class Client:
    """Who waits for a request. Triton knows of gRPC clients that cancel, the kernel of HTTP clients that close."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._port = int(os.environ.get(HTTP_PORT, "0"))
        self._one_queue = os.environ.get(SERVED_MODELS, "1") == "1"
        headers = _headers(request)
        self._is_http = "host" in headers
        length = headers.get("content-length", "")
        self._body_bytes = int(length) if length.isdecimal() else None

    def has_gone(self) -> bool:
        """Whether nobody waits any more; False in any doubt."""
        if self._request.is_cancelled():
            return True
        if not self._is_http or not self._port or not self._connection_is_closed():
            return False
        time.sleep(SECOND_LOOK_S)
        return self._connection_is_closed()

    def _connection_is_closed(self) -> bool:
        return is_abandoned(waiting_connections(self._port), self._body_bytes, self._one_queue)


def _headers(request: Any) -> dict[str, str]:
    """The forwarded headers, in lower case."""
    try:
        parameters = json.loads(request.parameters() or "{}")
    except ValueError:
        return {}
    return {str(key).lower(): str(value) for key, value in parameters.items()}
