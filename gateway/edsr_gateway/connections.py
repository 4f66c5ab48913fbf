"""A connection within bounds of time: headers that never end, readers that never read, bodies that nobody wants.

uvicorn bounds the size of headers, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

log = logging.getLogger("edsr_gateway")

MOST_HEADER_BYTES = 32 * 1024
MOST_CONNECTIONS = 8192
# Each may have a file under way beside its socket.
FILES_PER_CONNECTION, FILES_OF_OUR_OWN = 2, 200


def connection_class(stall_s: float) -> type[H11Protocol]:
    """The protocol of a connection, for uvicorn.

    It is cut when a request's header is not there `stall_s` seconds after its first byte, when nobody takes a byte of
    an answer for so long, and when a body goes on for so long after it was refused.
    """
    most = connections_allowed()

    class Connection(H11Protocol):
        _header_timer: asyncio.TimerHandle | None = None
        _reader_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                self._refuse(503, f"{most} connections are open, and no more are. Try again in a moment.")
                return
            self._watch_header()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_header_timer()
            self._end_reader_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_between_requests():
                self._watch_header()
            else:
                self._end_header_timer()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reader()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._end_reader_timer()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_reader()

        def send_400_response(self, msg: str) -> None:
            """What is no HTTP, or too much of it."""
            status = getattr(sys.exc_info()[1], "error_status_hint", 400)
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.abort()
                return
            detail = "The header is too long." if status == 431 else "This is no request of HTTP/1.1."
            self._refuse(status, detail)

        def _refuse(self, status: int, detail: str) -> None:
            title = HTTPStatus(status).phrase
            body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
            head = (
                f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n"
                f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n"
                f"{'Retry-After: 5' + chr(13) + chr(10) if status == 503 else ''}Connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self._watch_reader()
            self.transport.close()

        def _is_between_requests(self) -> bool:
            cycle: RequestResponseCycle | None = self.cycle
            return cycle is None or cycle.response_complete

        def _end_header_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _end_reader_timer(self) -> None:
            if self._reader_timer is not None:
                self._reader_timer.cancel()
                self._reader_timer = None

        def _watch_header(self) -> None:
            if self._header_timer is None and not self.transport.is_closing():
                self._header_timer = self.loop.call_later(stall_s, self._header_is_late)

        def _header_is_late(self) -> None:
            self._header_timer = None
            if self._is_between_requests():
                self.transport.abort()

        def _watch_reader(self) -> None:
            if self._reader_timer is None:
                left = self.transport.get_write_buffer_size()
                self._reader_timer = self.loop.call_later(stall_s, self._look_at_reader, left) if left else None

        def _look_at_reader(self, before: int) -> None:
            self._reader_timer = None
            left = self.transport.get_write_buffer_size()
            if left and left >= before and (self.flow.write_paused or self._is_between_requests()):
                self.transport.abort()
            else:
                self._watch_reader()

    return Connection


def connections_allowed() -> int:
    """How many connections may be open; raises the number of files that this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS * FILES_PER_CONNECTION + FILES_OF_OUR_OWN
    files = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if files > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(16, (files - FILES_OF_OUR_OWN) // FILES_PER_CONNECTION)
