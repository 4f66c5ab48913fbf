"""Client for EDSR super-resolution served by Triton.

from edsr_client import Upscaler

with Upscaler("localhost:8000") as upscaler:
    upscaler.upscale_file("photo.jpg", "photo_x3.png")
    large = upscaler.upscale(small)  # uint8 [H, W, 3] RGB

AsyncUpscaler is the same for asyncio.
"""

from .async_upscaler import AsyncUpscaler
from .errors import (
    AccessDeniedError,
    BackendLostError,
    BadImageError,
    BadVideoError,
    DecoderDiedError,
    EdsrError,
    ImageTooLargeError,
    IncompleteVideoError,
    MissingExtraError,
    ModelContractError,
    ModelNotFoundError,
    NotTritonError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
    SettingsError,
)
from .files import FileResult, Finishing
from .forecast import Outline, outline
from .model_info import ModelInfo
from .pictures.decode import Picture
from .pictures.formats import FORMATS, Format, check_available, format_named
from .transports import MockTransport, Transport
from .upscaler import Upscaler

__all__ = [
    "FORMATS",
    "AccessDeniedError",
    "AsyncUpscaler",
    "BackendLostError",
    "BadImageError",
    "BadVideoError",
    "DecoderDiedError",
    "EdsrError",
    "FileResult",
    "Finishing",
    "Format",
    "ImageTooLargeError",
    "IncompleteVideoError",
    "MissingExtraError",
    "MockTransport",
    "ModelContractError",
    "ModelInfo",
    "ModelNotFoundError",
    "NotTritonError",
    "Outline",
    "OutputBusyError",
    "OutputError",
    "OutputExistsError",
    "Picture",
    "RequestRefusedError",
    "ServerBusyError",
    "ServerError",
    "ServerNotReadyError",
    "ServerTimeoutError",
    "ServerUnreachableError",
    "SettingsError",
    "Transport",
    "Upscaler",
    "check_available",
    "format_named",
    "outline",
]
