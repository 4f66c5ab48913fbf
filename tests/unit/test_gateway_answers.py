"""The gateway's frame: its answers where no Triton runs, and its problems."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edsr_client import errors
from edsr_gateway.app import create_app
from edsr_gateway.cli import main
from edsr_gateway.errors import problem_of
from edsr_gateway.settings import Settings
from starlette.testclient import TestClient


@pytest.fixture
def gateway() -> Iterator[TestClient]:
    """A gateway in front of a port where nothing listens."""
    with TestClient(create_app(Settings(urls=("http://127.0.0.1:9",)))) as client:
        yield client


def test_a_gateway_lives_without_triton_and_says_that_it_is_not_ready(gateway: TestClient) -> None:
    assert gateway.get("/healthz").status_code == 200
    answer = gateway.get("/readyz")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"].isdigit()
    assert "127.0.0.1:9" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/healthz", 405)])
def test_what_the_router_refuses_is_a_problem_too(gateway: TestClient, method: str, path: str, status: int) -> None:
    answer = gateway.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ImageTooLargeError("x"), 413),
        (errors.BadImageError("x"), 415),
        (errors.DecoderDiedError("x"), 422),
        (errors.OutputError("x"), 422),
        (errors.ServerTimeoutError("x"), 504),
        (errors.ServerUnreachableError("x"), 503),
        (errors.ModelNotFoundError("x"), 404),
        (errors.EdsrError("x"), 500),
    ],
)
def test_every_error_of_the_client_has_its_status(error: errors.EdsrError, status: int) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert ("Retry-After" in problem.headers) == (status in (503, 504))


def test_strangers_are_told_of_their_picture_and_not_of_the_servers_addresses() -> None:
    assert problem_of(errors.BadImageError("cut off")).detail == "cut off"
    assert "10.0.0.7" not in problem_of(errors.ServerUnreachableError("Nothing answers at 10.0.0.7:8000")).detail


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "port 70000 is none"),
        (["--url", "foo://x"], "'foo://x' does not go with protocol 'http'"),
        (["--url", "host:port:8000"], "'host:port:8000' is not host:port"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {words}")
    assert said.count("\n") == 1
