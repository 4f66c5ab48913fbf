"""What a running gateway has: made once when it starts, reached by every route as `services(request)`."""

from __future__ import annotations

from dataclasses import dataclass

from edsr_client import AsyncUpscaler
from starlette.requests import HTTPConnection

from .jobs.desk import JobDesk
from .limits.admission import Admission
from .limits.scratch import Scratch
from .models import Models
from .settings import Settings
from .triton.upstream import Upstream
from .workers.pool import WorkerPool


@dataclass
class Services:
    """Parts that routes share."""

    settings: Settings
    upscaler: AsyncUpscaler
    """For questions about the models and the server; it sends no picture."""
    models: Models
    admission: Admission
    scratch: Scratch
    """Where uploads and results under way lie."""
    looks: WorkerPool
    """For headers, which are read before anything else."""
    pictures: WorkerPool
    """For requests that wait for their answer."""
    background: WorkerPool
    """For jobs, which never take a process from those who wait."""
    jobs: JobDesk
    """Long work."""
    triton: Upstream
    """For clients that speak Triton's own protocol."""


def services(connection: HTTPConnection) -> Services:
    """The services of the application that serves this request."""
    found: Services = connection.app.state.services
    return found
