"""Which models of a repository are built, and the view of it that one run of the server loads."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .errors import NothingToServeError

VERSION = "1"
MODEL_FILE, SIDECAR_FILE, CONFIG_FILE = "model.onnx", "model.json", "config.pbtxt"
# protobuf text of one entry of the `parameters` map
PARAMETER = 'parameters {{\n  key: "{key}"\n  value {{\n    string_value: "{value}"\n  }}\n}}\n'
SOURCE_SHA256 = re.compile(r'key: "source_sha256"\s+value \{\s+string_value: "([0-9a-f]{64})"')


@dataclass(frozen=True)
class ServableModel:
    """A model of the repository; `problem` says why it cannot be served, and is empty if it can."""

    name: str
    folder: Path
    problem: str = ""


def find_models(repository: Path) -> list[ServableModel]:
    """Every model that has a configuration, in order of name.

    Raises:
        NothingToServeError: no such folder.
    """
    if not repository.is_dir():
        raise NothingToServeError(f"There is no model repository at {repository.absolute()}. Name it: --repository.")
    folders = sorted(path.parent for path in repository.glob(f"*/{CONFIG_FILE}") if path.is_file())
    return [ServableModel(folder.name, folder, _problem(folder)) for folder in folders]


def choose(models: list[ServableModel], names: tuple[str, ...]) -> list[ServableModel]:
    """The models to load: those named, all of which must be built, or every built one.

    Raises:
        NothingToServeError: a named model is missing or not built, or nothing is built.
    """
    known = {model.name: model for model in models}
    for name in names:
        if name not in known:
            raise NothingToServeError(f"There is no model {name!r}. There are: {', '.join(known) or 'none'}.")
        if known[name].problem:
            raise NothingToServeError(f"{name} cannot be served: {known[name].problem}.")
    chosen = [known[name] for name in names] or [model for model in models if not model.problem]
    if not chosen:
        reasons = "; ".join(f"{model.name}: {model.problem}" for model in models)
        raise NothingToServeError(f"No model can be served ({reasons or 'the repository is empty'}). Run `make onnx`.")
    return chosen


def lay_out_view(models: list[ServableModel], view: Path, parameters: dict[str, str]) -> None:
    """Make `view`, a repository of just these models: links to their files, their configuration plus `parameters`.

    What the server decides at its start (precision, threads) becomes visible to clients this way, and a server with
    model control off loads exactly these models.
    """
    shutil.rmtree(view, ignore_errors=True)
    extra = "".join(PARAMETER.format(key=key, value=value) for key, value in sorted(parameters.items()))
    for model in models:
        folder = view / model.name
        folder.mkdir(parents=True)
        config = (model.folder / CONFIG_FILE).read_text(encoding="utf-8")
        (folder / CONFIG_FILE).write_text(config + extra, encoding="utf-8")
        (folder / VERSION).symlink_to((model.folder / VERSION).absolute())


def _problem(folder: Path) -> str:
    built = folder / VERSION / MODEL_FILE
    if not built.is_file():
        return "not built (`make onnx` builds it, if its graph is present)"
    try:
        sidecar = json.loads((folder / VERSION / SIDECAR_FILE).read_text(encoding="utf-8"))
        digest, source = sidecar["model"]["sha256"], sidecar["source"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{SIDECAR_FILE} beside {built} is missing or damaged (`make onnx` builds both again)"
    if hashlib.sha256(built.read_bytes()).hexdigest() != digest:
        return f"{built} is not the file its sidecar describes (`make onnx` builds it again)"
    configured = SOURCE_SHA256.search((folder / CONFIG_FILE).read_text(encoding="utf-8", errors="replace"))
    if configured and configured.group(1) != source:
        return "built from another graph than config.pbtxt names (`make onnx` builds it again)"
    return ""
