"""models.toml: the models we serve, as typed data."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import CatalogueError
from .graph_reader import FrozenGraph

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CATALOGUE = Path("models/models.toml")
# Triton makes a path and a shell command of it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# No network or picture is larger; within, all arithmetic stays finite.
LARGEST = {
    **{"blocks": 1000, "filters": 10_000, "scale": 16, "default_halo_px": 10_000},
    **{"max_lr_pixels": 2**31 - 1, "size_bytes": 2**40},
}
LOCAL_CATALOGUE = Path("models/models.local.toml")
CLEAN, COMPRESSED = "clean", "compressed"


@dataclass(frozen=True)
class Model:
    """One table of models.toml, or of the file that `listed_in` names.

    Attributes:
        inputs: what it was trained for, CLEAN or COMPRESSED; "" if the table does not say.
    """

    name: str
    graph: Path
    sha256: str
    blocks: int
    filters: int
    scale: int
    max_lr_pixels: int
    default_halo_px: int | None = None
    inputs: str = ""
    description: str = ""
    licence: str = ""
    url: str = ""
    size_bytes: int = 0
    git_blob: str = ""
    listed_in: str = CATALOGUE.name

    def check(self, graph: FrozenGraph) -> None:
        """Raise CatalogueError unless `graph` is the one this table describes."""
        if graph.sha256 != self.sha256:
            raise CatalogueError(
                f"{graph.path} has sha256 {graph.sha256}, but {self.listed_in} promises {self.sha256} for {self.name}. "
                "Restore the file, or correct the table if the new graph is meant."
            )
        network = graph.network
        self.check_network({"blocks": len(network.blocks), "filters": network.filters, "scale": network.scale})

    def check_network(self, network: Mapping[str, Any]) -> None:
        """Raise CatalogueError unless blocks, filters and scale are this table's; `network`: a sidecar's facts."""
        found = (network["blocks"], network["filters"], network["scale"])
        if found != (self.blocks, self.filters, self.scale):
            raise CatalogueError(
                f"{self.graph} has (blocks, filters, scale) {found}, but {self.listed_in} says "
                f"{(self.blocks, self.filters, self.scale)} for {self.name}. Correct the table."
            )


def load_models(root: Path, *, local: bool = True) -> dict[str, Model]:
    """The models of `root`/models/models.toml and, if there is one and `local`, models.local.toml, by name.

    Raises:
        CatalogueError: a file is missing or malformed, or a name stands in both.
    """
    models = _read(root / CATALOGUE)
    if local and (root / LOCAL_CATALOGUE).exists():
        own = _read(root / LOCAL_CATALOGUE)
        if twice := sorted(models.keys() & own.keys()):
            raise CatalogueError(f"{LOCAL_CATALOGUE} repeats {', '.join(twice)}. Give your model a name of its own.")
        models |= own
    return models


def select(models: dict[str, Model], names: list[str]) -> list[Model]:
    """The models named, or all if none is; CatalogueError lists the names there are."""
    if unknown := [name for name in names if name not in models]:
        files = " and ".join(dict.fromkeys(model.listed_in for model in models.values())) or CATALOGUE.name
        raise CatalogueError(f"There is no model {unknown[0]!r} in {files}. There are: {', '.join(models)}.")
    return [models[name] for name in names] or list(models.values())


def _read(path: Path) -> dict[str, Model]:
    return {name: _model(path, name, table) for name, table in read_tables(path).items()}


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        CatalogueError: it is missing, cannot be read, or is not TOML.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CatalogueError(f"There is no {path}. Run from the repository's root, or name it with --root.") from None
    except OSError as error:
        raise CatalogueError(f"Cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path} is not valid TOML: {error}.") from None
    except RecursionError:
        raise CatalogueError(f"{path} is nested too deeply. Every entry is one table.") from None
    return tables


def _model(path: Path, name: str, table: Any) -> Model:
    known = {field.name for field in fields(Model)} - {"name", "listed_in"}
    if not NAME.fullmatch(name):
        raise CatalogueError(f"{path}: {name!r} is no model name. Use letters, digits, '_' and '-'.")
    if not isinstance(table, dict):
        raise CatalogueError(f"{path}: {name} is not a table. Every entry is one [model].")
    if unknown := sorted(table.keys() - known):
        raise CatalogueError(f"{path}: [{name}] has unknown keys: {', '.join(unknown)}.")
    required = {"graph", "sha256", "blocks", "filters", "scale", "max_lr_pixels"}
    if missing := sorted(required - table.keys()):
        raise CatalogueError(f"{path}: [{name}] lacks {', '.join(missing)}.")
    texts = {key for key in table if key in {"graph", "sha256", "url", "git_blob", "licence", "description", "inputs"}}
    if bad := sorted(key for key in texts if not isinstance(table[key], str)):
        raise CatalogueError(f"{path}: [{name}] {', '.join(bad)} must be text in quotes.")
    if table.get("inputs", CLEAN) not in (CLEAN, COMPRESSED):
        raise CatalogueError(f"{path}: [{name}] inputs is {table['inputs']!r}, not {CLEAN!r} or {COMPRESSED!r}.")
    numbers = LARGEST.keys() & table.keys()
    if bad := sorted(key for key in numbers if type(table[key]) is not int or not 1 <= table[key] <= LARGEST[key]):
        limits = ", ".join(f"{key} at most {LARGEST[key]:,}" for key in bad)
        raise CatalogueError(f"{path}: [{name}] {', '.join(bad)} must be a positive integer ({limits}).")
    return Model(name=name, listed_in=path.name, **{**table, "graph": path.parent / str(table["graph"])})
