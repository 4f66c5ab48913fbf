"""Everything that can go wrong when upscaling and that a caller can act upon.

EdsrError
+-- BadImageError           the picture cannot be read, or is not one the model takes
|   +-- ImageTooLargeError  more pixels than the server takes in one request
+-- OutputError             the result cannot be written
+-- ServerError             the server, or the way to it
    +-- ServerUnreachableError  nothing answers at that address
    +-- ServerTimeoutError      no answer in time
    +-- ServerNotReadyError     it answers, but is not ready
    +-- ModelNotFoundError      it does not serve that model
    +-- RequestRefusedError     it refused the request, or failed on it
"""

from __future__ import annotations


class EdsrError(Exception):
    """Base of all errors of this package. The message says what happened, to what, and what to do next."""

    exit_code = 1


class BadImageError(EdsrError):
    """The picture cannot be decoded, or is not uint8 [H, W, 3]."""

    exit_code = 3


class ImageTooLargeError(BadImageError):
    """The picture has more pixels than the served model takes in one request."""


class OutputError(EdsrError):
    """The result cannot be encoded or written."""

    exit_code = 4


class ServerError(EdsrError):
    """Base of everything that concerns the server."""

    exit_code = 5


class ServerUnreachableError(ServerError):
    """No connection to the server."""


class ServerTimeoutError(ServerError):
    """The server did not answer in time."""


class ServerNotReadyError(ServerError):
    """The server answers but has not loaded its models."""

    exit_code = 6


class ModelNotFoundError(ServerError):
    """The server does not serve the model asked for, or none this client knows."""

    exit_code = 7


class RequestRefusedError(ServerError):
    """The server refused the request or failed on it; the message carries its words."""

    exit_code = 8
