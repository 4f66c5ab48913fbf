"""What a gateway can be told: one frozen value, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from edsr_client.addresses import address


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

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("name at least one Triton: --url http://host:8000")
        for url in self.urls:
            address(url, "http")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is none: 1 to 65535, or 0 for any free one")
