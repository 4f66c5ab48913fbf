"""Addresses of servers: "host", "host:port", "https://host:port/path", "[::1]:8000", and lists of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_PORTS = {"http": 8000, "grpc": 8001}
SCHEMES = {"http": ("http", False), "https": ("http", True), "grpc": ("grpc", False), "grpcs": ("grpc", True)}
TLS_PORT = 443
# A name, an IPv4 address, or an IPv6 address in brackets; a port; a path.
LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
ADDRESS = re.compile(
    rf"(?P<host>{LABEL}(\.{LABEL})*\.?|\[[0-9A-Fa-f:.]+(%\w+)?\])(:(?P<port>[0-9]{{1,5}}))?(?P<path>(/[\w.~-]+)*)/?"
)
LOCAL_HOSTS = ("localhost", "[::1]")


@dataclass(frozen=True)
class Address:
    """Where one server listens: `host_port` is "host:port", `path` "" or "/prefix" of a proxy (HTTP only)."""

    protocol: str
    host_port: str
    path: str = ""
    tls: bool = False

    @property
    def is_local(self) -> bool:
        """Whether it names this very machine by a loopback address."""
        host = self.host_port.rpartition(":")[0]
        return host in LOCAL_HOSTS or host.startswith("127.")

    def __str__(self) -> str:
        return ("https://" if self.tls and self.protocol == "http" else "") + self.host_port + self.path


def addresses(url: str | Sequence[str] | None, protocol: str) -> tuple[Address, ...]:
    """The servers that `url` names: one, several with commas between, or a sequence; localhost if there is none.

    Raises:
        ValueError: a URL is malformed or of another protocol, or one is named twice.
    """
    if protocol not in DEFAULT_PORTS:
        raise ValueError(f"protocol must be 'http' or 'grpc', not {protocol!r}")
    texts = url.split(",") if isinstance(url, str) else list(url or ["localhost"])
    found = tuple(address(text.strip(), protocol) for text in texts if text.strip())
    if not found:
        raise ValueError(f"{url!r} names no server; write host:port")
    for one in found:
        if found.count(one) > 1:
            raise ValueError(f"{one} is named twice in {url!r}")
    return found


def address(url: str, protocol: str) -> Address:
    """One URL with or without scheme and port; the protocol's usual port by default, with TLS 443.

    Raises:
        ValueError: it is malformed, or its scheme does not go with the protocol.
    """
    scheme, separator, rest = url.rpartition("://")
    tls = False
    if separator:
        belongs_to, tls = SCHEMES.get(scheme.lower(), ("", False))
        if belongs_to != protocol:
            raise ValueError(f"{url!r} does not go with protocol {protocol!r} (--protocol)")
    match = ADDRESS.fullmatch(rest)
    port = int((match and match["port"]) or (TLS_PORT if tls else DEFAULT_PORTS[protocol]))
    if match is None or not 0 < port < 2**16:
        raise ValueError(f"{url!r} is not host:port; an IPv6 address stands in brackets")
    path = match["path"]
    if path and protocol == "grpc":
        raise ValueError(f"{url!r} has a path, which gRPC does not know")
    return Address(protocol, f"{match['host']}:{port}", path, tls)
