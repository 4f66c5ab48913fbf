"""The socket a gateway listens on, and the addresses people find it at."""

from __future__ import annotations

import contextlib
import ipaddress
import socket


class ListenError(Exception):
    """The address cannot be listened on. The message says why and what to do."""


def listener(address: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any free one.

    Raises:
        ListenError: the port is taken, or the address is none of this machine's.
    """
    try:
        family, *_, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(target)
            found.listen(2048)
        except BaseException:
            found.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).rstrip(".")
        raise ListenError(
            f"Cannot listen on {address}:{port}: {reason}. Take another port with --port (`make web GATEWAY_PORT=`)."
        ) from None
    found.setblocking(False)
    return found


def addresses(address: str, port: int) -> list[str]:
    """Where people find a gateway that listens on `address`: on this machine, and from others if it lets them."""
    with contextlib.suppress(ValueError):
        one = ipaddress.ip_address(address)
        if one.is_unspecified:
            return [f"http://localhost:{port}", *(f"http://{own}:{port}" for own in _own_addresses())]
        if one.is_loopback:
            return [f"http://localhost:{port}"]
        if one.version == 6:
            return [f"http://[{address}]:{port}"]
    return [f"http://{address}:{port}"]


def _own_addresses() -> list[str]:
    """The address that this machine reaches others from; nothing is sent to find it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # reserved for documents (RFC 5737): it only picks a route
        return [str(probe.getsockname()[0])]
    return []
