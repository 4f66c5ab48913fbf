"""Starts a real Triton server with no GPU, no container and no root: the one PyPI's nvidia-pytriton carries.

Command line: ``python -m edsr_serving --help``.
"""

from .errors import (
    AlreadyRunningError,
    InstallationError,
    NothingToServeError,
    NotRunningError,
    PortInUseError,
    RequestsCutOffError,
    ServingError,
    StartupError,
)
from .options import ServerOptions
from .server import RunningServer, free_ports, start, stop

__all__ = [
    "AlreadyRunningError",
    "InstallationError",
    "NotRunningError",
    "NothingToServeError",
    "PortInUseError",
    "RequestsCutOffError",
    "RunningServer",
    "ServerOptions",
    "ServingError",
    "StartupError",
    "free_ports",
    "start",
    "stop",
]
