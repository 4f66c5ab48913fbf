"""Everything that can go wrong when serving and that a user can act upon.

ServingError
+-- InstallationError   the embedded tritonserver, its stub or libpython is missing
+-- NothingToServeError no model is built, or not the one asked for
+-- PortInUseError      another process listens there
+-- StartupError        the server stopped, or was not ready in time
+-- AlreadyRunningError a server started from this folder is still running
+-- NotRunningError     there is no server to stop or to ask
+-- RequestsCutOffError it was stopped before all its requests were answered
"""

from __future__ import annotations


class ServingError(Exception):
    """Base of all errors of this package. The message says what happened, to what, and what to do next."""

    exit_code = 1


class NotRunningError(ServingError):
    """No server was started from this folder, or it has stopped."""

    exit_code = 3  # what `systemctl status` and LSB init scripts return


class InstallationError(ServingError):
    """A part of the embedded Triton is missing on this machine."""

    exit_code = 4


class NothingToServeError(ServingError):
    """There is no built model."""

    exit_code = 5


class PortInUseError(ServingError):
    """A port the server needs is taken."""

    exit_code = 6


class StartupError(ServingError):
    """The server did not become ready."""

    exit_code = 7


class AlreadyRunningError(ServingError):
    """A server is running already."""

    exit_code = 8


class RequestsCutOffError(ServingError):
    """The server was stopped, and some of its requests, `lost` in number, were not answered."""

    exit_code = 9

    def __init__(self, lost: int, message: str) -> None:
        super().__init__(message)
        self.lost = lost
