"""The command `edsr` on a real server, as a person or a script uses it."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from commands import Run, assert_one_line_error
from edsr_serving import RunningServer, free_ports
from PIL import Image

from tests.unit.metadata_files import (
    NOTE_TEXT,
    camera_block,
    iptc,
    jpeg_with,
    note_text,
    packet,
    png_with,
    raw_profile,
    resource,
)

EDSR = [sys.executable, "-m", "edsr_client"]


def write(path: Path, height: int = 10, width: int = 12, level: int = 99) -> Path:
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(path)
    return path


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.width, image.height


def test_it_upscales_a_file(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    done = run("edsr_client", "upscale", "a.png", "--url", embedded_server.options.http_url)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"a_x3\.png \(36x30, edsr_baseline_x3 on 127\.0\.0\.1:\d+, \d+\.\d\d s\)\n", done.stdout), (
        done.stdout
    )
    assert done.stderr == ""
    assert size_of(tmp_path / "a_x3.png") == (36, 30)
    grpc = ("--url", embedded_server.options.grpc_url, "--protocol", "grpc")
    assert (
        run("edsr_client", "upscale", "a.png", *grpc, "b.webp", "--quality", "90", "--max-side", "20").returncode == 0
    )
    assert size_of(tmp_path / "b.webp") == (20, 17)


def test_a_large_picture_is_tiled_and_described_as_json(
    run: Run, embedded_server: RunningServer, tmp_path: Path
) -> None:
    write(tmp_path / "a.png", 200, 300)
    url = embedded_server.options.http_url
    done = run("edsr_client", "upscale", "a.png", "o.tif", "--tile", "100x120", "--json", "--url", url)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["path"], told["format"], told["width"], told["height"]) == ("o.tif", "tiff", 900, 600)
    assert told["tiles"] > 4
    assert (told["retries"], told["notes"], told["servers"]) == (0, [], [url])
    quiet = run("edsr_client", "upscale", "a.png", "o.tif", "-q", "--url", url)
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)


def test_metadata_is_kept_and_what_is_lost_is_said_once(
    run: Run, embedded_server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "turned.png").write_bytes(png_with(raw_profile("exif", camera_block(">", 6))))
    (tmp_path / "in").mkdir()
    xmp = packet('dc:format="a" GCamera:MotionPhoto="1" GCamera:MicroVideo="1"')
    (tmp_path / "in" / "moving.jpg").write_bytes(jpeg_with(xmp=xmp, resources=resource(0x0404, iptc((5, b"Title")))))
    url = ("--url", embedded_server.options.http_url)
    done = run("edsr_client", "upscale", "turned.png", "turned.jpg", "--json", *url)
    told = json.loads(done.stdout)
    assert (told["width"], told["height"], told["notes"]) == (72, 108, [])
    with Image.open(tmp_path / "turned.jpg") as image:
        assert (image.getexif()[271], image.getexif()[274]) == ("Camera", 1)
        assert note_text(image.info["exif"]) == NOTE_TEXT
    lost = [
        "the video of the motion photo was dropped, and the flags that point to it",
        "WEBP cannot hold IPTC: dropped",
    ]
    done = run("edsr_client", "upscale", "in/moving.jpg", "moving.webp", *url)
    assert done.stderr.splitlines() == [f"note: {note}" for note in lost]
    done = run("edsr_client", "batch", "in", "out", "--format", "webp", *url)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "out" / "edsr-manifest.jsonl").read_text().splitlines()]
    assert [record["notes"] for record in records if "notes" in record] == [lost]


def test_it_is_a_part_of_a_pipe(embedded_server: RunningServer, tmp_path: Path) -> None:
    content = write(tmp_path / "a.png").read_bytes()
    here = ["--url", embedded_server.options.http_url]
    done = subprocess.run([*EDSR, "upscale", "-", "-", *here], input=content, capture_output=True, check=True)
    assert Image.open(io.BytesIO(done.stdout)).size == (36, 30)
    assert b"standard output (36x30" in done.stderr
    done = subprocess.run(
        [*EDSR, "upscale", "-", "--format", "jpeg", *here], input=content, capture_output=True, check=True
    )
    assert Image.open(io.BytesIO(done.stdout)).format == "JPEG"
    done = subprocess.run(
        [*EDSR, "upscale", "-", str(tmp_path / "o.webp"), *here], input=content, capture_output=True, check=True
    )
    assert Image.open(tmp_path / "o.webp").format == "WEBP"
    done = subprocess.run([*EDSR, "upscale", "-", *here], input=b"text", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"error: the picture is not a picture of a known format" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png", 300, 300)
    url = embedded_server.options.http_url
    command = f"{' '.join(EDSR)} upscale {tmp_path}/a.png - --format bmp --url {url} | head -c 10 > /dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_a_terminal_gets_a_bar_of_tiles(embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png", 200, 300)
    command = [*EDSR, "upscale", str(tmp_path / "a.png"), "--tile", "64", "--url", embedded_server.options.http_url]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other end is closed
        pass
    assert process.wait(60) == 0
    assert b"a.png" in shown
    assert b"tiles" in shown


def test_a_picture_is_not_poured_onto_a_terminal(tmp_path: Path) -> None:
    content = write(tmp_path / "a.png").read_bytes()
    ours, theirs = pty.openpty()
    done = subprocess.run([*EDSR, "upscale", "-"], input=content, stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    os.close(ours)
    assert (done.returncode, done.stderr.decode().split(".")[0]) == (2, "error: Standard output is a terminal")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(
    embedded_server: RunningServer, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    write(tmp_path / "a.png", 900, 900)
    command = [*EDSR, "upscale", str(tmp_path / "a.png"), "--tile", "64", "-vv"]
    process = subprocess.Popen(
        [*command, "--url", embedded_server.options.http_url], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:  # until it is at work
        if "px by" in line:
            break
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert stderr.splitlines()[-1] == "interrupted; no result was left half written"
    assert "Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_verbose_says_what_is_sent(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    done = run("edsr_client", "upscale", "a.png", "-vv", "--url", embedded_server.options.http_url)
    assert re.search(r"edsr-[0-9a-f]{8}-0: 44x42 px by 127", done.stderr), done.stderr


def test_info_says_what_is_served(run: Run, embedded_server: RunningServer) -> None:
    told = run("edsr_client", "info", "--json", "--url", embedded_server.options.http_url)
    facts = json.loads(told.stdout)
    assert facts["servers"][0]["version"] == "2.51.0"
    assert facts["model"]["precision"] == "fp32"
    assert facts["model"]["max_lr_pixels"] == 4_194_304
    text = run("edsr_client", "info", "--url", embedded_server.options.http_url).stdout
    grpc = ("--protocol", "grpc", "--url", embedded_server.options.grpc_url)
    assert json.loads(run("edsr_client", "info", "--json", *grpc).stdout)["model"] == facts["model"]
    for word in ("edsr_baseline_x3.pb", facts["model"]["source_sha256"], "f32", "openvino", "4,194,304", "35 is exact"):
        assert word in text


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_doctor_examines_a_well_server(run: Run, embedded_server: RunningServer, protocol: str) -> None:
    options = embedded_server.options
    url = options.http_url if protocol == "http" else options.grpc_url
    told = run("edsr_client", "doctor", "--protocol", protocol, "--url", url)
    assert told.returncode == 0, told.stdout + told.stderr
    for words in (
        "ok   server: triton 2.51.0",
        "ok   model: edsr_baseline_x3 x3, f32",
        "float32",
        "one pixel is answered in",
        " megapixels in about",
        "by Triton's statistics: inference",
    ):
        assert words in told.stdout, told.stdout
    assert "ok   shared memory: can be used" in told.stdout
    checks = json.loads(run("edsr_client", "doctor", "--json", "--protocol", protocol, "--url", url).stdout)
    assert {check["status"] for check in checks} <= {"ok", "warn"}


def test_doctor_says_what_is_wrong_and_ends_with_its_exit_code(run: Run, embedded_server: RunningServer) -> None:
    here, nowhere = embedded_server.options.http_url, f"127.0.0.1:{free_ports(1)[0]}"
    told = run("edsr_client", "doctor", "--url", f"{nowhere},{here}")
    assert told.returncode == 5
    assert "FAIL server: No Triton server answers" in told.stdout
    assert "ok   model" in told.stdout  # of the other one
    told = run("edsr_client", "doctor", "--url", here, "--model", "none")
    assert told.returncode == 7
    assert "FAIL" in told.stdout


def test_errors_are_one_line_and_leave_nothing(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    here = ("--url", embedded_server.options.http_url)
    write(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no picture", "utf-8")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-900])
    before = sorted(tmp_path.iterdir())
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    for arguments, code, words in (
        (("none.png", "o.png", *here), 3, "No such file"),
        (
            ("https://example.com/a.png", "o.png", *here),
            3,
            "https://example.com/a.png: No such file or directory. That",
        ),
        (("a.png", "none/", *here), 4, "there is no folder none"),
        (("text.png", "o.png", *here), 3, "not a picture of a known format"),
        (("empty.png", "o.png", *here), 3, "is empty"),
        (("cut.png", "o.png", *here), 3, "damaged or truncated"),
        ((".", "o.png", *here), 3, "edsr batch . OUT"),
        (("a.png", "o.xyz", *here), 4, "unknown extension"),
        (("a.png", "no/o.png", *here), 4, "there is no folder"),
        (("a.png", "./a.png", *here), 4, "the input itself"),
        (("a.png", "/dev/full/o.png", *here), 4, "Cannot write"),
        (("a.png", "n" * 300 + ".png", *here), 4, "Cannot write"),
        (("a.png", "o.png", *here, "--model", "m"), 7, "edsr info"),
        (("a.png", "o.png", *here, "--max-pixels", "100"), 3, "--max-pixels"),
        (("a.png", "o.png", *here, "--quality", "101"), 2, "quality"),
        (("a.png", "o.png", *here, "--tile", "9999"), 2, "over what the server takes"),
        (("a.png", "o.png", "--url", nowhere), 5, "No Triton server"),
        (("a.png", "o.png", "--url", "localhost:99999"), 2, "host:port"),
        (("a.png", "o.png", "--url", "ftp://x"), 2, "ftp://x"),
        (("a.png", "o.png", "--url", "https://x", "--ca-file", "none.pem"), 2, "certificates"),
    ):
        assert_one_line_error(run("edsr_client", "upscale", *arguments), code, words)
        assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_the_old_output(embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png", 64, 64)
    (tmp_path / "o.bmp").write_bytes(b"old")
    url = embedded_server.options.http_url
    command = f"ulimit -f 8; trap '' XFSZ; {' '.join(EDSR)} upscale a.png o.bmp --url {url}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "File too large" in done.stderr
    assert (tmp_path / "o.bmp").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "o.bmp"]


def test_the_servers_and_the_token_come_from_the_environment(embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    environment = os.environ | {"EDSR_URL": embedded_server.options.http_url, "EDSR_TOKEN": "secret"}
    done = subprocess.run([*EDSR, "upscale", "a.png"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_comes_at_once(run: Run) -> None:
    """Heavy libraries are loaded when they are needed: the help needs none of them."""
    code = (
        "import sys; from edsr_client.cli import arguments; arguments.make_parser().format_help(); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cv2", "grpc", "gevent", "tritonclient", "PIL", "aiohttp"} & set(loaded)
    assert "doctor" in run("edsr_client", "--help").stdout


def test_errors_are_json_where_the_result_would_have_been(
    run: Run, embedded_server: RunningServer, tmp_path: Path
) -> None:
    url = embedded_server.options.http_url
    (tmp_path / "a.png").write_bytes(b"text")
    for command in (
        ("upscale", "a.png", "--json", "--url", url),
        ("info", "--json", "--url", url, "--model", "nope"),
        ("upscale", "none.png", "-q", "--json", "--url", url),
    ):
        done = run("edsr_client", *command)
        told = json.loads(done.stdout)
        assert told["exit_code"] == done.returncode > 2
        assert done.stderr == f"error: {told['error']}\n"
        assert told["type"].endswith("Error")
    piped = run("edsr_client", "upscale", "a.png", "-", "--json", "--url", url)
    assert piped.stdout == ""
    assert json.loads(piped.stderr.splitlines()[-1])["exit_code"] == 3


def test_quiet_json_is_still_json_and_standard_output_has_a_name(
    run: Run, embedded_server: RunningServer, tmp_path: Path
) -> None:
    write(tmp_path / "a.png")
    url = embedded_server.options.http_url
    told = json.loads(run("edsr_client", "upscale", "a.png", "-q", "--json", "--url", url).stdout)
    assert told["path"] == "a_x3.png"
    content = (tmp_path / "a.png").read_bytes()
    command = [*EDSR, "upscale", "-", "-", "--json", "--url", url]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    assert json.loads(done.stderr)["path"] == "-"


def test_a_server_that_takes_no_part_is_not_named(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (nobody,) = free_ports(1)
    url = embedded_server.options.http_url
    done = run("edsr_client", "upscale", "a.png", "--json", "--url", url, "--url", f"localhost:{nobody}")
    assert done.returncode == 0, done.stderr
    assert f"localhost:{nobody} is left out" in done.stderr
    assert json.loads(done.stdout)["servers"] == [url]


def test_verbose_says_what_was_sent(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    done = run("edsr_client", "upscale", "a.png", "-v", "--url", embedded_server.options.http_url)
    assert re.search(r"edsr-\w+-0: 44x42 px by 127\.0\.0\.1:\d+ in \d+ ms", done.stderr)


def test_certificates_without_tls_are_refused(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    done = run("edsr_client", "upscale", "a.png", "--ca-file", "none.pem", "--url", "localhost:1")
    assert_one_line_error(done, 2, "https://localhost:1")


def test_the_doctor_names_what_is_ill(run: Run, embedded_server: RunningServer) -> None:
    done = run("edsr_client", "doctor", "--model", "nope", "--url", embedded_server.options.http_url)
    assert done.returncode == 7
    assert "ok   server" in done.stdout
    assert "fail model" in done.stdout.lower()


def test_an_effort_that_there_is_not_is_refused_with_those_there_are(run: Run) -> None:
    result = run("edsr_client", "upscale", "a.png", "o.png", "--png-effort", "best")
    assert result.returncode == 2
    assert all(effort in result.stderr for effort in ("fast", "normal", "small"))
