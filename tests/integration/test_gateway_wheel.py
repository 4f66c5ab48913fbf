"""The gateway's wheel: everything that its folder holds, the page's files too."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def test_the_wheel_holds_the_whole_page(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(root / "gateway")], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    package = root / "gateway" / "edsr_gateway"
    there = {str(path.relative_to(package.parent)) for path in package.rglob("*") if path.is_file()}
    assert packed == {name for name in there if "__pycache__" not in name}
    assert {
        f"edsr_gateway/page/static/{name}" for name in ("index.html", "main.js", "style.css", "sample.png")
    } <= packed
