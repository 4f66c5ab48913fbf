"""Against servers that are broken or mean it badly: an error in time and in one line, and no memory for them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edsr_client.transports.triton as triton_transport
import numpy as np
import pytest
from edsr_client import (
    BackendLostError,
    EdsrError,
    ModelContractError,
    NotTritonError,
    RequestRefusedError,
    ServerTimeoutError,
    ServerUnreachableError,
    Upscaler,
)
from PIL import Image

from tests.helpers.broken_servers import Answer, BrokenServer, OfBody, binary, black, config, endless, http, output
from tests.helpers.forked import assert_printable, assert_told, edsr

TILE = np.zeros((80, 90, 3), np.uint8)
SIZE = 240 * 270 * 3
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
GIGABYTES = 3 << 30
MEGABYTES = 1 << 20
# A process of the command has about 150 MB before it does anything.
MOST_MEMORY = 600 * MEGABYTES


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(TILE).save(path)
    return path


def error_of(server: BrokenServer, timeout_s: float = 60.0) -> EdsrError:
    with Upscaler(server.url, retries=0, timeout_s=timeout_s) as upscaler, pytest.raises(EdsrError) as told:
        upscaler.upscale(TILE)
    return told.value


LONG_HEADER = b"X-Long: " + b"x" * 100_000 + b"\r\n"
QUESTIONS: dict[str, tuple[Answer, type[EdsrError], str]] = {
    "nothing": (lambda connection: None, ServerUnreachableError, "lost"),
    "noise": (b"\x00\xff\x1b[31m" * 100, ServerUnreachableError, "not HTTP"),
    "no JSON": (http(b"<html>"), NotTritonError, "not JSON"),
    "deep JSON": (http(b"[" * MEGABYTES), NotTritonError, "not JSON"),
    "a list": (http([1]), NotTritonError, "is list, not an object"),
    "a number of many digits": (http(b'{"name": ' + b"9" * 100_000 + b"}"), NotTritonError, "not JSON"),
    "another encoding": (http('{"name": "ü"}'.encode("latin-1")), NotTritonError, "not JSON"),
    "long JSON": (endless(CHUNKED, CHUNK), NotTritonError, "more than 4,194,304 bytes"),
    "long JSON without chunks": (endless(CLOSED, b" " * 65536), NotTritonError, "more than 4,194,304 bytes"),
    "a promise": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{", NotTritonError, "more than"),
    "a negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{", ServerUnreachableError, "not HTTP"),
    "HTTP/1.0 cut off": (lambda one: one.sendall(b"HTTP/1.0 200 OK\r\n\r\n{"), NotTritonError, "not JSON"),
    "a bomb": (
        http(gzip.compress(bytes(100 * MEGABYTES)), headers="Content-Encoding: gzip\r\n"),
        NotTritonError,
        "more than 4,194,304 bytes",
    ),
    "headers without end": (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000), NotTritonError, "not HTTP"),
    "a long header": (b"HTTP/1.1 200 OK\r\n" + LONG_HEADER + b"\r\n", NotTritonError, "not HTTP"),
    "drops": (endless(b"HTTP/1.1 200 OK\r\n", b"X", 0.05), ServerTimeoutError, "No answer from .* within 1 s"),
    "drops of JSON": (endless(CHUNKED, b"1\r\n \r\n", 0.05), ServerTimeoutError, "within 1 s"),
    "silence": (endless(b"", b"", 5), ServerTimeoutError, "within 1 s"),
    "elsewhere": (http(b"", "302 Found", "Location: http://a.b/\r\n"), NotTritonError, "sends elsewhere, to http"),
    "itself": (http(b"", "307 Temporary Redirect", "Location: /v2\r\n"), NotTritonError, "sends elsewhere"),
    "an error without end": (
        endless(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK),
        NotTritonError,
        "more than 4,194,304 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_whatever_answers_a_question_is_an_error_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, kind, words = QUESTIONS[name]
    if kind is ServerTimeoutError:
        monkeypatch.setattr(triton_transport, "QUESTION_TIMEOUT_S", 1.0)
    with BrokenServer({"/v2": answer}) as server, pytest.raises(kind, match=words) as told:
        raise error_of(server)
    assert len(str(told.value)) < 700
    assert str(told.value).isprintable()


WRONG_CONFIGS = {
    "scale 1000000": config(scale=1_000_000),
    "scale 0": config(scale=0),
    "scale -1": config(scale=-1),
    "scale 1.5": config(scale=1.5),
    "scale of other digits": config(scale="²"),
    "scale of many digits": config(scale="9" * 10_000),
    "no scale": config(scale=""),
    "tile 0x0": config(tile="0x0"),
    "tile 5": config(tile="5"),
    "tile -1x5": config(tile="-1x5"),
    "halo of a gigapixel": config(default_halo_px=10**9),
    "halo over the tile": config(tile="16x16", max_shapes="16x16", default_halo_px=64),
    "no pixels": config(max_lr_pixels=0),
    "shapes of nothing": config(max_shapes="0x0"),
    "many shapes": config(max_shapes=",".join(["640x480"] * 100_000)),
    "parameters a list": config() | {"parameters": [1, 2]},
    "parameters without text": config() | {"parameters": {"scale": {"string_value": None}}},
    "parameters numbers": config() | {"parameters": {"scale": 3}},
    "input a number": config() | {"input": 5},
    "input of numbers": config() | {"input": [5]},
    "dims text": config() | {"input": [{"name": "image", "data_type": "TYPE_UINT8", "dims": "abc"}]},
    "dims infinite": config() | {"input": [{"name": "image", "data_type": "TYPE_UINT8", "dims": [float("inf")]}]},
    "batch infinite": config() | {"max_batch_size": float("inf")},
    "groups text": config() | {"instance_group": "many"},
    "groups infinite": config() | {"instance_group": [{"count": float("inf")}]},
    "a name with colours": config(scale=0) | {"name": "\x1b[31m\nmodel\u202e" * 50},
}


@pytest.mark.parametrize("name", WRONG_CONFIGS)
def test_whatever_stands_in_a_configuration_is_refused_before_anything_is_computed(name: str) -> None:
    with BrokenServer({"/config": http(WRONG_CONFIGS[name])}) as server:
        error = error_of(server)
    assert isinstance(error, ModelContractError)
    assert str(error).isprintable()
    assert len(str(error)) < 700
    assert not any(path.endswith("/infer") for path in server.requests)


ANSWERS: dict[str, tuple[Answer, type[EdsrError], str]] = {
    "gigabytes": (
        endless(binary([output([1, 32768, 32768, 3], GIGABYTES)], promised=GIGABYTES), bytes(MEGABYTES)),
        RequestRefusedError,
        r"answered UINT8 \[1, 32768, 32768, 3\] in 3,221,225,472 bytes, not UINT8 \[1, 240, 270, 3\]",
    ),
    "gigabytes of another output": (
        endless(binary([output([GIGABYTES], GIGABYTES, name="other")], promised=GIGABYTES), bytes(MEGABYTES)),
        NotTritonError,
        "3,221,225,472 bytes of an output that was not asked for",
    ),
    "half": (binary([output([1, 240, 270, 3], SIZE)], bytes(SIZE // 2)), NotTritonError, "lost|ends after"),
    "a pixel less": (binary([output([1, 60, 89, 3], SIZE - 180)], bytes(SIZE - 180)), RequestRefusedError, "answered"),
    "the tile itself": (binary([output([1, 80, 90, 3], 21600)], bytes(21600)), RequestRefusedError, "answered"),
    "floats": (binary([output([1, 240, 270, 3], 4 * SIZE, "FP32")]), RequestRefusedError, "answered FP32"),
    "a shape of text": (binary([output("all of it", SIZE)]), RequestRefusedError, "answered UINT8 all of it"),
    "a long shape": (binary([output([9] * 200_000, SIZE)]), RequestRefusedError, "answered UINT8"),
    "no output": (binary([]), RequestRefusedError, "without the output"),
    "drops": (
        endless(CHUNKED[:-2] + b"Inference-Header-Content-Length: 9000\r\n\r\n", b"1\r\n \r\n", 0.05),
        ServerTimeoutError,
        "did not finish a tile of 80x90 pixels within 1 s. That is long for so few pixels",
    ),
    "long words": (http({"error": "no " * 400_000}, "400 Bad Request"), RequestRefusedError, r"no no no .* \.\.\."),
    "colours": (
        http({"error": "\x1b[31mred\x1b[0m\x07 and\nmore \x9b31m \u202eback"}, "400 Bad Request"),
        RequestRefusedError,
        "refused the request: red and more back$",
    ),
    "an error that is none": (http({"error": {"deep": ["x"]}}, "500 Error"), RequestRefusedError, "refused"),
    "no words": (http(b"", "500 Error"), RequestRefusedError, "it says nothing"),
    "a lost process": (
        http({"error": "Stub process 'm_0_0' is not healthy."}, "500 Error"),
        BackendLostError,
        "process that computes there has ended .* Start the server again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_answers_a_tile_is_an_error_in_time(name: str) -> None:
    answer, kind, words = ANSWERS[name]
    timeout_s = 1.0 if kind is ServerTimeoutError else 60.0
    with BrokenServer({"/infer": answer}) as server, pytest.raises(kind, match=words) as told:
        raise error_of(server, timeout_s)
    assert len(str(told.value)) < 800
    assert str(told.value).isprintable()


def test_a_lost_answer_is_said_to_be_lost(tmp_path: Path, picture: Path) -> None:
    def lose(connection: Any) -> None:
        connection.sendall(binary([output([1, 240, 270, 3], SIZE)])[:-10])

    with BrokenServer({"/infer": lose}) as server:
        assert isinstance(error_of(server), ServerUnreachableError)


# What the whole command makes of the worst of them: memory, and what comes to a terminal.
MEMORY_EATERS: dict[str, dict[str, Answer]] = {
    "endless JSON": {"": endless(CHUNKED, CHUNK)},
    "a bomb": {"": http(gzip.compress(bytes(300 * MEGABYTES)), headers="Content-Encoding: gzip\r\n")},
    "gigabytes": {"/infer": ANSWERS["gigabytes"][0]},
    "a scale of 1000000": {"/config": http(config(scale=1_000_000))},
    "headers": {"": endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000)},
    "a megabyte of words": {"/infer": http({"error": "\x1b[2J" * 250_000}, "400 Bad Request")},
    "another tile": {"/config": http(config(tile="0x0"))},
}


@pytest.mark.parametrize("name", MEMORY_EATERS)
@pytest.mark.parametrize("command", ["upscale", "info", "doctor"])
def test_the_command_takes_no_memory_for_them_and_tells_in_one_line(
    tmp_path: Path, picture: Path, name: str, command: str
) -> None:
    with BrokenServer(MEMORY_EATERS[name]) as server:
        options = [picture, "out.png"] if command == "upscale" else []
        finished = edsr(tmp_path, command, *options, "--url", server.url, *(["--retries", 0]))
    assert finished.peak_bytes < MOST_MEMORY
    assert_printable(finished)
    assert "Traceback" not in finished.stderr
    if command == "upscale":
        assert_told(finished)
        assert not (tmp_path / "out.png").exists()


def test_names_of_models_are_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    index = http([{"name": "a\x1b]0;title\x07b\n\u202ec" + "d" * 5000, "state": "READY"}])
    metadata = http({"name": "\x1b[31mtriton", "version": "2.\x9b31m51\n" + "0" * 9000})
    with BrokenServer({"/index": index, "/v2": metadata}) as server:
        finished = edsr(tmp_path, "info", "--url", server.url)
    assert finished.code == 0
    assert_printable(finished)
    assert "triton 2.51 0" in finished.stdout
    assert "abc" not in finished.stdout.replace("ab c", "")
    assert len(finished.stdout) < 2000


STATISTICS = {
    "numbers": {"model_stats": [{"inference_stats": {"success": 5, "queue": "x"}}]},
    "lists": {"model_stats": {"a": []}},
    "nothing": {"model_stats": [None]},
    "not finite": {"model_stats": [{"inference_stats": {"success": {"count": float("nan")}, "queue": {"ns": 1e999}}}]},
}


@pytest.mark.parametrize("name", STATISTICS)
def test_doctor_lives_with_any_statistics(tmp_path: Path, name: str) -> None:
    wrong = config() | {"response_cache": [1], "dynamic_batching": "yes"}
    answers: dict[str, Answer] = {"/stats": http(STATISTICS[name]), "/infer": OfBody(black), "/config": http(wrong)}
    with BrokenServer(answers) as server:
        finished = edsr(tmp_path, "doctor", "--url", server.url)
    assert "Traceback" not in finished.stderr
    assert "speed: 128x128" in finished.stdout


@pytest.fixture
def silent() -> Iterator[BrokenServer]:
    with BrokenServer({"/infer": endless(b"", b"", 30)}) as server:
        yield server


def test_a_time_out_says_what_was_waited_for(silent: BrokenServer) -> None:
    with Upscaler(silent.url, timeout_s=0.5) as upscaler:
        with pytest.raises(ServerTimeoutError, match="80x90 pixels within 0.5 s. That is long for so few pixels"):
            upscaler.upscale(TILE)
        with pytest.raises(ServerTimeoutError, match=r"300x300 pixels within 0.5 s. Send smaller tiles .*--timeout"):
            upscaler.upscale(np.zeros((300, 300, 3), np.uint8))
