"""Which pictures a run takes, and where their results go: a walk that holds one folder at a time.

What comes from a folder keeps its place below it (`scans/1901/a.tif` of `scans` becomes `1901/a.png`); with several
folders each has one of its own name. Of a pattern the part before its first wildcard stands for the folder.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath

from ..errors import BadImageError, OutputError
from ..pictures.formats import FORMATS
from .own_results import ADDED, own_results

EXTENSIONS = frozenset(extension for format_ in FORMATS.values() for extension in format_.extensions)
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Job:
    """A picture and its result: `target` is relative to the folder of the results."""

    source: Path
    target: PurePath


@dataclass(frozen=True)
class Problem:
    """Something that should have been looked at and cannot be."""

    source: Path
    reason: str


@dataclass(frozen=True)
class OwnResult:
    """A picture that is passed over because it is another one's result, by its name."""

    source: Path


@dataclass(frozen=True)
class Sources:
    """What to look for.

    Attributes:
        named: folders, files and patterns.
        listed: files that a list names.
        out: folder of the results; what is below it is not looked at.
        extension: of the results, with its dot.
        recursive: whether folders in folders are looked at.
        follow_links: whether links to folders are; a link to a file is always read.
        own_results: whether photo_x3.png beside photo.jpg is a picture, too; one that is named always is.
    """

    named: tuple[str, ...]
    listed: tuple[str, ...]
    out: Path
    extension: str
    recursive: bool = False
    follow_links: bool = False
    own_results: bool = False


def check(sources: Sources) -> None:
    """Raise an EdsrError if the run could not be what is meant; before anything is done.

    Raises:
        BadImageError: there is no such file or folder, or nothing is named.
        OutputError: results would be mixed with pictures or with each other.
    """
    if not sources.named and not sources.listed:
        raise BadImageError("Name pictures, folders or patterns, or a list of them (--from-file).")
    for name in sources.named:
        check_readable(name)
    check_writable(sources.out)
    folders = [Path(name) for name in sources.named if Path(name).is_dir()]
    for name in sources.named:
        if not os.path.lexists(name) and not glob.has_magic(name):
            raise BadImageError(f"There is no {name}. Name a picture, a folder, or a pattern in quotes.")
        if not os.path.lexists(name) and next(glob.iglob(name, recursive=True), None) is None:  # noqa: PTH207
            raise BadImageError(f"Nothing matches {name}.")
    for folder in folders:
        if sources.out.exists() and folder.samefile(sources.out):
            raise OutputError(f"{sources.out} is the folder of the pictures. Name another for the results.")
    twice = [name for name, count in Counter(folder.resolve().name for folder in folders).items() if count > 1]
    if twice:
        raise OutputError(f"Two folders are called {twice[0]}: their results would mix. Take them in two runs.")


def check_readable(name: str) -> None:
    """Raise BadImageError for a name that no file can have, or that leads where nobody may look."""
    try:
        Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise BadImageError(f"Cannot read {name}: {error.strerror}.") from None
    except ValueError as error:  # a null character
        raise BadImageError(f"Cannot read {name!r}: {error}.") from None


def check_writable(out: Path) -> None:
    """Raise OutputError for a folder of results that there cannot be."""
    try:
        out.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror}.") from None
    except ValueError as error:  # a null character
        raise OutputError(f"Cannot write to {str(out)!r}: {error}.") from None


def find(sources: Sources) -> Iterator[Job | Problem | OwnResult]:
    """Yield every picture once, folder by folder, in the order of names."""
    folders = sum(Path(name).is_dir() for name in sources.named)
    # What one folder gives is different by itself: a million of them need not be remembered.
    is_one = len(sources.named) == 1 and folders == 1 and not sources.listed
    named = (place for name in sources.named for _, place in _matches(name, sources))
    shared = _shared_stems(chain(named, map(_place, sources.listed)))
    claimed: set[int] = set()
    for name in sources.named:
        if Path(name).is_dir():
            place = PurePath(Path(name).resolve().name if folders > 1 else "")
            for walked in _walk(Path(name), place, sources):
                yield from [walked] if is_one else _once(walked, claimed)
        for path, place in _matches(name, sources):
            if not sources.own_results and glob.has_magic(name) and not os.path.lexists(name) and _lies_beside(path):
                yield OwnResult(path)
                continue
            yield from _once(_single(path, place, sources, shared), claimed)
    for name in sources.listed:
        yield from _once(_single(Path(name), _place(name), sources, shared), claimed)


def read_list(name: str) -> tuple[str, ...]:
    """The names in a file, or "-" for standard input: one in a line, or with null characters between (find -print0).

    Raises:
        BadImageError: it cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise BadImageError(f"Cannot read the list {name}: {getattr(error, 'strerror', None) or error}.") from None
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return tuple(os.fsdecode(line) for line in lines if line.strip())


def _walk(root: Path, place: PurePath, sources: Sources) -> Iterator[Job | Problem | OwnResult]:
    out = _identity(sources.out)
    waiting: list[tuple[Path, PurePath, frozenset[tuple[int, int]]]] = [(root, place, frozenset())]
    while waiting:
        folder, where, above = waiting.pop()
        me = _identity(folder)
        if me is not None and me == out:
            continue
        if me is None or me in above:  # gone, or a link to a folder that it lies in
            continue
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            yield Problem(folder, f"Cannot look into {folder}: {error.strerror}.")
            continue
        pictures = [e.name for e in found if Path(e.name).suffix.lower() in EXTENSIONS and _is_file(e)]
        passed_over = set() if sources.own_results else own_results(pictures)
        yield from (OwnResult(folder / name) for name in pictures if name in passed_over)
        taken = [name for name in pictures if name not in passed_over]
        yield from _in_folder(folder, where, taken, sources.extension)
        if sources.recursive:
            below = [e.name for e in found if _is_folder(e, sources.follow_links)]
            waiting += [(folder / name, where / name, above | {me}) for name in reversed(below)]


def _lies_beside(path: Path) -> bool:
    """Whether a picture that a pattern matches is the result of one in its folder."""
    if not ADDED.search(path.stem):
        return False
    try:
        beside = [one.name for one in path.parent.iterdir() if one.suffix.lower() in EXTENSIONS]
    except OSError:
        return False
    return path.name in own_results(beside)


def _in_folder(folder: Path, where: PurePath, names: Sequence[str], extension: str) -> Iterator[Job]:
    """Pictures that differ only in extension keep theirs in the result's name: a.jpg.png beside a.tif.png."""
    stems = Counter(Path(name).stem.casefold() for name in names)
    for name in names:
        stem = Path(name).stem if stems[Path(name).stem.casefold()] == 1 else name
        yield Job(folder / name, where / (stem + extension))


def _matches(name: str, sources: Sources) -> Iterator[tuple[Path, PurePath]]:
    """Pictures that a name or a pattern stands for, and where they lie below its fixed part; of a folder none."""
    if Path(name).is_dir():
        return
    if os.path.lexists(name):
        yield Path(name), PurePath(Path(name).name)
        return
    base, out = _base(name), sources.out.resolve()
    for found in glob.iglob(name, recursive=True):  # noqa: PTH207  pathlib has it from one folder on only
        path = Path(found)
        if path.suffix.lower() in EXTENSIONS and path.is_file() and out not in path.resolve().parents:
            yield path, PurePath(os.path.relpath(path, base))


def _shared_stems(places: Iterable[PurePath]) -> set[int]:
    """Of places that differ in extension alone. Hashes, for there may be many."""
    names: set[int] = set()
    stems: set[int] = set()
    shared: set[int] = set()
    for place in places:
        name, stem = hash(place), _stem(place)
        if name not in names:
            (shared if stem in stems else stems).add(stem)
            names.add(name)
    return shared


def _stem(place: PurePath) -> int:
    return hash(os.path.splitext(place)[0].casefold())  # noqa: PTH122  a place may be ".."


def _single(path: Path, place: PurePath, sources: Sources, shared: Container[int]) -> Job | Problem:
    if path.is_dir():
        return Problem(path, f"{path} is a folder. Name it as such: edsr batch {path} OUT --recursive.")
    return Job(path, place.with_name((place.name if _stem(place) in shared else place.stem) + sources.extension))


def _once(found: Job | Problem | OwnResult, claimed: set[int]) -> Iterator[Job | Problem | OwnResult]:
    """What other names lead to the same result is a problem of theirs. Hashes, for lists may be long."""
    if isinstance(found, Job):
        key = hash(str(found.target).casefold())
        if key in claimed:
            words = f"another picture of this run has the result {found.target}. Take it in another run, elsewhere."
            yield Problem(found.source, f"{found.source}: {words}")
            return
        claimed.add(key)
    yield found


def _place(name: str) -> PurePath:
    """Where the result of a listed file goes: as it is named if that is below here, else by its name alone."""
    here = os.path.relpath(name)
    return PurePath(here if not here.startswith("..") else Path(name).name)


def _base(pattern: str) -> str:
    parts = Path(pattern).parts
    plain = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[:plain])) if plain else "."


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str], follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:
        return False
