"""Searches for what makes the command `edsr` show a traceback, steer a terminal, hang, or call a mistake its own fault.

Names, options, settings, damaged files and broken servers, each in a process of its own. In `make test` a short search.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.test_fuzz_client import SECONDS, damaged, until_the_time_is_over
from tests.helpers.broken_servers import BrokenServer, binary, config, http, output
from tests.helpers.forked import Finished, assert_printable, edsr
from tests.unit.picture_files import encoded, photo

ROUND = settings(
    max_examples=100 if SECONDS else 15, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
FAULT = 70
SMALL = encoded(photo(), "PNG")


class Repeating(BaseHTTPRequestHandler):
    """A Triton with our model, as far as the client asks; every pixel is repeated."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answers: dict[str, Any] = {"v2": {"name": "triton", "version": "2.51.0"}, "config": config(), "stats": {}}
        self._send(json.dumps(answers.get(self.path.rpartition("/")[2], {})).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.endswith("/infer"):
            self._send(json.dumps([{"name": "edsr_baseline_x3", "state": "READY"}]).encode())
            return
        length = int(self.headers["Inference-Header-Content-Length"])
        shape = json.loads(body[:length])["inputs"][0]["shape"]
        large = np.frombuffer(body[length:], np.uint8).reshape(shape).repeat(3, 1).repeat(3, 2)
        head = json.dumps({"outputs": [output(list(large.shape), large.size)]}).encode()
        self._send(head + large.tobytes(), {"Inference-Header-Content-Length": str(len(head))})

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Repeating) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(folder: Path, *arguments: object, url: str, text: str | None = None) -> Finished:
    """The command, with what it must never do looked for."""
    if text is not None:
        (folder / "edsr.toml").write_text(text, "utf-8", errors="surrogatepass")
    environment = {"EDSR_URL": url, "XDG_CONFIG_HOME": str(folder)}
    finished = edsr(folder, *arguments, environment=environment, timeout_s=100)
    assert "Traceback" not in finished.stderr, finished.stderr
    assert finished.code in (0, *range(2, 11)), (arguments, finished)
    assert_printable(finished)
    told = [line for line in finished.stderr.splitlines() if line.startswith(("error: ", "edsr", "failed: "))]
    assert finished.code == 0 or told or finished.stdout, finished
    return finished


# What file systems take: any bytes but null and the slash.
NAMES = st.binary(min_size=1, max_size=255).map(lambda raw: raw.replace(b"\0", b"0").replace(b"/", b"_")) | st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=80
).map(str.encode)
ENDINGS = st.sampled_from(b" .png .jpg .webp .tif .avif .gif .bmp .PNG .xyz /".split(b" "))
NUMBERS = st.sampled_from(["0", "1", "-1", "2", "3", "1.5", "1e9", "nan", "inf", "-inf", "1e-30", "16", "9" * 21, ""])
LIMITS = ["--scale", "--max-side", "--quality", "--tile", "--halo", "--max-pixels", "--frame", "--timeout", "--retries"]
TEXTS = ["--format", "--bands", "--protocol", "--output-template", "--header"]
OPTIONS = st.lists(
    st.tuples(st.sampled_from(LIMITS), NUMBERS | st.sampled_from(["64x64", "0x0", "x", "exact", "9" * 400 + "x1"]))
    | st.tuples(st.sampled_from(TEXTS), st.text(max_size=20))
    | st.sampled_from([("--json",), ("-q",), ("-v",), ("--overwrite",), ("--strip-metadata",), ("--bands", "always")]),
    max_size=3,
)


def flat(options: list[tuple[str, ...]]) -> list[str]:
    """As the shell hands them over: no null characters."""
    return [one.replace("\0", "") for option in options for one in option if one[:1] < "\ud800" or not one]


def test_any_names_and_options_are_a_result_or_one_line(url: str) -> None:
    @ROUND
    @given(NAMES, NAMES, ENDINGS, OPTIONS, st.sampled_from(["upscale", "batch", "upscale", "video", "several"]))
    def search(name: bytes, result: bytes, ending: bytes, options: list[tuple[str, ...]], command: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="edsr-fuzz-"))
        try:
            source = os.fsencode(folder) + b"/" + name
            try:
                with open(source, "wb") as file:  # noqa: PTH123
                    file.write(SMALL)
            except OSError:  # . and ..
                source = name
            target = (result[: 255 - len(ending)] + ending).lstrip(b"-") or b"out"
            arguments = [source, source, b"-o", b"./" + target] if command == "several" else [source, b"./" + target]
            run(folder, command.replace("several", "upscale"), *arguments, *flat(options), url=url)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    until_the_time_is_over(search)


def test_any_damaged_file_is_a_result_or_one_line(url: str, tmp_path: Path) -> None:
    @ROUND
    @given(
        damaged(),
        st.sampled_from(["png", "jpeg", "webp", "tiff", "avif", "gif", "bmp"]),
        st.sampled_from(["auto", "always"]),
    )
    def search(content: bytes, kind: str, bands: str) -> None:
        source = tmp_path / "in.bin"
        source.write_bytes(content)
        run(
            tmp_path,
            "upscale",
            source,
            tmp_path / "out",
            "--format",
            kind,
            "--bands",
            bands,
            "--overwrite",
            "--max-pixels",
            200_000,
            url=url,
        )

    until_the_time_is_over(search)


def test_any_settings_are_taken_or_one_line(url: str, tmp_path: Path) -> None:
    keys = "url protocol model retries timeout token-file header ca-file [upscale] [batch] format scale tile json"
    values = st.sampled_from(
        ["true", "[]", "{}", "['a', 1]", "1979-05-27", "[[1]]", "'''x'''", '"\\u0000"', '"\\u001b[31m"']
    )
    values = values | st.text(max_size=30).map(json.dumps) | st.integers().map(str) | st.floats().map(str)
    lines = st.lists(
        st.tuples(st.sampled_from(keys.split()), values).map(
            lambda pair: pair[0] if pair[0][0] == "[" else " = ".join(pair)
        ),
        max_size=5,
    )
    (tmp_path / "in.png").write_bytes(SMALL)

    @ROUND
    @given(lines.map("\n".join) | st.text(max_size=60))
    def search(text: str) -> None:
        # The environment's address goes before the file's: nothing else is asked.
        run(tmp_path, "upscale", "in.png", "out.png", "--retries", 0, "--overwrite", url=url, text=text)

    until_the_time_is_over(search)


WORDS = ["name", "outputs", "shape", "scale", "string_value", "error", "parameters", "input", "dims"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["3", "-1", "1e9", "0x0"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
STATUSES = ["200 OK", "400 Bad Request", "500 Error", "503 Busy", "302 Found", "100 Continue", "999 x"]


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Of our model, with some entries changed."""
    found = config()
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            key = draw(st.sampled_from(sorted(found["parameters"])))
            found["parameters"][key] = draw(JSON | st.text(max_size=12).map(lambda text: {"string_value": text}))
        else:
            found[draw(st.sampled_from([*sorted(set(found) - {"parameters"}), "instance_group"]))] = draw(JSON)
    return found


@st.composite
def answers(draw: st.DrawFn) -> Any:
    """Bytes after which the connection is closed: an answer that is right, or nearly."""
    size = 3 * 3 * photo().size
    right = binary([output([1, 3 * photo().shape[0], 3 * photo().shape[1], 3], size)], bytes(size))
    whole = st.sampled_from([right]) | st.builds(http, JSON, st.sampled_from(STATUSES))
    raw = bytearray(draw(whole | st.builds(http, configurations()) | st.binary(max_size=200)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, min(len(raw), 400)))
        if draw(st.booleans()):
            raw[place : place + draw(st.integers(0, 20))] = draw(st.binary(max_size=20))
        else:
            del raw[place + draw(st.integers(0, 4000)) :]
    content = bytes(raw)
    return lambda connection: connection.sendall(content)


def test_any_server_is_one_line(tmp_path: Path) -> None:
    paths = st.sampled_from(["/v2", "/config", "/infer", "/ready", "/live", "/index", "/stats"])
    (tmp_path / "in.png").write_bytes(SMALL)

    @ROUND
    @given(
        st.dictionaries(paths, answers(), min_size=1, max_size=3),
        st.none() | configurations(),
        st.sampled_from(["upscale", "info", "doctor", "batch"]),
    )
    def search(odd: dict[str, Any], changed: dict[str, Any] | None, command: str) -> None:
        odd = {**({"/config": http(changed)} if changed else {}), **odd}
        options: dict[str, list[object]] = {
            "upscale": ["in.png", "out.png", "--overwrite"],
            "batch": ["in.png", "out", "--patience", 0, "--overwrite"],
        }
        with BrokenServer(odd) as server:
            limits: list[object] = ["--retries", 0, "--timeout", 1]
            limits += ["--overwrite"] if command in options else []
            limits += options.get(command, [])
            finished = run(tmp_path, command, *limits, url=server.url)
        assert finished.peak_bytes < 1 << 30

    until_the_time_is_over(search)
