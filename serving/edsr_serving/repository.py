"""Which models of a repository are built, and the view of it that one run of the server loads."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .edge import DAMAGED, read_json
from .errors import NothingToServeError
from .variants import DEFAULT_PRECISION, RTX, Variant

VERSION = "1"
MODEL_FILE, SIDECAR_FILE, CONFIG_FILE, CONFIGS_FOLDER = "model.onnx", "model.json", "config.pbtxt", "configs"
INT8_FILE, INT8_SIDECAR_FILE = "model.int8.onnx", "model.int8.json"
# protobuf text of one entry of the `parameters` map
PARAMETER = 'parameters {{\n  key: "{key}"\n  value {{\n    string_value: "{value}"\n  }}\n}}\n'
PARAMETERS = re.compile(r'parameters \{\s+key: "(\w+)"\s+value \{\s+string_value: "([^"]*)"')
PARAMETER_OF = r'parameters \{{\n  key: "{key}"\n  value \{{\n    string_value: "[^"]*"\n  \}}\n\}}\n'
INSTANCES = re.compile(r"^  count: (\d+)$", re.MULTILINE)
CPU_GROUP = re.compile(r"^instance_group \{\n  count: (\d+)\n  kind: KIND_CPU\n\}\n", re.MULTILINE)
DEFAULT_QUEUE_SIZE = 32
# Triton bounds a queue only as a part of dynamic batching, whose scheduler hands out a request when an instance asks
# for one, and can miss that and sleep 500 ms where there is one instance only. So there is one instance more than may
# compute: with a resource that each takes while it computes (--rate-limit), they take turns, in the order of the queue,
# and what waits for its turn counts as waiting. No request is joined with another.
QUEUE = """\
instance_group {{
  count: {processes}
  kind: KIND_CPU
  rate_limiter {{
    resources {{
      name: "{resource}"
      global: true
      count: 1
    }}
  }}
}}
dynamic_batching {{
  preferred_batch_size: 1
  default_queue_policy {{
    max_queue_size: {queue_size}
    allow_timeout_override: true
  }}
}}
"""


@dataclass(frozen=True)
class ServableModel:
    """A model of the repository and one of its configurations; `problem` says why it cannot be served, "" if it can.

    Attributes:
        name, folder: of the model.
        config: the configuration to serve it with.
        sidecar: the JSON file beside the model file it names.
    """

    name: str
    folder: Path
    config: Path
    sidecar: Path
    problem: str = ""

    @property
    def config_text(self) -> str:
        return self.config.read_text(encoding="utf-8", errors="replace")

    @property
    def parameters(self) -> dict[str, str]:
        """The configuration's `parameters`."""
        return dict(PARAMETERS.findall(self.config_text))

    @property
    def instances(self) -> int:
        """How many instances, that is stub processes, the configuration asks for."""
        return sum(map(int, INSTANCES.findall(self.config_text))) or 1

    @property
    def is_queued(self) -> bool:
        """Whether it is served with a bounded queue and instances that take turns."""
        text = self.config_text
        return bool(CPU_GROUP.search(text)) and "dynamic_batching" not in text

    @property
    def processes(self) -> int:
        """How many stub processes it is served by."""
        return self.instances + self.is_queued

    @property
    def queue_size(self) -> int:
        """How many requests may wait, beside those that are computed and the next one; 0 for any number."""
        return int(self.parameters.get("max_queue_size", DEFAULT_QUEUE_SIZE)) if self.is_queued else 0

    @property
    def resource(self) -> str:
        """Name of what an instance takes while it computes; there are `instances` of it."""
        return f"turn-{self.name}"


def find_models(repository: Path, variant: str = "") -> list[ServableModel]:
    """Every model that has a configuration, in order of name.

    Args:
        repository: Triton model repository.
        variant: name of a GPU configuration, "a10g-rtx"; "" for the CPU's.

    Raises:
        NothingToServeError: no such folder.
    """
    if not repository.is_dir():
        raise NothingToServeError(f"There is no model repository at {repository.absolute()}. Name it: --repository.")
    folders = sorted(path.parent for path in repository.glob(f"*/{CONFIG_FILE}") if path.is_file())
    return [_gpu_model(folder, variant) if variant else _cpu_model(folder) for folder in folders]


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
        raise NothingToServeError(f"No model can be served ({reasons or 'the repository is empty'}).")
    return chosen


def int8_quality(model: ServableModel) -> dict[str, float]:
    """What the sidecar of a CPU model's 8-bit file says of its quality, once the file was found to be whole.

    Raises:
        NothingToServeError: there is no such file, it is damaged, or it was made from another model.onnx.
    """
    folder = model.folder / VERSION
    command = f"`make int8 MODEL={model.name}` makes it"
    try:
        sidecar = read_json(folder / INT8_SIDECAR_FILE)
        digest = hashlib.sha256((folder / INT8_FILE).read_bytes()).hexdigest()
        quality = {key: float(value) for key, value in sidecar["quality"].items()}
        intact, made_from = digest == sidecar["model"]["sha256"], sidecar["made_from"]["sha256"]
    except FileNotFoundError:
        raise NothingToServeError(f"{model.name} has no 8-bit file: {command}.") from None
    except DAMAGED:
        intact, made_from, quality = False, "", {}
    if not intact:
        raise NothingToServeError(f"{folder / INT8_FILE} or its sidecar is damaged: {command} again.")
    if made_from != hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest():
        raise NothingToServeError(f"{folder / INT8_FILE} was made from another {MODEL_FILE}: {command} again.")
    return quality


def lay_out_view(models: Mapping[ServableModel, Mapping[str, str]], view: Path) -> None:
    """Make `view`, a repository of just these models: links to their files, their configuration with more parameters.

    What the server decides at its start (precision, threads) becomes visible to clients this way, and a server with
    model control off loads exactly these models.
    """
    shutil.rmtree(view, ignore_errors=True)
    for model, parameters in models.items():
        folder = view / model.name
        folder.mkdir(parents=True)
        text = _with_queue(model)
        if parameters.get("inference_precision") == "int8":
            text = text.replace(f'default_model_filename: "{MODEL_FILE}"', f'default_model_filename: "{INT8_FILE}"')
        for key in parameters:  # what the configuration says of it is no longer true
            text = re.sub(PARAMETER_OF.format(key=key), "", text)
        extra = "".join(PARAMETER.format(key=key, value=value) for key, value in sorted(parameters.items()))
        (folder / CONFIG_FILE).write_text(text + extra, encoding="utf-8")
        (folder / VERSION).symlink_to((model.folder / VERSION).absolute())


def _with_queue(model: ServableModel) -> str:
    """The text of a model's configuration, with the queue of the embedded server."""
    text = model.config_text
    if not model.is_queued:
        return text
    queue = QUEUE.format(processes=model.processes, resource=model.resource, queue_size=model.queue_size)
    return CPU_GROUP.sub(queue, text, count=1)


def memory_mib(models: Sequence[ServableModel]) -> tuple[int, int]:
    """What the models need together by their plans, and what the card has to give; zeros if that is not planned."""
    plans = [model.parameters for model in models]
    if not plans or not all("planned_model_mib" in plan for plan in plans):
        return 0, 0
    total = sum(int(plan["planned_model_mib"]) for plan in plans) + max(
        int(plan["planned_server_mib"]) for plan in plans
    )
    return total, min(int(plan["vram_budget_mib"]) for plan in plans)


def without_second_models(models: list[ServableModel]) -> list[ServableModel]:
    """The models to serve on a card when nobody named any: one for compressed pictures gives way to those for all."""
    total, budget = memory_mib(models)
    first = [model for model in models if model.parameters.get("inputs") != "compressed"]
    return first if first and total > budget else models


def check_memory(models: Sequence[ServableModel]) -> None:
    """Raise NothingToServeError if the models' plans do not fit the card together: each was made for it alone."""
    total, budget = memory_mib(models)
    if total > budget:
        names = " and ".join(model.name for model in models)
        raise NothingToServeError(
            f"{names} together need {total:,} MiB by their plans, and the card has {budget:,} to give: its memory less "
            "the reserve that plans leave free for the driver and what else runs there. Serve one of "
            f"them: `--model {models[0].name}`, `make serve GPU=... MODEL={models[0].name}`."
        )


def _cpu_model(folder: Path) -> ServableModel:
    config, sidecar = folder / CONFIG_FILE, folder / VERSION / SIDECAR_FILE
    problem = _problem(folder / VERSION / MODEL_FILE, sidecar, config, "model", "make onnx")
    return ServableModel(folder.name, folder, config, sidecar, problem)


def _gpu_model(folder: Path, variant: str) -> ServableModel:
    config = folder / CONFIGS_FOLDER / f"{variant}.pbtxt"
    plan, sidecar = folder / VERSION / f"{variant}.plan", folder / VERSION / f"{variant}.json"
    card = (wanted := Variant.parse(variant)).card
    command = f"make engines {wanted.make_options} FLAVOUR={RTX}"
    if not config.is_file():
        problem = f"no configuration {variant} (`{command}` renders it; `make gpus` lists the cards)"
        tensorrt, rtx = (config.with_name(f"{name}.pbtxt") for name in (card, Variant(card, flavour=RTX).name))
        if tensorrt.is_file() and not rtx.is_file():
            command = f"make up {wanted.make_options}"
            problem = f"TensorRT for RTX does not support {card} (`{command}` serves it in NVIDIA's container)"
        return ServableModel(folder.name, folder, config, sidecar, problem)
    problem = _problem(plan, sidecar, config, "engine", command) or _stale(folder / VERSION, sidecar, command)
    return ServableModel(folder.name, folder, config, sidecar, problem)


def _problem(built: Path, sidecar_path: Path, config: Path, entry: str, command: str) -> str:
    """Why `built` must not be served: missing, not what its sidecar describes, or not what the configuration means."""
    if not built.is_file():
        return f"{built.name} is not built (`{command}` builds it" + (
            ", if its graph is present)" if entry == "model" else ")"
        )
    try:
        sidecar = read_json(sidecar_path)
        digest, source = sidecar[entry]["sha256"], sidecar["source"]["sha256"]
        if entry == "engine":
            built_shapes = ",".join("x".join(map(str, shape)) for shape in sidecar["plan"]["max_shapes"])
            _ = Path(sidecar["onnx"]["file"]), sidecar["onnx"]["sha256"], sidecar["version"], sidecar["card"]["name"]
            _ = list(sidecar["card"]["driver_names"]), sidecar["card"]["compute_capability"]
            _ = Variant(sidecar["card"]["key"], sidecar.get("precision", DEFAULT_PRECISION))
    except DAMAGED:
        return f"{sidecar_path.name} beside {built} is missing or damaged (`{command}` builds both again)"
    if hashlib.sha256(built.read_bytes()).hexdigest() != digest:
        return f"{built} is not the file its sidecar describes (`{command}` builds it again)"
    configured = dict(PARAMETERS.findall(config.read_text(encoding="utf-8", errors="replace")))
    if configured.get("source_sha256", source) != source:
        return f"built from another graph than {config.name} names (`{command}` builds it again)"
    if entry == "model":
        return ""
    if configured.get("max_shapes", built_shapes) != built_shapes:
        return (
            f"built for {built_shapes}, but {config.name} says {configured['max_shapes']} (`{command}` builds it again)"
        )
    return ""


def _stale(folder: Path, sidecar_path: Path, command: str) -> str:
    """Why an engine is older than the ONNX file it was built from, if that is still there."""
    made_from = read_json(sidecar_path)["onnx"]
    onnx = folder / Path(made_from["file"]).name
    if onnx.is_file() and hashlib.sha256(onnx.read_bytes()).hexdigest() != made_from["sha256"]:
        return f"built from an older {onnx.name} than the one that is there (`{command}` builds it again)"
    return ""
