"""A /dev/shm that is too small: said at the start, a short error for the request, and the server goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

INSIDE = """
    import http.client, json, os, sys
    from pathlib import Path
    from edsr_serving import ServerOptions, free_ports, start

    repository, run_dir = map(Path, sys.argv[1:])
    options = ServerOptions(repository, run_dir, ("edsr_baseline_x3",)).with_ports(*free_ports(3))

    def ask(side):
        tensor = {"name": "image", "shape": [1, side, side, 3], "datatype": "UINT8"}
        header = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": 3 * side * side}}]}).encode()
        connection = http.client.HTTPConnection(options.http_url, timeout=120)
        length = {"Inference-Header-Content-Length": str(len(header))}
        connection.request("POST", "/v2/models/edsr_baseline_x3/infer", header + bytes(3 * side * side), length)
        response = connection.getresponse()
        text = response.read()
        return response.status, "" if response.status == 200 else text.decode()

    with start(options) as server:
        print(ask(32))
        print(ask(600))
        with open("/dev/shm/other", "wb", buffering=0) as other:
            try:
                while True:
                    other.write(bytes(65536))
            except OSError:
                pass
        print(ask(300))
        os.unlink("/dev/shm/other")
        print(ask(300))
        print(server.guard.reason or "well")
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_an_answer_that_does_not_fit_is_an_error_and_the_next_one_is_answered(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "inside.py"
    script.write_text(textwrap.dedent(INSIDE), "utf-8")
    mount = 'mount -t tmpfs -o size=16m tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, str(script)]
    if subprocess.run([*command[:4], "mount -t tmpfs tmpfs /dev/shm"], capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    run = [*command, str(root / "model_repository"), str(tmp_path / "run")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Requests are limited to what fits: edsr_baseline_x3 139,810 pixels" in done.stderr
    assert "--shm-size" in done.stderr
    small, too_large, no_room, again, state = done.stdout.splitlines()
    assert small == again == "(200, '')"
    assert "(400" in too_large
    assert "139810 this server takes" in too_large
    assert "(500" in no_room
    assert "does not fit the server" in no_room
    assert "edsr-" not in no_room  # the region's name is nobody's business
    assert state == "well"
