"""What a running gateway has: made once when it starts, reached by every route as `services(request)`."""

from __future__ import annotations

from dataclasses import dataclass

from edsr_client import AsyncUpscaler
from starlette.requests import HTTPConnection

from .jobs.desk import JobDesk
from .limits.scratch import Scratch
from .settings import Settings
from .workers.pool import WorkerPool


@dataclass
class Services:
    """Parts that routes share."""

    settings: Settings
    upscaler: AsyncUpscaler
    """For questions about the models and the server; it sends no picture."""
    scratch: Scratch
    """Where uploads and results under way lie."""
    pictures: WorkerPool
    """For requests that wait for their answer."""
    background: WorkerPool
    """For jobs, which never take a process from those who wait."""
    jobs: JobDesk
    """Long work."""


def services(connection: HTTPConnection) -> Services:
    """The services of the application that serves this request."""
    found: Services = connection.app.state.services
    return found
