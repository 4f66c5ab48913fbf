"""What pictures may take: files that unpack to far more than they are, and decoders that die."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run
from edsr_client import AsyncUpscaler, MockTransport
from edsr_client.batch import MANIFEST, BatchOptions, Outcome, Summary, decoding, run_batch
from edsr_client.pictures.decode import decode
from edsr_serving import RunningServer
from PIL import Image

from tests.nasty_files import gif, nasty_files
from tests.unit.picture_files import encoded, encoded_deep, photo

# Decodes every file of a folder, and tells the peak of memory over what there was before it.
PEAKS = """
import json, resource, sys, warnings
from pathlib import Path
from PIL import Image
from edsr_client import BadImageError
from edsr_client.pictures.decode import decode
import cv2

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))

warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = None
resource.setrlimit(resource.RLIMIT_DATA, (4_000_000_000, 4_000_000_000))
decode(Path(sys.argv[1], "good.png").read_bytes(), "good.png")
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    try:
        picture = decode(data, path.name, int(sys.argv[2]))
        outcome = "picture", [frame.shape[0] * frame.shape[1] for frame in picture.frames]
        del picture
    except BadImageError as error:
        outcome = type(error).__name__, str(error)
    print(json.dumps([path.name, peak() - before, *outcome]), flush=True)
"""
MAX_PIXELS = 16_000_000
# 16 million pixels as Pillow holds them, as bytes on their way, as an array, and half as much again.
PEAK_MB = 16 * (4 + 3 + 3) * 1.5

# A process of the real kind, whose decoder treats some files as the worst ones that there are.
DYING = """
import sys, json; sys.path[:] = json.loads(sys.argv[2])
import os, signal
import numpy
from edsr_client.batch import decoder_process
real = decoder_process.decode
decoder_process.BASE_CPU_S = 1

def decode(data, path, *rest):
    name = os.path.basename(path)
    if "crashes" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exhausts" in name:
        held = [numpy.ones(50_000_000, numpy.uint8) for _ in range(1000)]
    if "endless" in name:
        while True:
            pass
    if "killed" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "warns" in name:
        os.write(2, b"Warning, tag 42 is odd.\\n")
    return real(data, path, *rest)

decoder_process.decode = decode
decoder_process.main()
"""


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nasty")
    for name, content in nasty_files():
        (folder / name).write_bytes(content)
    (folder / "good.png").write_bytes(encoded(photo(), "PNG"))
    return folder


def test_no_file_takes_more_than_a_picture_of_the_largest_size(nasty: Path) -> None:
    command = [sys.executable, "-c", PEAKS, str(nasty), str(MAX_PIXELS)]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=500)
    outcomes = {name: (peak, kind, what) for name, peak, kind, what in map(json.loads, told.stdout.splitlines())}
    assert told.returncode == 0, told.stderr
    assert len(outcomes) == len(list(nasty.iterdir())) > 100
    for name, (peak, kind, what) in outcomes.items():
        assert peak < PEAK_MB, (name, peak)
        assert kind in ("picture", "BadImageError", "ImageTooLargeError"), (name, kind)
        if kind == "picture":
            assert sum(what) <= 2 * MAX_PIXELS, name
        else:
            assert name in what
    far = [name for name in outcomes if name.startswith(("far-", "claims-", "grid-", "tile-")) and "frame" not in name]
    assert all(outcomes[name][1] == "ImageTooLargeError" for name in far)
    assert all(outcomes[name][0] < 100 for name in far)


def run(source: Path, out: Path, upscaler_of: Any, **options: Any) -> tuple[Summary, dict[str, str]]:
    told: list[Outcome] = []

    async def work() -> Summary:
        async with upscaler_of() as upscaler:
            return await run_batch(upscaler, [str(source)], out, BatchOptions(**options), tell=told.append)

    summary = asyncio.run(work())
    return summary, {outcome.source.name: outcome.error for outcome in told}


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of good pictures, of which some are the end of their decoders."""
    monkeypatch.setattr(decoding, "START", DYING)
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b-crashes", "c", "d-exhausts", "e-warns", "f-endless", "g-killed", "h"):
        (folder / f"{name}.png").write_bytes(encoded(photo(), "PNG"))
    return folder


def test_a_decoder_that_dies_costs_its_picture_and_not_the_run(
    embedded_server: RunningServer, dying: Path, tmp_path: Path
) -> None:
    summary, errors = run(dying, tmp_path / "out", lambda: AsyncUpscaler(embedded_server.options.http_url))
    assert (summary.made, summary.failed) == (4, 4)
    assert "SIGSEGV" in errors["b-crashes.png"]
    assert "needs more memory" in errors["d-exhausts.png"]
    assert "CPU time" in errors["f-endless.png"]
    assert "killed" in errors["g-killed.png"]
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == {"a", "c", "e-warns", "h"}
    lines = [json.loads(line) for line in (tmp_path / "out" / MANIFEST).read_text().splitlines()]
    failed = {Path(line["input"]).name: line for line in lines if line["status"] == "failed"}
    assert failed["b-crashes.png"]["type"] == "DecoderDiedError"
    notes = {Path(line["input"]).name: line["notes"] for line in lines if line["status"] == "done"}
    assert notes["e-warns.png"] == ["its decoder says: Warning, tag 42 is odd"]
    assert notes["h.png"] == []


def test_what_killed_its_decoder_twice_is_left_until_it_changes(
    dying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    upscaler_of = lambda: AsyncUpscaler(transport=MockTransport())  # noqa: E731
    for path in dying.iterdir():
        if "crashes" not in path.name and path.stem != "a":
            path.unlink()
    first, _ = run(dying, out, upscaler_of)
    assert (first.made, first.failed) == (1, 1)
    second, errors = run(dying, out, upscaler_of)
    assert (second.failed, second.done_before) == (1, 1)
    assert "SIGSEGV" in errors["b-crashes.png"]

    monkeypatch.setattr(decoding.Decoders, "_ask", None)  # nothing is decoded any more
    for _ in range(2):
        third, errors = run(dying, out, upscaler_of)
        assert (third.failed, third.done_before) == (1, 1)
        assert "not tried again" in errors["b-crashes.png"]
    monkeypatch.undo()

    forced, _ = run(dying, out, upscaler_of, overwrite=True)  # with decoders that do not die
    assert forced.made == 2
    changed, _ = run(dying, out, upscaler_of)
    assert changed.done_before == 2


def test_a_changed_picture_is_tried_again(dying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler_of = lambda: AsyncUpscaler(transport=MockTransport())  # noqa: E731
    for path in dying.iterdir():
        if "killed" not in path.name:
            path.unlink()
    for _ in range(3):
        assert run(dying, tmp_path / "out", upscaler_of)[0].failed == 1
    (dying / "g-killed.png").write_bytes(encoded(photo(30, 20), "PNG"))
    monkeypatch.undo()
    assert run(dying, tmp_path / "out", upscaler_of)[0].made == 1


def test_a_spoilt_process_is_not_blamed_on_the_next_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second picture of a process dies, in a fresh one it does not."""
    spoilt = DYING.replace(
        'if "crashes" in name:', 'if decode.__dict__.setdefault("n", []).append(1) or len(decode.n) == 2:'
    )
    monkeypatch.setattr(decoding, "START", spoilt)
    (tmp_path / "in").mkdir()
    for index in range(3):
        (tmp_path / "in" / f"{index}.png").write_bytes(encoded(photo(), "PNG"))
    summary, _ = run(tmp_path / "in", tmp_path / "out", lambda: AsyncUpscaler(transport=MockTransport()), jobs=1)
    assert (summary.made, summary.failed) == (3, 0)


def test_a_decoded_picture_is_the_same_from_a_process(tmp_path: Path) -> None:
    animation = encoded(
        Image.fromarray(photo()),
        "WEBP",
        save_all=True,
        append_images=[Image.fromarray(photo()[::-1])],
        duration=[10, 20],
    )
    deep = np.arange(24 * 36, dtype=np.uint16).reshape(24, 36) * 70
    files = {"a.webp": animation, "b.png": encoded(deep, "PNG"), "c.jpg": encoded(photo(), "JPEG", dpi=(90, 90))}

    async def work() -> None:
        decoders = decoding.Decoders(1)
        try:
            for name, data in files.items():
                found, expected = await decoders.decode(data, name, MAX_PIXELS), decode(data, name)
                assert len(found.frames) == len(expected.frames)
                for one, other in zip(found.frames, expected.frames, strict=True):
                    assert one.dtype == other.dtype
                    assert np.array_equal(one, other)
                assert found.with_frames(()) == expected.with_frames(())
            assert await decoders.decode_small(files["a.webp"], "a.webp", MAX_PIXELS, most=100) == 2 * 24 * 36
        finally:
            decoders.close()

    asyncio.run(work())


def test_small_lying_files_in_a_folder_are_named_and_stop_no_other(
    embedded_server: RunningServer, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "far.gif").write_bytes(gif((10, 10), [(0, 0, 10, 10), (20_000, 20_000, 10, 10)]))
    (source / "good.png").write_bytes(encoded(photo(), "PNG"))
    with (source / "sparse.tif").open("wb") as file:
        file.truncate(2**40)
    summary, errors = run(source, tmp_path / "out", lambda: AsyncUpscaler(embedded_server.options.http_url))
    assert (summary.made, summary.failed) == (1, 2)
    assert "20010x20010" in errors["far.gif"]
    assert "more than 1,056,000,000 bytes" in errors["sparse.tif"]


def test_what_libraries_say_stands_beside_the_name_of_the_file(
    embedded_server: RunningServer, nasty: Path, run: Run, tmp_path: Path
) -> None:
    url = embedded_server.options.http_url
    single = run("edsr_client", "upscale", nasty / "counts.tif", "out.png", "--url", url)
    assert single.returncode == 3
    lines = single.stderr.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1
    assert any("Read error on strip 0" in line for line in lines)
    assert all("counts.tif" in line for line in lines)

    shutil.copy(nasty / "counts.tif", tmp_path / "counts.tif")
    folder = run("edsr_client", "batch", tmp_path / "counts.tif", tmp_path / "out", "--url", url)
    assert folder.returncode == 10
    (line,) = [line for line in folder.stderr.splitlines() if "counts.tif" in line]
    assert "Its decoder says: TIFFFillStrip" in line


def test_pictures_of_the_largest_size_fit_the_limits_of_processes(tmp_path: Path) -> None:
    """100 megapixels, grey; and 16 bits with transparency of fewer, which take most for each pixel."""
    deep = np.zeros((2000, 2000, 4), np.uint16)
    deep[::7, ::5, :3], deep[..., 3] = 40_000, 30_000
    files = {
        "a.png": (encoded(Image.new("L", (10_000, 10_000)), "PNG"), (10_000, 10_000)),
        "b.png": (encoded_deep(deep, ".png"), (2000, 2000)),
    }

    async def work() -> None:
        decoders = decoding.Decoders(1)
        try:
            for name, (data, size) in files.items():
                assert (await decoders.decode(data, name, 100_000_000)).size == size
        finally:
            decoders.close()

    asyncio.run(work())
