"""Which HTTP requests nobody waits for any more, from what the kernel says of the server's connections.

Triton stops reading a connection while its request waits or is computed, so it does not see that the client has closed
it. The kernel does: the server's end is then in CLOSE_WAIT. Connections with an unanswered request are those that
received data later than they sent any; their order of arrival is that of Triton's queue. The kernel is asked by netlink
(sock_diag(7)), which needs no privilege.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLMSG_DONE, NLMSG_ERROR = 4, 20, 3, 2
NLM_F_REQUEST_DUMP = 0x301
INET_DIAG_INFO = 2
ESTABLISHED, CLOSE_WAIT, LISTEN = 1, 8, 10
STATES = 1 << ESTABLISHED | 1 << CLOSE_WAIT | 1 << LISTEN
HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
SOCKET_ID_BYTES = 48
MESSAGE = struct.Struct("=BBBB")  # family, state, timer, retransmissions
PORTS = struct.Struct(">HH")
ATTRIBUTE = struct.Struct("=HH")
# In struct tcp_info: milliseconds since data was last sent and received; bytes acknowledged and received in all.
LAST_SENT, LAST_RECEIVED, BYTES_ACKED, BYTES_RECEIVED = 44, 52, 120, 128
BUFFER_BYTES = 1 << 16
# Headers of an HTTP request; nothing sends more.
HEAD_BYTES = 1 << 14
# Two requests that came so close together may stand in the queue in either order.
CLOSE_TOGETHER_MS = 5


@dataclass(frozen=True)
class Connection:
    """The server's end of a connection.

    Attributes:
        is_open: whether the client still is there.
        waited_ms: since its last data came.
        received_bytes: in all its life.
        is_fresh: whether nothing was ever answered on it, so that all it received is one request.
    """

    is_open: bool
    waited_ms: int
    received_bytes: int
    is_fresh: bool


def waiting_connections(port: int) -> list[Connection] | None:
    """The connections to a TCP port of this machine whose requests are not answered yet.

    None if the kernel cannot be asked, or shows nobody listening there: it is then no witness.
    """
    found, listening = [], False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            messages = _dump(family)
        except OSError:
            return None
        for state, local_port, info in messages:
            if local_port != port:
                continue
            listening = listening or state == LISTEN
            if state != LISTEN and (connection := _connection(state, info)):
                found.append(connection)
    return found if listening else None


def is_abandoned(connections: Sequence[Connection] | None, body_bytes: int | None, one_queue: bool = True) -> bool:
    """Whether the client of the request that has waited longest has closed its connection; False in any doubt.

    Args:
        connections: with unanswered requests.
        body_bytes: of this request's body (its Content-Length); None if that is not known.
        one_queue: whether all requests wait in one queue, that is for one model. If not, their order says nothing, and
            only a request that no open connection can be waiting for is abandoned.
    """
    if connections is None:
        return False
    possible = [each for each in connections if body_bytes is None or _may_be_of(each, body_bytes)]
    open_ms = [each.waited_ms for each in possible if each.is_open]
    closed_ms = [each.waited_ms for each in possible if not each.is_open]
    if not closed_ms or not open_ms:
        return bool(closed_ms)
    return one_queue and max(closed_ms) >= max(open_ms) + CLOSE_TOGETHER_MS


def _may_be_of(connection: Connection, body_bytes: int) -> bool:
    head_bytes = connection.received_bytes - body_bytes
    return 0 <= head_bytes <= HEAD_BYTES if connection.is_fresh else head_bytes >= 0


def _connection(state: int, info: bytes) -> Connection | None:
    """None for one whose last request is answered."""
    if len(info) < BYTES_RECEIVED + 8:
        return None
    sent_ms, received_ms = (int.from_bytes(info[at : at + 4], "little") for at in (LAST_SENT, LAST_RECEIVED))
    acked, received = (int.from_bytes(info[at : at + 8], "little") for at in (BYTES_ACKED, BYTES_RECEIVED))
    is_fresh = acked <= 1  # the opening of the connection counts for one
    if not is_fresh and sent_ms < received_ms:
        return None
    return Connection(state == ESTABLISHED, received_ms, received, is_fresh)


def _dump(family: int) -> list[tuple[int, int, bytes]]:
    """(state, local port, tcp_info) of every TCP socket of a family."""
    body = REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0, STATES) + bytes(SOCKET_ID_BYTES)
    header = HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 0, 0)
    found: list[tuple[int, int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1)
        netlink.sendto(header + body, (0, 0))
        while True:
            data = netlink.recv(BUFFER_BYTES)
            while len(data) >= HEADER.size:
                length, kind, *_ = HEADER.unpack_from(data)
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError("the kernel does not tell of its sockets")
                found.append(_parsed(data[HEADER.size : length]))
                data = data[(length + 3) & ~3 :]


def _parsed(message: bytes) -> tuple[int, int, bytes]:
    _, state, _, _ = MESSAGE.unpack_from(message)
    local_port, _ = PORTS.unpack_from(message, MESSAGE.size)
    at = MESSAGE.size + SOCKET_ID_BYTES + 20  # expires, rqueue, wqueue, uid, inode
    while at + ATTRIBUTE.size <= len(message):
        length, kind = ATTRIBUTE.unpack_from(message, at)
        if kind == INET_DIAG_INFO:
            return state, local_port, message[at + ATTRIBUTE.size : at + length]
        at += max((length + 3) & ~3, ATTRIBUTE.size)
    return state, local_port, b""
