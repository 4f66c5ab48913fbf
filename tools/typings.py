"""Makes the types of TensorRT's Python API usable: the package tensorrt-stubs (10.13) has lines that are no Python.

Usage: python tools/typings.py FOLDER. Writes mended copies there, for mypy to find; nothing without the package.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

PACKAGES = ("tensorrt/", "tensorrt_bindings/")


def mended(text: str) -> str:
    """The same stubs with parameters called `in` renamed, and a default where one must not be missing."""
    text = re.sub(r"\bin: (?=\w+\[)", "inputs: ", text)
    return text.replace("power: Weights = None, channel_axis: int)", "power: Weights = None, channel_axis: int = ...)")


def main() -> None:
    target = Path(sys.argv[1])
    try:
        found = files("tensorrt-stubs") or []
    except PackageNotFoundError:
        return
    for file in found:
        if file.name.endswith(".pyi") and str(file).startswith(PACKAGES):
            path = target / str(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(mended(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
