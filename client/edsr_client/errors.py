"""Everything that can go wrong when upscaling and that a caller can act upon.

EdsrError
+-- BadImageError           the picture cannot be read, or is not one the model takes
|   +-- ImageTooLargeError  more pixels than the caller allows, or more memory or time than those should take
|   +-- DecoderDiedError    the process that decoded it died, or took too long
+-- BadVideoError           the video cannot be read, or is not one this package can work on
|   +-- IncompleteVideoError  it is damaged or cut off; the output holds what could be decoded
+-- SettingsError           the file of settings is wrong
+-- MissingExtraError       what is asked for needs an extra of this distribution that is not installed
+-- OutputError             the result cannot be encoded or written
|   +-- OutputExistsError   a file that the caller did not name is in its place
|   +-- OutputBusyError     another run writes there
+-- ServerError             the server, or the way to it
    +-- ServerUnreachableError  nothing answers at that address, or the connection was lost
    |   +-- NotTritonError      something answers, but not Triton
    +-- ServerTimeoutError      no answer in time
    +-- ServerNotReadyError     it answers, but is not ready
    |   +-- BackendLostError        the process that computes in it has ended
    +-- ServerBusyError         its queue is full
    +-- AccessDeniedError       it wants credentials, or other ones
    +-- ModelNotFoundError      it does not serve that model
    +-- ModelContractError      it serves a model of that name with another contract
    +-- RequestRefusedError     it refused the request, or failed on it

`exit_code` is what the command `edsr` ends with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .video.options import VideoResult


class EdsrError(Exception):
    """Base of all errors of this package. The message says what happened, to what, and what to do next."""

    exit_code = 1


class BadImageError(EdsrError):
    """The picture cannot be decoded, or is not an image array."""

    exit_code = 3


class ImageTooLargeError(BadImageError):
    """The picture has more pixels than `max_pixels`, the guard against decompression bombs, or would take more memory
    or time than a picture of that size should."""


class DecoderDiedError(BadImageError):
    """The process that decoded the picture died, or took so long that it was ended. In batch runs, which have such."""


class BadVideoError(EdsrError):
    """The file is no video, cannot be decoded, or is one that cannot be upscaled."""

    exit_code = 3


class IncompleteVideoError(BadVideoError):
    """The video is damaged or ends too early. What could be decoded was upscaled and written.

    Attributes:
        result: the VideoResult of what was written.
    """

    exit_code = 10

    def __init__(self, message: str, result: VideoResult) -> None:
        super().__init__(message)
        self.result = result


class MissingExtraError(EdsrError):
    """A library is not installed that this needs; the message names the extra that brings it."""

    exit_code = 2


class SettingsError(EdsrError):
    """The file of settings, ~/.config/edsr.toml, is wrong; the message names the line."""

    exit_code = 2


class OutputError(EdsrError):
    """The result cannot be encoded or written. What was there before is unchanged."""

    exit_code = 4


class OutputExistsError(OutputError):
    """There is a file of the name that was made up for the output. Name one, or allow overwriting."""

    exit_code = 2


class OutputBusyError(OutputError):
    """Another run writes to that folder."""


class ServerError(EdsrError):
    """Base of everything that concerns the server."""

    exit_code = 5


class ServerUnreachableError(ServerError):
    """No connection to the server, or it was lost. Retried."""


class NotTritonError(ServerUnreachableError):
    """Something answers that does not speak Triton's protocol."""


class ServerTimeoutError(ServerError):
    """The server did not answer in time. Retried where there is another server."""


class ServerNotReadyError(ServerError):
    """The server answers but has not loaded its models. Retried."""

    exit_code = 6


class BackendLostError(ServerNotReadyError):
    """The server answers, but the process in it that computes has ended; it must be started again. Retried."""


class ServerBusyError(ServerError):
    """The server's queue is full. Retried."""

    exit_code = 6


class AccessDeniedError(ServerError):
    """The server, or a proxy before it, wants credentials or refuses those that were sent."""

    exit_code = 9


class ModelNotFoundError(ServerError):
    """The server does not serve the model asked for, or none this client knows."""

    exit_code = 7


class ModelContractError(ServerError):
    """The server serves a model of that name, but not with the tensors and parameters of this project."""

    exit_code = 7


class RequestRefusedError(ServerError):
    """The server refused the request or failed on it; the message carries its words."""

    exit_code = 8
