"""Client for EDSR super-resolution served by Triton.

from edsr_client import Upscaler

with Upscaler("localhost:8000") as upscaler:
    upscaler.upscale_file("photo.jpg", "photo_x3.png")
"""

from .errors import (
    BadImageError,
    EdsrError,
    ImageTooLargeError,
    ModelNotFoundError,
    OutputError,
    RequestRefusedError,
    ServerError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
)
from .model_info import ModelInfo
from .upscaler import Upscaler

__all__ = [
    "BadImageError",
    "EdsrError",
    "ImageTooLargeError",
    "ModelInfo",
    "ModelNotFoundError",
    "OutputError",
    "RequestRefusedError",
    "ServerError",
    "ServerNotReadyError",
    "ServerTimeoutError",
    "ServerUnreachableError",
    "Upscaler",
]
