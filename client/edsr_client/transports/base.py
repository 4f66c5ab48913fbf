"""What the rest of the package needs of a server."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Transport(Protocol):
    """One server. Every method raises the errors of this package only, and is called in one event loop."""

    url: str

    async def server_live(self) -> bool:
        """Whether the server answers at all."""

    async def server_ready(self) -> bool:
        """Whether the server and its models are ready."""

    async def model_ready(self, model: str) -> bool:
        """Whether a model can be asked; False if there is none of that name."""

    async def server_metadata(self) -> dict[str, Any]:
        """`name` and `version` of the server, fit to be shown, and what else it says of itself."""

    async def model_names(self) -> list[str]:
        """Models of the server that are ready."""

    async def model_config(self, model: str) -> dict[str, Any]:
        """A model's configuration, as JSON."""

    async def model_statistics(self, model: str) -> dict[str, Any]:
        """How often a model was asked, and how long its requests waited and took, as JSON."""

    async def infer(
        self, model: str, images: NDArray[np.uint8], *, scale: int, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8]:
        """Upscale uint8 [N, H, W, 3] RGB to uint8 [N, scale H, scale W, 3]."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class Credentials:
    """How to prove who one is, and whom to trust.

    Attributes:
        token: sent as "Authorization: Bearer ...".
        headers: sent with every request, as HTTP headers or gRPC metadata.
        ca_file: certificates to trust instead of the system's, PEM.
        cert_file, key_file: the client's own certificate and key, PEM.
        verify: False trusts any certificate; for tests, HTTP only.
    """

    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        for name, value in self.all_headers().items():
            if not name or not all(c.isalnum() or c in "-_.!#$%&'*+^`|~" for c in name) or not name.isascii():
                raise ValueError(f"{name!r} is not the name of a header")
            if any(ord(c) < 32 or ord(c) == 127 for c in value):
                raise ValueError(f"the header {name} holds a line break or another control character")

    @classmethod
    def of(
        cls,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        verify: bool = True,
    ) -> Credentials:
        """From what a caller gives."""
        ca, cert, key = (Path(file) if file else None for file in (ca_file, cert_file, key_file))
        return cls(token, dict(headers or {}), ca, cert, key, verify)

    def all_headers(self) -> dict[str, str]:
        """The headers of every request."""
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {**bearer, **self.headers}

    def ssl_context(self) -> ssl.SSLContext:
        """For HTTP.

        Raises:
            ValueError: a file cannot be read or is no certificate.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
            if self.cert_file:
                context.load_cert_chain(str(self.cert_file), str(self.key_file) if self.key_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"the certificates cannot be used: {error}") from None
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """(root certificates, private key, certificate chain), for gRPC.

        Raises:
            ValueError: a file cannot be read, or `verify` is off, which gRPC cannot do.
        """
        if not self.verify:
            raise ValueError("gRPC always verifies certificates; name the one to trust with ca_file (--ca-file)")
        try:
            files = (self.ca_file, self.key_file, self.cert_file)
            root, key, cert = (path.read_bytes() if path else None for path in files)
        except OSError as error:
            raise ValueError(f"the certificates cannot be used: {error}") from None
        return root, key, cert
