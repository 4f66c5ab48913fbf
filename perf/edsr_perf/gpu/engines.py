"""Our engines on the card in this machine: built, verified, and run by several at once."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .steps import SkipStep

if TYPE_CHECKING:
    from edsr_conversion.gpu.cards import Card
    from edsr_conversion.gpu.flavours import Toolbox
    from edsr_conversion.gpu.planner import Plan

REPEAT, REQUESTS = 5, 12
SIDE = 512
# Rules of thumb: loading engines, and comparing with float32 on the CPU.
LOADING_S, COMPARISON_S = 20.0, 40.0


@dataclass
class Engines:
    """The engine of a model for a card, in steps that follow each other.

    Attributes:
        root: the repository.
        model: its name in models.toml.
        card: of this machine.
        toolbox: what is installed.
        precision: of the engine.
        tell: called with a line per phase.
    """

    root: Path
    model: str
    card: Card
    toolbox: Toolbox
    precision: str
    tell: Callable[[str], None]
    flavour: str = ""

    def plan(self) -> Plan:
        """What is planned for the card, and for the TensorRT that builds for it here."""
        from edsr_conversion.catalogue import load_models, select
        from edsr_conversion.gpu.planner import make_plan
        from edsr_conversion.repository import network_size

        (model,) = select(load_models(self.root), [self.model])
        return make_plan(self.card, network_size(model), self.precision, self._flavour_here())

    def _flavour_here(self) -> str:
        """The TensorRT that `build` takes; TensorRT itself where none can."""
        from edsr_conversion.errors import CannotBuildHereError
        from edsr_conversion.gpu.flavours import AUTO, TENSORRT, choose

        if self.flavour:
            return self.flavour
        try:
            return choose(AUTO, self.card, self.toolbox, self.precision)
        except CannotBuildHereError:
            return TENSORRT

    def verify_s(self) -> float:
        """Seconds that `verify` is expected to take: every shape as often as it is run, and the comparison."""
        from edsr_conversion.gpu.verify import shapes_to_time

        plan = self.plan()
        once = sum(expected_s(plan, height * width) for height, width in shapes_to_time(plan))
        return COMPARISON_S + once * (REPEAT + plan.instances)

    def concurrency_s(self) -> float:
        """The same of `concurrency`."""
        plan, counts = self.plan(), range(1, instances_that_fit(self.plan()) + 1)
        return LOADING_S + sum(counts) * (REQUESTS + 1) * expected_s(plan, min(SIDE, plan.side) ** 2)

    def build(self) -> dict[str, Any]:
        """Build the engine unless it is there; facts of its sidecar.

        Raises:
            SkipStep: no TensorRT here builds for this card.
            ConversionError: it was not built.
        """
        from edsr_conversion.derive import derive
        from edsr_conversion.errors import CannotBuildHereError
        from edsr_conversion.gpu.engine import build_engine
        from edsr_conversion.gpu.flavours import AUTO, RTX, TENSORRT, choose

        try:
            flavour = choose(AUTO, self.card, self.toolbox)
        except CannotBuildHereError as error:
            raise SkipStep(str(error).partition("\n")[0]) from None
        version = str({TENSORRT: self.toolbox.tensorrt, RTX: self.toolbox.rtx}[flavour])
        onnx = derive(self._folder, self.precision, self.tell)
        device = self.card.name if flavour == TENSORRT else ""
        engine = build_engine(onnx, self.plan(), flavour, version, device=device)
        self.flavour = flavour
        return {
            "engine": engine.plan.name,
            "flavour": flavour,
            "version": version,
            "size_bytes": engine.sidecar["engine"]["size_bytes"],
            "builder": engine.sidecar["builder"],
        }

    def verify(self) -> dict[str, Any]:
        """Parity, latency per shape, memory against plan: what `make verify` writes.

        Raises:
            SkipStep: there is no engine.
            ConversionError: it does not load, or is too far from float32.
        """
        from edsr_conversion.derive import derive
        from edsr_conversion.gpu.verify import verify

        self._need_engine()
        onnx = derive(self._folder, self.precision, self.tell)
        text = verify(onnx, self.plan(), self.flavour, self.toolbox, REPEAT, self.tell)
        for line in text.splitlines():
            self.tell(line)
        written: dict[str, Any] = json.loads(self._path.with_suffix(".verify.json").read_text("utf-8"))
        return {"planned": written["planned"], "measured": written["measured"], "repeat": written["repeat"]}

    def concurrency(self) -> dict[str, Any]:
        """Pictures per second and median latency with one instance, and with as many more as the memory holds.

        Raises:
            SkipStep: there is no engine.
        """
        from edsr_conversion.gpu.flavours import MODULES
        from edsr_serving.gpu.runner import EngineRunner

        self._need_engine()
        plan = self.plan()
        side = min(SIDE, plan.side)
        picture = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        found = {}
        runners: list[EngineRunner] = []
        try:
            for count in range(1, instances_that_fit(plan) + 1):
                module, graphs = MODULES[self.flavour], plan.cuda_graphs
                runners.append(EngineRunner(self._path, module, cuda_graphs=graphs, eager=True))
                found[str(count)] = at_once([partial(runner.run, picture) for runner in runners], REQUESTS)
        finally:
            for runner in runners:
                runner.close()
        return {"shape": [side, side], "planned_instances": plan.instances, "by_instances": found}

    def _need_engine(self) -> None:
        if not self.flavour:
            raise SkipStep("there is no engine for this card")

    @property
    def _folder(self) -> Path:
        return self.root / "model_repository" / self.model / "1"

    @property
    def _path(self) -> Path:
        from edsr_conversion.gpu.engine import paths

        return paths(self._folder, self.plan(), self.flavour)[0]


def expected_s(plan: Plan, px: int) -> float:
    """Seconds that the plan expects of one picture, copies included."""
    from edsr_conversion.gpu.planner import times

    _, computing, copying = times(plan.card, plan.network, plan.precision, px, plan.assumptions)
    return computing + copying


def instances_that_fit(plan: Plan) -> int:
    """Of an engine in the card's budget, three at most: one copies in, one computes, one copies out."""
    each = max(1, plan.instance_bytes)
    return max(1, min(plan.assumptions.max_instances, (plan.budget_bytes - plan.server_bytes) // each))


def at_once(workers: Sequence[Callable[[], object]], requests: int) -> dict[str, float]:
    """Every worker in a thread of its own does its requests; pictures per second, and the median of one in ms."""
    for work in workers:
        work()
    seconds: list[float] = []
    start = threading.Barrier(len(workers) + 1)

    def loop(work: Callable[[], object]) -> None:
        start.wait()
        for _ in range(requests):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)

    threads = [threading.Thread(target=loop, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    return {
        "per_second": round(len(seconds) / elapsed, 3),
        "median_ms": round(statistics.median(seconds) * 1e3, 3) if seconds else 0.0,
    }
