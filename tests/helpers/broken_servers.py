"""Servers of a few lines that answer as no Triton does. Over plain sockets: a library would not let them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OfBody:
    """An answer that is made of the request's body."""

    make: Callable[[bytes], bytes]


Answer = bytes | Callable[[socket.socket], None] | OfBody


def tensor(name: str) -> dict[str, Any]:
    return {"name": name, "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}


def config(**parameters: object) -> dict[str, Any]:
    """Of a model of this project, as Triton answers it."""
    values = {"scale": 3, "blocks": 16, "filters": 64, "halo_px": 35, "default_halo_px": 8, "tile": "512x512"}
    values |= {"source_sha256": "0" * 64, "precision": "fp32", **parameters}
    return {
        "name": "edsr_baseline_x3",
        "backend": "openvino",
        "max_batch_size": 8,
        "input": [tensor("image")],
        "output": [tensor("upscaled")],
        "parameters": {key: {"string_value": str(value)} for key, value in values.items()},
    }


def http(body: bytes | object = b"", status: str = "200 OK", headers: str = "", promised: int = 0) -> bytes:
    """An answer whole, unless more bytes are promised; what is not bytes becomes JSON."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {promised + len(body)}\r\n{headers}\r\n".encode() + body


def binary(outputs: object, body: bytes = b"", promised: int = 0) -> bytes:
    """An answer with binary tensors, as KServe's extension has it."""
    header = json.dumps({"outputs": outputs}).encode()
    return http(header + body, headers=f"Inference-Header-Content-Length: {len(header)}\r\n", promised=promised)


def output(shape: object, size: object, datatype: str = "UINT8", name: str = "upscaled") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


def endless(head: bytes, piece: bytes, pause_s: float = 0.0) -> Callable[[socket.socket], None]:
    """Begins with `head` and goes on with `piece`, as long as anybody listens."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        stop = threading.Event()
        while not stop.wait(pause_s):
            connection.sendall(piece)

    return send


def black(body: bytes) -> bytes:
    """A right answer to a tile: all of it is black."""
    asked, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))  # the pixels stand behind it
    count, height, width, _ = asked["inputs"][0]["shape"]
    size = count * height * width * 27
    return binary([output([count, 3 * height, 3 * width, 3], size)], bytes(size))


class BrokenServer:
    """Listens on loopback as `url`. Answers as a Triton with our model would, but for the paths in `answers`.

    Args:
        answers: by how a path ends ("/v2", "/config", "/infer", "/ready", "/live", "/index", "/stats"), or "" for all.
    """

    def __init__(self, answers: dict[str, Answer]) -> None:
        usual: dict[str, Answer] = {
            "/v2": http({"name": "triton", "version": "2.51.0"}),
            "/config": http(config()),
            "/ready": http(),
            "/live": http(),
            "/index": http([{"name": "edsr_baseline_x3", "state": "READY"}]),
            "/stats": http({"model_stats": []}),
            "/infer": http({"error": "not this time"}, "400 Bad Request"),
        }
        self._answers = {**usual, **answers}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.url = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[str] = []

    def __enter__(self) -> BrokenServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            for path, body in _requests(connection):
                self.requests.append(path)
                answer = self._answer(path)
                if isinstance(answer, OfBody):
                    answer = answer.make(body)
                if callable(answer):
                    answer(connection)
                    return
                connection.sendall(answer)
        self._open.discard(connection)

    def _answer(self, path: str) -> Answer:
        if "" in self._answers:
            return self._answers[""]
        return next((found for end, found in self._answers.items() if path.endswith(end)), http(b"", "404 Not Found"))


def _requests(connection: socket.socket) -> Iterator[tuple[str, bytes]]:
    """The path and the body of every request, once it was read whole."""
    with connection.makefile("rb") as stream:
        while line := stream.readline():
            length = 0
            while (header := stream.readline().strip()) != b"":
                found = re.match(rb"content-length:\s*(\d+)", header, re.IGNORECASE)
                length = int(found[1]) if found else length
            body = stream.read(length)
            yield line.split()[1].decode(), body
