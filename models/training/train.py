"""Train an embedded network: L1, Adam, cosine decay, moving average, aware of 8 bits at the end; on a GPU or a CPU.

Runs for a given number of minutes: the learning rate follows the share of that budget that is used up, so a slower
machine trains fewer steps but still ends on a fully decayed rate. Stops and resumes at any checkpoint. On a GPU every
step is one CUDA graph, the drawing and degrading of patches included.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from edsr_conversion.quality import psnr_y as picture_psnr_y

from . import data, pack
from .degradation import MARGIN_PX, Degradation
from .network import Edsr, from_network, planes_to_network, to_network
from .patches import PatchLibrary, Source, detail_map

# What a checkpoint for compressed pictures is chosen by: JPEG quality (None: as it is), and its weight.
JUDGED: dict[str, dict[int | None, float]] = {
    "clean": {None: 1.0},
    "compressed": {None: 0.15, 90: 0.2, 75: 0.25, 50: 0.2, 30: 0.2},
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result apart from the pictures.

    Attributes:
        inputs: "clean" or "compressed".
        squared_from: share of the budget after which the loss is the squared error, which PSNR is made of.
        stored_from: share after which filters are rounded to the 8 bits they are stored in.
        eight_bits_from: share after which every other step computes as model.int8.onnx does.
    """

    minutes: float
    inputs: str = "clean"
    seed: int = 5
    batch: int = 32
    early_patch_px: int = 48
    late_patch_px: int = 64
    late_from: float = 0.6
    stored_from: float = 0.7
    eight_bits_from: float = 0.72
    squared_from: float = 0.85
    peak_rate: float = 5e-4
    last_rate: float = 1e-6
    range_rate: float = 2.0  # times the others': the logarithm of a range moves slowly
    warmup: float = 0.01
    gradient_norm: float = 1.0
    ema_decay: float = 0.999
    graphics_share: float = 0.12
    degradation: Degradation = field(default_factory=Degradation)

    def rate(self, progress: float) -> float:
        """Learning rate with `progress` 0..1 of the budget used: linear warm-up, then half a cosine."""
        warm = min(1.0, (progress + 1e-4) / self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return warm * (self.last_rate + (self.peak_rate - self.last_rate) * cosine)

    def phase(self, progress: float) -> Phase:
        return Phase(
            patch_px=self.early_patch_px if progress < self.late_from else self.late_patch_px,
            stored=progress >= self.stored_from,
            eight_bits=progress >= self.eight_bits_from,
            squared=progress >= self.squared_from,
        )


@dataclass(frozen=True)
class Phase:
    """What a step does; it changes a few times in a run."""

    patch_px: int
    stored: bool
    eight_bits: bool
    squared: bool


def sources(folder: Path) -> list[Source]:
    """HR/LR pairs of a packed folder, at several magnifications."""
    paths = [(path, False) for path in sorted((folder / pack.TRAIN).iterdir())]
    paths += [(path, True) for path in sorted((folder / pack.DRAWN).iterdir())]
    with ProcessPoolExecutor() as pool:
        found = [source for made in pool.map(_sources_of, *zip(*paths, strict=True)) for source in made]
    least = max(Recipe(1).early_patch_px, Recipe(1).late_patch_px) + MARGIN_PX
    return [source for source in found if min(source.lr.shape[:2]) >= least]


def _sources_of(path: Path, is_graphic: bool) -> list[Source]:
    image = pack.read(path)
    pairs = [data.pair(hr) for hr in ([image] if is_graphic else pack.levels(image))]
    return [Source(hr, lr, detail_map(hr, lr), is_graphic) for hr, lr in pairs]


class Run:
    """One training run: model, its moving average, optimiser, and the log of what was seen."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.device = recipe, out, device
        self.model = Edsr().to(device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        self.loss_sum = torch.zeros((), device=device)
        self.step, self.elapsed_s, self.best = 0, 0.0, -math.inf
        self.log: list[dict[str, Any]] = []
        self._make_optimiser()

    def _make_optimiser(self) -> None:
        ranges = {id(r.log_range) for r in self.model.ranges()}
        weights = [p for p in self.model.parameters() if id(p) not in ranges]
        # Rates are tensors: a captured step reads them anew each time.
        groups = [
            {"params": params, "lr": torch.tensor(0.0, device=self.device)}
            for params in (weights, [r.log_range for r in self.model.ranges()])
        ]
        capturable = self.device.type == "cuda"
        self.optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True, capturable=capturable)

    def start_from(self, weights: dict[str, torch.Tensor]) -> None:
        """Take over the weights of another run."""
        self.model.load_state_dict(weights, strict=False)
        self.average.load_state_dict(self.model.state_dict())

    def checkpoint(self) -> None:
        state = {key: getattr(self, key) for key in ("step", "elapsed_s", "best", "log")}
        state |= {key: getattr(self, key).state_dict() for key in ("model", "average", "optimiser")}
        partial = self.out / "last.pt.part"
        torch.save(state, partial)
        partial.replace(self.out / "last.pt")
        text = json.dumps(
            {"recipe": asdict(self.recipe), "device": device_name(self.device), "log": self.log}, indent=1
        )
        (self.out / "log.json").write_text(text, encoding="utf-8")

    def resume(self) -> bool:
        path = self.out / "last.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=False)
        for key in ("step", "elapsed_s", "best", "log"):
            setattr(self, key, state[key])
        for key in ("model", "average", "optimiser"):
            getattr(self, key).load_state_dict(state[key])
        return True

    @torch.no_grad()
    def judge(self, pairs: list[tuple[data.Image8, data.Image8]]) -> dict[str, float]:
        """Mean PSNR-Y in dB of the moving average by kind of input, filters as stored."""
        self.average.quantise(True)
        with torch.backends.cudnn.flags(allow_tf32=False):
            return self._judged(pairs)

    def _judged(self, pairs: list[tuple[data.Image8, data.Image8]]) -> dict[str, float]:
        found = {}
        for quality in JUDGED[self.recipe.inputs]:
            values = []
            for hr, lr in pairs:
                given = torch.from_numpy(data.through_jpeg(lr, quality).copy())[None].to(self.device)
                values.append(picture_psnr_y(from_network(self.average(to_network(given)))[0].cpu().numpy(), hr))
            found["clean" if quality is None else f"jpeg {quality}"] = round(sum(values) / len(values), 4)
        return found

    def validate(self, pairs: list[tuple[data.Image8, data.Image8]], loss: float, rate: float) -> None:
        found = self.judge(pairs)
        score = sum(
            weight * value for weight, value in zip(JUDGED[self.recipe.inputs].values(), found.values(), strict=True)
        )
        row = {"minutes": round(self.elapsed_s / 60, 2), "step": self.step, "loss": loss, "rate": rate}
        self.log.append({**row, "psnr_y": score, "by_input": found})
        # What was not yet trained for the 8 bits it will be stored or computed in is not shipped, however good.
        recipe = self.recipe
        ready_from = recipe.eight_bits_from if recipe.eight_bits_from < 1 else recipe.stored_from
        if self.elapsed_s / 60 / recipe.minutes >= ready_from and score > self.best:
            self.best = score
            torch.save(self.average.state_dict(), self.out / "best.pt")
        print(json.dumps(self.log[-1]), flush=True)
        self.checkpoint()

    def train(
        self, library: PatchLibrary, pairs: list[tuple[data.Image8, data.Image8]], validate_every_s: float
    ) -> None:
        recipe, already_s, started = self.recipe, self.elapsed_s, time.monotonic()
        last_validation, last_step, phase, steps = started, self.step, None, []
        while (progress := self.elapsed_s / 60 / recipe.minutes) < 1:
            if recipe.phase(progress) != phase:
                phase = recipe.phase(progress)
                steps = self._steps(library, phase)
            rate = recipe.rate(progress)
            for index, group in enumerate(self.optimiser.param_groups):
                group["lr"].fill_(rate * (recipe.range_rate if index else 1.0))
            for _ in range(20 if self.device.type == "cuda" else 2):
                steps[self.step % len(steps)]()
                self.step += 1
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.elapsed_s = already_s + time.monotonic() - started
            if time.monotonic() - last_validation > validate_every_s:
                self.validate(pairs, float(self.loss_sum) / (self.step - last_step), rate)
                self.loss_sum.zero_()
                last_validation, last_step = time.monotonic(), self.step
        self.validate(pairs, float(self.loss_sum) / max(1, self.step - last_step), rate)

    def _steps(self, library: PatchLibrary, phase: Phase) -> list[Callable[[], None]]:
        """One step of the phase, or two that take turns: without and with 8 bits."""
        self.model.quantise(phase.stored)
        if phase.eight_bits and not any(float(r.log_range.detach()) for r in self.model.ranges()):
            self.model.measure_ranges(planes_to_network(library.batch(64, phase.patch_px)[0]))
            self.average.load_state_dict(
                {k: v for k, v in self.model.state_dict().items() if k.endswith("log_range")}, strict=False
            )
        found = []
        for eight_bits in (False, True)[: 1 + phase.eight_bits]:
            self.model.compute_in_eight_bits(eight_bits)
            found.append(self._captured(library, phase))
        self.model.compute_in_eight_bits(False)
        return found

    def _captured(self, library: PatchLibrary, phase: Phase) -> Callable[[], None]:
        degradation = self.recipe.degradation if self.recipe.inputs == "compressed" else None

        def step() -> None:
            lr, hr = library.batch(self.recipe.batch, phase.patch_px, degradation)
            with torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False):
                output = self.model(planes_to_network(lr).contiguous(memory_format=torch.channels_last))
            error = output.float() - planes_to_network(hr)
            # Both losses in the same order of size, so that one learning rate suits both.
            loss = error.square().mean() * 8 if phase.squared else error.abs().mean()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm, foreach=True)
            self.optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.average.parameters()), list(self.model.parameters()), 1 - self.recipe.ema_decay
                )
                self.loss_sum.add_(loss.detach())

        if self.device.type != "cuda":
            return self._with_flags(step)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def _with_flags(self, step: Callable[[], None]) -> Callable[[], None]:
        """A step that sets the flags it was made under: without a graph the model is asked anew each time."""
        eight_bits = self.model.end.active

        def run() -> None:
            self.model.compute_in_eight_bits(eight_bits)
            step()

        return run


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path, help="folder written by models.training.pack")
    parser.add_argument("out", type=Path, help="folder for checkpoints and the log; an earlier run there is resumed")
    parser.add_argument("--minutes", type=float, default=110)
    parser.add_argument("--inputs", choices=tuple(JUDGED), default="clean")
    parser.add_argument("--start", type=Path, help="checkpoint of another run to start from (best.pt)")
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--rate", type=float, default=Recipe.peak_rate, help="highest learning rate")
    parser.add_argument(
        "--eight-bits-from",
        type=float,
        default=Recipe.eight_bits_from,
        metavar="SHARE",
        help="share of the time after which every other step computes in 8 bits; 2 for never; default %(default)s",
    )
    parser.add_argument("--validate-every", type=float, default=150, metavar="SECONDS")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    recipe = Recipe(
        args.minutes, args.inputs, batch=args.batch, peak_rate=args.rate, eight_bits_from=args.eight_bits_from
    )
    run = Run(recipe, args.out, device)
    if not run.resume() and args.start:
        run.start_from(torch.load(args.start, map_location=device))
    found = sources(args.pack)
    print(
        f"{len(found)} HR pictures, {sum(s.hr.size for s in found) / 3e6:.0f} megapixels, {device_name(device)}",
        flush=True,
    )
    library = PatchLibrary(found, device, recipe.graphics_share)
    pairs = [data.pair(pack.read(path)) for path in sorted((args.pack / pack.VALIDATION).glob("*.png"))]
    run.validate(pairs, 0.0, 0.0)
    run.train(library, pairs, args.validate_every)


if __name__ == "__main__":
    main()
