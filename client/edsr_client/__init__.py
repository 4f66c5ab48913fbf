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
from .model_info import ModelInfo
from .pictures.decode import Picture
from .transports import MockTransport, Transport
from .upscaler import Upscaler

__all__ = [
    "AccessDeniedError",
    "AsyncUpscaler",
    "BackendLostError",
    "BadImageError",
    "BadVideoError",
    "DecoderDiedError",
    "EdsrError",
    "FileResult",
    "Finishing",
    "ImageTooLargeError",
    "IncompleteVideoError",
    "MissingExtraError",
    "MockTransport",
    "ModelContractError",
    "ModelInfo",
    "ModelNotFoundError",
    "NotTritonError",
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
]
