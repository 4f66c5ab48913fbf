"""What a gateway can be told: one frozen value, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edsr_client.addresses import address

from .limits.limits import Limits


@dataclass(frozen=True)
class Settings:
    """How a gateway runs.

    Raises:
        ValueError: a value makes no sense; the message says which and what would do.
    """

    urls: tuple[str, ...] = ("http://127.0.0.1:8000",)
    """The HTTP ports of one or several Tritons: host:port, http:// or https://."""
    address: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    """What opens the Tritons, where they ask for it: a bearer token."""
    model: str = "auto"
    """The model for requests that name none."""
    folder: Path = Path(".run/gateway")
    """Where uploads, results and jobs lie."""
    workers: int = 2
    """Processes for requests that wait."""
    job_workers: int = 1
    """Processes for jobs."""
    keys: Path | None = None
    """A file of hashed API keys; without it everybody may come in."""
    origins: tuple[str, ...] = ()
    """Web pages of other origins that may call the gateway (CORS); none by default."""
    forwarded_from: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none by default."""
    redis: str | None = field(default=None, repr=False)
    """The queue of several gateways; without it jobs lie in an SQLite file of this one's."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("name at least one Triton: --url http://host:8000")
        for url in self.urls:
            address(url, "http")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is none: 1 to 65535, or 0 for any free one")
        for name, count in (("workers", self.workers), ("job workers", self.job_workers)):
            if not 1 <= count <= 256:
                raise ValueError(f"the number of {name} must be 1 to 256, not {count}")
