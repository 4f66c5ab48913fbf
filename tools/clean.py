"""Removes what was built, but never under a running server; engines only when they are named.

    python tools/clean.py            converted models, run folders, the demo's output, distributions
    python tools/clean.py engines    engines of GPUs, and their caches

Runs on the system's own interpreter, with the standard library only.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ("demo/out", "demo/out.partial", ".run", "build", "dist")
CONVERTED = "model_repository/*/1/model*"  # model.onnx, model.int8.json, ...; all else there belongs to engines
ENGINES = "model_repository/*/1/*"
ENGINE_CACHES = (".cache",)


def servers(root: Path = ROOT, proc: Path = Path("/proc")) -> Iterator[str]:
    """What runs on the models of this checkout, wherever its own files are, or is just starting in its run folders."""
    for process in proc.glob("[0-9]*"):
        try:
            binary = (process / "cmdline").read_bytes().split(b"\0")[0]
            if not binary.endswith(b"/tritonserver"):
                continue
            links = [path.resolve() for path in (process / "cwd" / "model_repository").glob("*/1")]
        except OSError:  # it has just ended, or is another user's
            continue
        if any((root / "model_repository").resolve() in link.parents for link in links):
            yield f"tritonserver (pid {process.name}, files in {(process / 'cwd').resolve()})"
    for lock in [*root.glob(".run/lock"), *root.glob(".run/*/lock")]:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield f"a server in {lock.parent}"


def clean(root: Path = ROOT) -> list[Path]:
    """Remove what `make` builds in a minute; returns what was there."""
    return _remove([*(root / name for name in BUILT), *root.glob(CONVERTED)])


def clean_engines(root: Path = ROOT) -> list[Path]:
    """Remove engines, their sidecars and caches; returns what was there."""
    converted = set(root.glob(CONVERTED))
    engines = [path for path in root.glob(ENGINES) if path not in converted]
    return _remove([*(root / name for name in ENGINE_CACHES), *engines])


def _remove(paths: list[Path]) -> list[Path]:
    there = [path for path in paths if path.exists() or path.is_symlink()]
    for path in there:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return there


def main(argv: list[str]) -> int:
    """Returns the process's exit code: 8 where a server runs."""
    if running := sorted(set(servers())):
        print(f"error: {'; '.join(running)} uses what would be removed. Stop it first: `make stop`.", file=sys.stderr)
        return 8
    removed = clean_engines() if argv == ["engines"] else clean()
    for path in removed:
        print(f"removed {path.relative_to(ROOT)}")
    kept = [] if argv else sorted(ROOT.glob("model_repository/*/1/*.plan"))
    if kept:
        print(f"{len(kept)} engine(s) stay: `make clean-engines` removes them")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
