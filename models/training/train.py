"""Train the embedded EDSR-baseline: L1, Adam, cosine decay, exponential moving average, 8-bit-aware at the end.

Runs for a given number of minutes: the learning rate follows the share of that budget that is used up, so a slower
or busier machine trains fewer steps but still ends on a fully decayed rate. Stops and resumes at any checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from edsr_conversion.quality import psnr_y as picture_psnr_y

from . import data
from .network import Edsr, from_network, to_network


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result apart from the photographs."""

    budget_min: float
    seed: int = 3
    batch: int = 16
    early_patch_px: int = 24
    late_patch_px: int = 40
    late_from: float = 0.5
    quantised_from: float = 0.86
    peak_rate: float = 8e-4
    last_rate: float = 2e-6
    warmup_steps: int = 400
    gradient_norm: float = 1.0
    ema_decay: float = 0.999

    def rate(self, step: int, progress: float) -> float:
        """Learning rate at `step`, with `progress` 0..1 of the budget used: linear warm-up, then half a cosine."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return warm * (self.last_rate + (self.peak_rate - self.last_rate) * cosine)


def psnr_y(model: Edsr, pairs: list[tuple[data.Image8, data.Image8]]) -> float:
    """Mean PSNR-Y in dB of `model` over HR/LR pairs."""
    values = []
    with torch.no_grad():
        for hr, lr in pairs:
            out = from_network(model(to_network(torch.from_numpy(lr)[None])))[0].numpy()
            values.append(picture_psnr_y(out, hr))
    return sum(values) / len(values)


class Run:
    """One training run: model, its moving average, optimiser, and the log of what was seen."""

    def __init__(self, recipe: Recipe, photographs: Path, out: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out = recipe, out
        self.model = Edsr().to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.99), fused=True)
        self.step, self.elapsed_s, self.best = 0, 0.0, -math.inf
        self.log: list[dict[str, float]] = []
        self.photographs = photographs
        self.bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.validation = [data.pair(hr) for _, hr in data.references("validation", photographs)]

    def checkpoint(self) -> None:
        state = {key: getattr(self, key) for key in ("step", "elapsed_s", "best", "log")}
        state |= {key: getattr(self, key).state_dict() for key in ("model", "average", "optimiser")}
        partial = self.out / "last.pt.part"
        torch.save(state, partial)
        partial.replace(self.out / "last.pt")
        (self.out / "log.json").write_text(json.dumps({"recipe": asdict(self.recipe), "log": self.log}, indent=1))

    def resume(self) -> None:
        path = self.out / "last.pt"
        if not path.exists():
            return
        state = torch.load(path)
        for key in ("step", "elapsed_s", "best", "log"):
            setattr(self, key, state[key])
        for key in ("model", "average", "optimiser"):
            getattr(self, key).load_state_dict(state[key])

    def validate(self, loss: float, rate: float) -> None:
        self.average.quantise(True)
        score = psnr_y(self.average, self.validation)
        self.log.append(
            {"minutes": round(self.elapsed_s / 60, 2), "step": self.step, "l1": loss, "rate": rate, "psnr_y": score}
        )
        if score > self.best:
            self.best = score
            torch.save(self.average.state_dict(), self.out / "best.pt")
        print(json.dumps(self.log[-1]), flush=True)
        self.checkpoint()

    def train(self, validate_every_s: float = 150) -> None:
        recipe = self.recipe
        pairs = [pair for p in data.photographs("train") for pair in data.pyramid(p.read(self.photographs))]
        sampler = data.PatchSampler(pairs, recipe.seed + self.step)
        print(f"{len(pairs)} HR pictures, {sum(h.size for h, _ in pairs) / 3e6:.0f} megapixels", flush=True)
        compiled = torch.compile(self.model)
        patch, losses = 0, []
        last_validation = started = time.monotonic()
        already_s = self.elapsed_s
        while (progress := self.elapsed_s / 60 / recipe.budget_min) < 1:
            patch_now = recipe.early_patch_px if progress < recipe.late_from else recipe.late_patch_px
            quantised = progress >= recipe.quantised_from
            if (patch_now, quantised) != patch:
                patch = (patch_now, quantised)
                self.model.quantise(quantised)
                torch.compiler.reset()
                compiled = torch.compile(self.model, dynamic=False)
            rate = recipe.rate(self.step, progress)
            losses.append(self._step(compiled, sampler, patch_now, rate))
            self.elapsed_s = already_s + time.monotonic() - started
            if time.monotonic() - last_validation > validate_every_s:
                self.validate(sum(losses) / len(losses), rate)
                losses, last_validation = [], time.monotonic()
        self.validate(sum(losses) / max(1, len(losses)), rate)

    def _step(self, compiled: torch.nn.Module, sampler: data.PatchSampler, patch_px: int, rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        lr, hr = (torch.from_numpy(a) for a in sampler.batch(self.recipe.batch, patch_px))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            output = compiled(to_network(lr))
        loss = (output.float() - to_network(hr)).abs().mean()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.optimiser.step()
        decay = min(self.recipe.ema_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        self.step += 1
        return loss.item() * 127.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path, help="folder written by models.training.data")
    parser.add_argument("out", type=Path, help="folder for checkpoints and the log; an earlier run there is resumed")
    parser.add_argument("--minutes", type=float, default=110)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(Recipe(budget_min=args.minutes), args.photographs, args.out)
    run.resume()
    run.train()


if __name__ == "__main__":
    main()
