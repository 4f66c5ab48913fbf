"""Who sends a request: what limits and jobs are counted by."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.requests import HTTPConnection

KEY_STATE = "edsr_key"
"""Where `keys` puts the id of the key that a request brought, in the request's state."""


def client_of(connection: HTTPConnection) -> str:
    """The id of the API key, as "key:ID"; without keys the address, as "ip:ADDRESS".

    An IPv6 address stands for its network of 64 bits, which one household or machine has to itself.
    """
    key = getattr(connection.state, KEY_STATE, None)
    if key is not None:
        return f"key:{key}"
    from ..services import services

    host = connection.client.host if connection.client else ""
    trusted = services(connection).settings.forwarded_from
    return f"ip:{_network(address_of(host, connection.headers.getlist('x-forwarded-for'), trusted))}"


def scheme_of(connection: HTTPConnection) -> str:
    """http or https: what the sender used, as far as a proxy that is trusted says so."""
    from ..services import services

    host, said = connection.client.host if connection.client else "", connection.headers.get("x-forwarded-proto", "")
    is_told = said in ("http", "https") and _is_among(host, services(connection).settings.forwarded_from)
    return said if is_told else connection.url.scheme


def owner_of(connection: HTTPConnection) -> str | None:
    """The id of the API key, which owns the jobs it makes; None without keys."""
    key: str | None = getattr(connection.state, KEY_STATE, None)
    return key


def address_of(peer: str, forwarded: Sequence[str], trusted: Sequence[str]) -> str:
    """The address a request came from, through proxies that are trusted.

    Args:
        peer: the other end of the connection.
        forwarded: the values of X-Forwarded-For: addresses, each proxy adding the one it saw at the end.
        trusted: addresses or networks of proxies whose word is taken.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    address = peer
    while hops and _is_among(address, trusted):
        address = hops.pop()
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return peer


def _is_among(address: str, networks: Sequence[str]) -> bool:
    try:
        one = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(one in ipaddress.ip_network(network, strict=False) for network in networks)


def _network(address: str) -> str:
    try:
        one = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(one, ipaddress.IPv6Address) and one.ipv4_mapped is None:
        return str(ipaddress.ip_network((one, 64), strict=False))
    return address
