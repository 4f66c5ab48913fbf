"""Where the results of several pictures go, and that no two go to one place; before anything is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ..errors import BadImageError, OutputError, SettingsError
from ..files import Finishing, check_place
from ..pictures.formats import format_named, format_of

FIELDS = ("stem", "name", "ext", "scale", "parent")
VIDEOS = frozenset(
    (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp")
)
PIPE = "-"


@dataclass(frozen=True)
class Template:
    """A pattern of results' names: `{stem}_x{scale}.{ext}`, with the fields FIELDS and `{{`, `}}` for braces.

    Raises:
        SettingsError: another field, or one brace alone.
    """

    text: str

    def __post_init__(self) -> None:
        for part in self._parts():
            if part.startswith("{") and part not in ("{{", "{") and part[1:-1] not in FIELDS:
                raise self._error(f"{part} is no field")
            if part in ("{", "}"):
                raise self._error("a brace stands alone")
        if not self.text or self.text.endswith("/") or PurePath(self.text).is_absolute():
            raise self._error("it must name a file below the folder of the results")
        if ".." in PurePath(self.text).parts:
            raise self._error("it leads out of the folder of the results")

    def name(self, source: Path, finishing: Finishing, model_scale: int) -> str:
        """The name of a result, maybe with folders."""
        ext = format_named(finishing.format or "png").extensions[0].lstrip(".")
        parent = source.absolute().parent.name or "root"
        values = {"stem": source.stem, "name": source.name, "ext": ext, "parent": parent}
        values["scale"] = f"{finishing.scale or model_scale:g}"
        whole = {"{{": "{", "}}": "}"}
        return "".join(
            whole.get(part, values[part[1:-1]] if part.startswith("{") and part not in whole else part)
            for part in self._parts()
        )

    def _parts(self) -> list[str]:
        """Text, fields in braces, doubled braces, and braces that belong to nothing."""
        return [part for part in re.split(r"(\{\{|\}\}|\{[^{}]*\}|[{}])", self.text) if part]

    def _error(self, words: str) -> SettingsError:
        fields = ", ".join(f"{{{name}}}" for name in FIELDS)
        return SettingsError(f"The template {self.text!r} cannot be: {words}. Fields: {fields} (--output-template).")


def check_sources(names: Sequence[str]) -> None:
    """Raise BadImageError for what another command is there for."""
    for name in names:
        try:
            is_folder = name != PIPE and Path(name).is_dir()
        except (OSError, ValueError):  # reading it says more
            continue
        if is_folder:
            raise BadImageError(f"{name} is a folder. Folders are upscaled by `edsr batch {name} OUT`.")
        if Path(name).suffix.lower() in VIDEOS and Path(name).is_file():
            raise BadImageError(f"{name} is a video by its name. Videos are upscaled by `edsr video {name}`.")


def targets(
    sources: Sequence[Path], folder: Path | None, template: Template | None, finishing: Finishing, model_scale: int
) -> list[Path | None]:
    """Of every picture the file, or the folder, of its result; None for beside it.

    Raises:
        OutputError: two results would have one name, or one would be a picture of the run; nothing was made.
    """
    found: list[Path | None] = []
    claimed: dict[str, Path] = {}
    inputs = {str(source.absolute()).casefold() for source in sources}
    for source in sources:
        where = source.parent if folder is None else folder
        target = where / template.name(source, finishing, model_scale) if template else folder
        # Without a template the library makes the name of the stem, the same for all.
        place = target if template and target is not None else where / source.stem
        key = str(place.absolute()).casefold()
        if key in claimed:
            at = f", {place}" if template else f" in {where}"
            raise OutputError(
                f"{claimed[key]} and {source} would have one result{at}. Nothing was made: give each its own name "
                "(--output-template '{name}_x{scale}.{ext}'), or take them in two runs."
            )
        if template and key in inputs:
            raise OutputError(f"The result of {source} would be {place}, a picture of this run. Nothing was made.")
        claimed[key] = source
        found.append(target)
    return found


def prepare(target: Path, finishing: Finishing) -> None:
    """Make the folder of a result; what can be known to go wrong with its name is found here.

    Raises:
        OutputError: it cannot be made, or no format is known for the name.
    """
    make_folder(target.parent)
    if not finishing.format:
        format_of(target)
    check_place(None, target)


def check_folder(folder: Path) -> None:
    """Raise OutputError if a folder for results can neither be there nor be made: a file stands in its place."""
    try:
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if there.is_dir():
            return
    except (OSError, ValueError):  # a name that no file system takes: making it says more
        return
    if there == folder:
        raise OutputError(f"{folder} is a file; a folder is wanted for several pictures (--output).")
    raise OutputError(f"Cannot make the folder {folder}: {there} is a file.")


def make_folder(folder: Path) -> None:
    """Make a folder that was named for results.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{folder} is a file; a folder is wanted for several pictures (--output).") from None
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {error.strerror}.") from None
    except ValueError as error:  # a null character in the name
        raise OutputError(f"Cannot make the folder {str(folder)!r}: {error}.") from None
