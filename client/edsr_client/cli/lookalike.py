"""Whether a file that is to be replaced is another picture, and no earlier result of the same one."""

from __future__ import annotations

from pathlib import Path


def is_another_picture(source: Path, target: Path) -> bool:
    """Whether both are pictures, two files, and the target is no larger than the source: no upscaled one."""
    try:
        if not target.is_file() or source.samefile(target):
            return False
        (width, height), (old_width, old_height) = _size(source), _size(target)
    except Exception:  # no picture, or none that can be looked at: others say why
        return False
    return old_width <= width and old_height <= height


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    from ..pictures.plugins import register_plugins

    register_plugins()
    with Image.open(path) as image:
        width, height = image.size
        return width, height
