"""The pure parts of the client: addresses, model configurations, error mapping, credentials, the command line."""

from __future__ import annotations

from typing import Any

import pytest
from edsr_client import (
    AccessDeniedError,
    EdsrError,
    ModelContractError,
    ModelInfo,
    ModelNotFoundError,
    NotTritonError,
    RequestRefusedError,
    ServerBusyError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
    Upscaler,
)
from edsr_client.addresses import Address, address, addresses
from edsr_client.cli.arguments import make_parser, parse
from edsr_client.cli.connection import options_of
from edsr_client.transports import Credentials
from edsr_client.transports.error_mapping import error_of

CONFIG: dict[str, Any] = {
    "name": "m",
    "backend": "b",
    "max_batch_size": 1,
    "input": [{"name": "image", "data_type": "TYPE_UINT8", "dims": ["-1", "-1", "3"]}],  # as gRPC's JSON has it
    "output": [{"name": "upscaled", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}],
}


def config(**parameters: str) -> dict[str, Any]:
    return CONFIG | {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}


@pytest.mark.parametrize(
    ("url", "protocol", "expected"),
    [
        ("localhost", "http", Address("http", "localhost:8000")),
        ("box", "grpc", Address("grpc", "box:8001")),
        ("http://box:9/", "http", Address("http", "box:9")),
        ("grpc://box", "grpc", Address("grpc", "box:8001")),
        ("https://box/triton/a", "http", Address("http", "box:443", "/triton/a", tls=True)),
        ("grpcs://box:7", "grpc", Address("grpc", "box:7", tls=True)),
        ("[::1]", "http", Address("http", "[::1]:8000")),
        ("[fe80::1%eth0]:9", "http", Address("http", "[fe80::1%eth0]:9")),
    ],
)
def test_an_address_is_completed(url: str, protocol: str, expected: Address) -> None:
    assert address(url, protocol) == expected


def test_several_servers_are_named_with_commas_or_in_a_list() -> None:
    assert [str(one) for one in addresses("a:1, b:2", "http")] == ["a:1", "b:2"]
    assert addresses(["a:1", "b:2"], "http") == addresses("a:1,b:2,", "http")
    assert [str(one) for one in addresses(None, "grpc")] == ["localhost:8001"]


def test_loopback_is_told_from_networks() -> None:
    assert all(address(url, "http").is_local for url in ("localhost", "127.0.0.2:9", "[::1]:8000"))
    assert not any(address(url, "http").is_local for url in ("box", "10.0.0.1", "[fe80::1]", "localhost.example:1"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "ftp://box"},
        {"url": "http://box", "protocol": "grpc"},
        {"url": "grpc://box/path", "protocol": "grpc"},
        {"protocol": "ftp"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": 1e10},
        {"url": "localhost:"},
        {"url": "localhost:0"},
        {"url": "localhost:99999"},
        {"url": "::1"},
        {"url": "a..b:80"},
        {"url": "a b"},
        {"url": ","},
        {"url": "a:8000,http://a:8000"},
        {"retries": -1},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"token": "a\nb"},
        {"url": "https://box", "ca_file": "/no/such.pem"},
        {"url": "grpcs://box", "protocol": "grpc", "ca_file": "/no/such.pem"},
        {"url": "grpcs://box", "protocol": "grpc", "verify": False},
    ],
)
def test_malformed_arguments_are_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"http|grpc|protocol|timeout|host:port|server|twice|retries|header|certif"):
        Upscaler(**arguments)


def test_a_token_is_a_bearer_header_and_is_not_printed() -> None:
    credentials = Credentials.of(token="secret", headers={"X-Team": "a"})
    assert credentials.all_headers() == {"Authorization": "Bearer secret", "X-Team": "a"}
    assert "secret" not in repr(credentials)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded", ServerTimeoutError),
        ("400", "Request for unknown model: 'm' is not found", ModelNotFoundError),
        ("StatusCode.UNAVAILABLE", "failed to connect to all addresses", ServerUnreachableError),
        ("StatusCode.UNAVAILABLE", "Request for unknown model: 'm' has no available versions", ModelNotFoundError),
        ("StatusCode.UNAVAILABLE", "Exceeds maximum queue size", ServerBusyError),
        ("503", "Exceeds maximum queue size", ServerBusyError),
        ("429", "slow down", ServerBusyError),
        ("503", "server not ready", ServerNotReadyError),
        ("502", "Bad Gateway", ServerNotReadyError),
        ("401", "", AccessDeniedError),
        ("403", "This API is restricted, expecting header 'key'", AccessDeniedError),
        ("StatusCode.UNAUTHENTICATED", "no token", AccessDeniedError),
        ("StatusCode.UNIMPLEMENTED", "Method not found", NotTritonError),
        ("404", "an exception occurred in the client while decoding the response: Invalid value", NotTritonError),
        ("400", "[request id: <id_unknown>] unexpected shape", RequestRefusedError),
        ("", "something new", RequestRefusedError),
    ],
)
def test_every_answer_of_triton_has_one_error(status: str, message: str, expected: type[EdsrError]) -> None:
    error = error_of(status, message, "box:1", "m")
    assert type(error) is expected
    assert "box:1" in str(error)


def test_a_page_of_html_is_not_quoted_whole() -> None:
    assert len(str(error_of("400", "<html>" * 1000, "box:1", "m"))) < 500


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "`scale` is missing"),
        ({"input": []}, "input is not stated, not image"),
        ({"output": [{"name": "y"}]}, "output is y, not upscaled"),
        ({"input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, -1, -1]}]}, r"image is FP32 \[3, -1, -1\]"),
        ({"max_batch_size": 0}, "no batch dimension"),
        ({"parameters": {"scale": {"string_value": "3"}, "tile": {"string_value": "big"}}}, "make no sense"),
        ({"parameters": {"scale": {"string_value": "3"}, "halo_px": {"string_value": "-1"}}}, "make no sense"),
        ({"parameters": {"scale": 3}}, "make no sense"),
    ],
)
def test_a_model_that_is_not_ours_is_told_by_what_differs(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelContractError, match=words):
        ModelInfo.from_config(CONFIG | changes)


def test_a_configuration_is_read_with_what_it_leaves_out() -> None:
    info = ModelInfo.from_config(config(scale="2", precision="fp16"))
    assert (info.scale, info.halo_px, info.inference_precision, info.instances) == (2, None, "fp16", 1)
    assert info.limits.max_px * 3 < 64 * 2**20  # Triton's limit on the body of an HTTP request


def test_a_configuration_is_read_with_all_it_says() -> None:
    values = {"scale": "3", "blocks": "16", "filters": "64", "halo_px": "35", "default_halo_px": "9"}
    values |= {"tile": "640x512", "max_shapes": "1440x1440,1080x1920", "max_lr_pixels": "2073600"}
    info = ModelInfo.from_config(config(**values) | {"instance_group": [{"count": 2}, {"count": "1"}]})
    assert (info.tile, info.max_shapes, info.instances) == ((640, 512), ((1440, 1440), (1080, 1920)), 3)
    assert (info.best_halo_px, info.limits.max_px) == (9, 2_073_600)


def test_the_time_out_suits_the_work() -> None:
    small = ModelInfo("m", 3, blocks=16, filters=64)
    large = ModelInfo("m", 3, blocks=32, filters=256)
    assert 60 < small.timeout_s(64 * 64) < 62
    assert large.timeout_s(512 * 512) > 1000
    assert large.timeout_s(10**9) == 3600
    assert large.flop(1) == pytest.approx(76.8e6, rel=0.01)  # the figure of the published network
    assert ModelInfo("m", 3).timeout_s(10**9) == 60


def test_the_output_may_stand_after_options() -> None:
    args = parse(["upscale", "a.png", "--url", "box:1", "b.png"])
    assert (args.src, args.dst) == ("a.png", "b.png")
    assert parse(["upscale", "-", "--tile", "64x32", "-"]).dst == "-"
    assert parse(["upscale", "a.png", "--tile", "64x32", "--halo", "exact"]).tile == (64, 32)
    assert parse(["upscale", "a.png", "--format", ".JPG"]).format == "jpg"


@pytest.mark.parametrize(
    "arguments",
    [[], ["upscale"], ["upscale", "a", "--tile", "x"], ["upscale", "a", "--halo", "all"],
     ["upscale", "a", "--halo", "-3"], ["upscale", "a", "--halo=9.5"], ["upscale", "a", "--tile", "0"],
     ["upscale", "a", "--tile", "9x-9"], ["upscale", "a", "--format", "psd"],
     ["nothing"], ["upscale", "a", "--nothing"]],
)  # fmt: skip
def test_wrong_usage_ends_with_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert "usage: edsr" in capsys.readouterr().err


def test_every_option_has_help_and_the_help_names_every_exit_code() -> None:
    text = make_parser().format_help()
    for code in ("2 wrong usage", "3 bad picture", "9 access denied", "130 interrupted"):
        assert code in text
    for command in ("upscale", "info", "doctor"):
        args = parse([command, *(["a"] if command == "upscale" else [])])
        assert set(options_of(args)) >= {"token", "headers", "retries", "shared_memory"}


def test_a_header_is_a_name_and_a_value() -> None:
    args = parse(["info", "--header", "X-A: b:c", "--header", "Y:z"])
    assert options_of(args)["headers"] == {"X-A": "b:c", "Y": "z"}
    with pytest.raises(ValueError, match="NAME:VALUE"):
        options_of(parse(["info", "--header", "no"]))


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = parse(["completion", shell])
    args.run(args)
    script = capsys.readouterr().out
    assert "upscale" in script
    assert "strip-metadata" in script
    assert "png jpeg webp tiff" in script.replace('"', "").replace("'", "")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    with pytest.raises(SystemExit) as ended:
        parse(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"edsr-client {version('edsr-client')}\n"
