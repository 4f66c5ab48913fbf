"""`make torture`: a folder through a real server, with a result that is made wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from commands import Run
from edsr_perf.torture.compare import Tolerance
from edsr_perf.torture.run import DAMAGED, DIFFERENT, SAME, judge
from edsr_serving import RunningServer
from PIL import Image

from tests.unit.picture_files import encoded, exif, photo, profile


def test_a_folder_is_judged_and_a_wrong_result_is_found(
    embedded_server: RunningServer, run: Run, root: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "below").mkdir(parents=True)
    frames = [Image.fromarray(photo(48, 60)[::step]) for step in (1, -1)]
    files = {
        "a.jpg": encoded(photo(48, 60), "JPEG", exif=exif(6), icc_profile=profile(), quality=95),
        "below/b.png": encoded(np.dstack([photo(48, 60), np.full((48, 60), 90, np.uint8)]), "PNG"),
        "c.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100),
        "d.tif": encoded(photo(48, 60)[..., 0], "TIFF"),
        "e.png": b"no picture at all",
    }
    for name, content in files.items():
        (source / name).write_bytes(content)
    url = embedded_server.options.http_url
    told = run("edsr_perf", "torture", source, "--out", out, "--url", url, "--root", root)
    report = json.loads((out / "report.json").read_text())
    assert told.returncode == 0, told.stderr + (out / "report.md").read_text()
    assert report["summary"] == {SAME: 4, DAMAGED: 1}

    result = out / "results" / "below" / "b.png"
    Image.open(result).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(result)
    verdicts = {one.file: one for one in judge(source, sorted(files), out / "results", 3, Tolerance())}
    assert [name for name, one in verdicts.items() if one.status == DIFFERENT] == ["below/b.png"]
    assert [one.what for one in verdicts["below/b.png"].differences] == ["pixels of frame 0"]


def test_no_folder_is_said(run: Run, tmp_path: Path) -> None:
    told = run("edsr_perf", "torture", tmp_path / "none")
    assert told.returncode == 2
    assert told.stderr.startswith("error: There is no folder")
