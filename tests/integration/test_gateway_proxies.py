"""The gateway behind the real nginx and the real Caddy, with the configurations of docs/proxies."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from edsr_serving.server import free_ports
from gateway_processes import Gateway, eventually

from tests.unit.picture_files import encoded, photo

JPEG = encoded(photo(), "JPEG", quality=90)
MOST_BYTES = 200_000
AROUND = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def _changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def _nginx(configuration: str, gateway: str, port: int, folder: Path) -> list[str]:
    site = _changed(configuration, ("127.0.0.1:8080", gateway), ("listen 80;", f"listen 127.0.0.1:{port};"))
    (folder / "site.conf").write_text(site, "utf-8")
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder), "utf-8")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(configuration: str, gateway: str, port: int, folder: Path) -> list[str]:
    site = _changed(configuration, ("127.0.0.1:8080", gateway), ("pictures.example.com", f"http://127.0.0.1:{port}"))
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + site, "utf-8")
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("Caddy is not installed: apt-get install caddy")
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module")
def behind(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that believes proxies on this machine, and takes little."""
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(server_url, folder, forwarded_from=["127.0.0.1"], limits={"upload_bytes": MOST_BYTES}) as gateway:
        yield gateway


@pytest.fixture(params=["nginx.conf", "Caddyfile"])
def proxy(request: pytest.FixtureRequest, behind: Gateway, root: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client that speaks to the gateway through a proxy, from an address that is not the proxy's."""
    (port,) = free_ports(1)
    configuration = (root / "docs" / "proxies" / request.param).read_text("utf-8")
    command = _nginx if request.param == "nginx.conf" else _caddy
    words = command(configuration, str(behind.http.base_url).removeprefix("http://").rstrip("/"), port, tmp_path)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(words, stdout=log, stderr=log, env=environment) as process,
    ):
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=120)

        def answers() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text("utf-8", "replace")
            try:
                return client.get("/healthz").status_code == 200
            except httpx.TransportError:
                return False

        try:
            eventually(answers)
            yield client
        finally:
            client.close()
            process.terminate()


def test_pictures_refusals_and_events_come_through(proxy: httpx.Client, behind: Gateway) -> None:
    direct = behind.http.post("/enhance", files={"image": ("a.jpg", JPEG)})
    through = proxy.post("/enhance", files={"image": ("a.jpg", JPEG)})
    assert (through.status_code, through.content) == (200, direct.content)
    assert "default-src 'none'" in through.headers["content-security-policy"]

    refused = proxy.put("/v1/upscale", content=bytes(MOST_BYTES + 1))
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/problem+json")
    assert refused.json()["limit_bytes"] == MOST_BYTES

    accepted = proxy.post("/v1/jobs?format=png", content=JPEG)
    assert accepted.status_code == 202
    with proxy.stream("GET", accepted.json()["events_url"]) as stream:
        events = [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
    assert events[-1]["status"] == "done"
    result = proxy.get(accepted.json()["result_url"])
    assert (result.status_code, result.headers["content-type"]) == (200, "image/png")


def test_the_gateway_counts_by_the_senders_address(proxy: httpx.Client, behind: Gateway) -> None:
    name = f"through-{proxy.base_url.port}"
    assert proxy.get("/readyz", headers={"X-Request-Id": name}).status_code == 200
    log = (behind.folder / "gateway.log").read_text("utf-8")
    assert re.search(rf"id={name} .*client=ip:127\.0\.0\.2\b", log)
