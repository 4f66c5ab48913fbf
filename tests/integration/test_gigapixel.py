"""Large pictures on a real server, from the command line: the same as in one piece, and after kill -9."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import Run, assert_one_line_error
from edsr_serving import RunningServer
from PIL import Image
from proxies import Gate

pytest.importorskip("pyvips")
BANDS = ("--bands", "always", "--tile", "64", "--halo", "exact")
LET_THROUGH = 7  # two bands of three tiles, and one more


def noise(path: Path, height: int, width: int) -> Path:
    picture = np.random.default_rng(1).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    Image.fromarray(picture).resize((width, height)).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("border", ["zero", "symmetric"])
def test_bands_are_bit_for_bit_what_one_request_gives(
    run: Run, embedded_server: RunningServer, tmp_path: Path, border: str
) -> None:
    noise(tmp_path / "a.tif", 200, 150)
    url = ("--border", border, "--url", embedded_server.options.http_url)
    banded = run(
        "edsr_client", "upscale", "a.tif", "banded.tif", *BANDS[:2], "--tile", "120", *BANDS[4:], *url, "--json"
    )
    assert banded.returncode == 0, banded.stderr
    assert json.loads(banded.stdout)["tiles"] > 4
    assert run("edsr_client", "upscale", "a.tif", "whole.tif", *url).returncode == 0
    np.testing.assert_array_equal(pixels(tmp_path / "banded.tif"), pixels(tmp_path / "whole.tif"))


def test_killed_in_the_middle_it_goes_on(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 400, 150)
    server = embedded_server.options.http_url
    options = ["--bands", "always", "--tile", "64", "--json", "--url"]
    whole = run("edsr_client", "upscale", "a.png", "whole.tif", *options, server)
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["tiles"] > 3 * LET_THROUGH
    command = [sys.executable, "-m", "edsr_client", "upscale", "a.png", "out.tif", *options]
    folder = tmp_path / ".out.tif.edsr-bands"
    for sent, code, wanted in ((signal.SIGKILL, -9, 2), (signal.SIGKILL, -9, 4), (signal.SIGINT, 130, 5)):
        with Gate(server, left=LET_THROUGH) as gate:
            process = subprocess.Popen(
                [*command, gate.url], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while len(list(folder.glob("*.band"))) < wanted and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(sent)
            assert process.wait(30) == code
    done = run("edsr_client", "upscale", "a.png", "out.tif", *options, server)
    assert done.returncode == 0, done.stderr
    assert "went on with" in done.stderr
    assert json.loads(done.stdout)["tiles"] < json.loads(whole.stdout)["tiles"]
    np.testing.assert_array_equal(pixels(tmp_path / "out.tif"), pixels(tmp_path / "whole.tif"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "out.tif", "whole.tif"]


def test_an_interruption_says_what_lies_where_and_restart_drops_it(
    run: Run, embedded_server: RunningServer, tmp_path: Path
) -> None:
    noise(tmp_path / "a.png", 400, 150)
    command = [sys.executable, "-m", "edsr_client", "upscale", "a.png", "out.tif", *BANDS[:4], "--url"]
    folder = tmp_path / ".out.tif.edsr-bands"
    with Gate(embedded_server.options.http_url, left=LET_THROUGH) as gate:
        process = subprocess.Popen([*command, gate.url], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while not list(folder.glob("*.band")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert stderr.count("\n") == 2, stderr
    kept, interrupted = stderr.splitlines()
    assert re.match(r"note: \d+ of \d+ bands of out\.tif \(\d+ MB\) are kept in .*\.out\.tif\.edsr-bands\. ", kept)
    assert "The same command goes on with them; with --restart it begins anew" in kept
    assert "removing the folder frees the disk" in kept
    assert interrupted == "interrupted; no result was left half written"
    url = embedded_server.options.http_url
    anew = run("edsr_client", "upscale", "a.png", "out.tif", *BANDS[:4], "--restart", "--url", url)
    assert anew.returncode == 0, anew.stderr
    assert "went on with" not in anew.stderr
    assert not folder.exists()


def test_errors_are_one_line(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    data = noise(tmp_path / "a.jpg", 200, 150).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    url = ("--url", embedded_server.options.http_url)
    for arguments, code, words in (
        (["cut.jpg", "out.tif"], 3, "damaged or truncated"),
        (["a.jpg", "out.webp"], 4, "does not go in bands"),
        (["a.jpg", "missing/out.tif"], 4, "no folder"),
        (["a.jpg", "out.tif", "--max-pixels", "100"], 3, "more than 100"),
    ):
        assert_one_line_error(run("edsr_client", "upscale", *arguments, *BANDS[:4], *url), code, words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "cut.jpg"]
