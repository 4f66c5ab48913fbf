"""What a gateway can be told: one frozen value, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """How a gateway runs.

    Raises:
        ValueError: a value makes no sense; the message says which and what would do.
    """

    urls: tuple[str, ...] = ("http://127.0.0.1:8000",)
    """Tritons, as the client takes them: http(s):// or grpc(s)://."""
    token: str = ""
    """What Triton's own proxy asks for (Authorization: Bearer)."""
    address: str = "127.0.0.1"
    port: int = 8080
    folder: Path = Path(".run/gateway")
    """What it keeps on the disk."""

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("name at least one Triton: --url http://host:8000")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is none: 1 to 65535, or 0 for any free one")

    @property
    def scratch(self) -> Path:
        """Files of requests that are under way: emptied whenever a gateway starts."""
        return self.folder / "scratch"
