"""Everything that is compared, started together: what each is asked, what it answers, which versions it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingModelError
from ..sections import sidecar_network
from . import service
from .catalogue import ARRAY, JPEG, Baseline
from .environments import python_of
from .pictures import JPEG_QUALITY, Pixels, decoded
from .workers import Worker

if TYPE_CHECKING:
    from edsr_client import Upscaler

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """The network that is compared.

    Attributes:
        root: the repository.
        model: its name there.
        graph: the frozen graph.
        onnx: model.onnx, made from it.
        scale: of the upsampling.
        threads: that everybody may use.
    """

    root: Path
    model: str
    graph: Path
    onnx: Path
    scale: int
    threads: int

    def file_for(self, precision: str) -> Path:
        """The ONNX file that is compiled for a precision."""
        return self.onnx.with_name("model.int8.onnx") if precision == "int8" else self.onnx


@dataclass
class Contestant:
    """One that runs, on one level (pixels, or files of a format).

    Attributes:
        baseline: what it is.
        level: ARRAY, PNG or JPEG.
        upscale: so many runs on an input; seconds of each, and the last answer's pixels if they are wanted.
    """

    baseline: Baseline
    level: str
    upscale: Callable[[Any, int, bool], tuple[list[float], Pixels | None]]

    @property
    def name(self) -> str:
        """Unique among those that run."""
        return f"{self.baseline.key}/{self.level}"


@dataclass
class Cast:
    """All contestants, and the versions in each environment by its name."""

    contestants: list[Contestant] = field(default_factory=list)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)


def start_all(subject: Subject, baselines: Sequence[Baseline], folder: Path, stack: ExitStack, tell: Tell) -> Cast:
    """Make the environments, start every process, load every network; all end with `stack`.

    Args:
        subject: the network.
        baselines: which.
        folder: for logs and pictures.
        stack: keeps the processes.
        tell: called with a line per step.

    Raises:
        EnvironmentFailed, BaselineFailed, ServingError: one cannot be made or started.
    """
    pythons = {name: python_of(subject.root, name, tell) for name in dict.fromkeys(b.environment for b in baselines)}
    cast = Cast()
    for baseline in baselines:
        tell(f"starting {baseline.key}")
        if baseline.is_ours:
            _add_ours(subject, baseline, folder, stack, cast)
        elif baseline.module:
            _add_worker(subject, baseline, pythons[baseline.environment], folder, stack, cast)
        else:
            _add_service(subject, baseline, pythons[baseline.environment], folder, stack, cast)
    return cast


def _add_worker(subject: Subject, baseline: Baseline, python: Path, folder: Path, stack: ExitStack, cast: Cast) -> None:
    log = stack.enter_context((folder / f"{baseline.key}.log").open("wb"))
    worker = stack.enter_context(Worker(python, baseline.module, subject.root / "perf", log))
    loaded = worker.load(
        graph=str(subject.graph),
        onnx=str(subject.file_for(baseline.precision)),
        scale=subject.scale,
        threads=subject.threads,
        precision=baseline.precision,
    )
    given, answer = folder / "in.npy", folder / "out.npy"

    def upscale(picture: Pixels, runs: int, wanted: bool) -> tuple[list[float], Pixels | None]:
        np.save(given, picture)
        seconds = worker.run(given, runs, answer if wanted else None)
        return seconds, np.load(answer) if wanted else None

    cast.environments.setdefault(baseline.environment or "edsr-triton", {}).update(loaded["versions"])
    cast.contestants.append(Contestant(baseline, ARRAY, upscale))


def _add_service(
    subject: Subject, baseline: Baseline, python: Path, folder: Path, stack: ExitStack, cast: Cast
) -> None:
    from edsr_serving import free_ports

    log = stack.enter_context((folder / f"{baseline.key}.log").open("wb"))
    (port,) = free_ports(1)
    running = service.running(python, subject.root / "perf", subject.graph, subject.scale, subject.threads, port, log)
    cast.environments[baseline.environment] = stack.enter_context(running)
    for level in baseline.levels:

        def upscale(
            content: bytes, runs: int, wanted: bool, mimetype: str = f"image/{level}"
        ) -> tuple[list[float], Pixels | None]:
            seconds, answer = _timed(lambda: service.enhance(port, content, mimetype), runs)
            return seconds, decoded(answer) if wanted else None

        cast.contestants.append(Contestant(baseline, level, upscale))


def _add_ours(subject: Subject, baseline: Baseline, folder: Path, stack: ExitStack, cast: Cast) -> None:
    """A server of its own on free ports, asked by edsr-client: arrays as they are, files as `edsr upscale` does."""
    from edsr_client import Finishing, Upscaler
    from edsr_serving import ServerOptions, free_ports, start

    options = ServerOptions(
        repository=subject.root / "model_repository",
        run_dir=folder / baseline.key,
        models=(subject.model,),
        precision=baseline.precision,
    )
    server = stack.enter_context(start(options.with_ports(*free_ports(3))))
    upscaler: Upscaler = stack.enter_context(Upscaler(server.options.http_url, model=subject.model, timeout_s=600))

    def array(picture: Pixels, runs: int, wanted: bool) -> tuple[list[float], Pixels | None]:
        seconds, answer = _timed(lambda: upscaler.upscale(picture), runs)
        return seconds, answer if wanted else None

    cast.contestants.append(Contestant(baseline, ARRAY, array))
    for level in baseline.levels[1:]:
        finishing = Finishing(format=level, quality=JPEG_QUALITY if level == JPEG else None)

        def file(
            content: bytes, runs: int, wanted: bool, finishing: Finishing = finishing
        ) -> tuple[list[float], Pixels | None]:
            seconds, answer = _timed(lambda: upscaler.upscale_bytes(content, finishing=finishing)[0], runs)
            return seconds, decoded(answer) if wanted else None

        cast.contestants.append(Contestant(baseline, level, file))


def _timed(work: Callable[[], Any], runs: int) -> tuple[list[float], Any]:
    seconds, answer = [], None
    for _ in range(runs):
        started = time.perf_counter()
        answer = work()
        seconds.append(time.perf_counter() - started)
    return seconds, answer


def subject_of(root: Path, model: str, threads: int) -> Subject:
    """The network called `model`: its graph and its model.onnx.

    Raises:
        MissingModelError: one of them is missing.
        CatalogueError: there is no such model.
    """
    from edsr_conversion.catalogue import load_models, select

    (found,) = select(load_models(root), [model])
    built = root / "model_repository" / model / "1"
    try:
        network = sidecar_network(built, "scale")
    except (OSError, ValueError, KeyError):
        raise MissingModelError(f"{model} is not built. Run `make onnx MODEL={model}`.") from None
    if not (built / "model.onnx").is_file():
        raise MissingModelError(f"{model} is not built. Run `make onnx MODEL={model}`.")
    if not found.graph.is_file():
        raise MissingModelError(f"There is no {found.graph}, which OpenCV reads. Run `make fetch`, or put it there.")
    onnx = (built / "model.onnx").absolute()
    return Subject(root.absolute(), model, found.graph.absolute(), onnx, int(network["scale"]), threads)
