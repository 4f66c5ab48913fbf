"""Two files of results side by side: ratios, and which differences are more than noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .results import entry_reached, key_of
from .scenarios import Load

# However even the windows were: machines are shared, and five per cent is nothing to act upon.
LEAST_NOISE = 0.05
BETTER, SAME, WORSE = "better", "same", "worse"


@dataclass(frozen=True)
class Change:
    """One measurement in both files.

    Attributes:
        label: in words.
        before_ms, after_ms: median latency.
        ratio: after over before; above 1 is slower.
        noise: what a ratio must differ from 1 by: the spreads of both, at least LEAST_NOISE.
        throughput_ratio: after over before; above 1 is better.
    """

    label: str
    before_ms: float
    after_ms: float
    ratio: float
    noise: float
    throughput_ratio: float

    @property
    def verdict(self) -> str:
        if self.ratio > 1 + self.noise:
            return WORSE
        return BETTER if self.ratio < 1 / (1 + self.noise) else SAME


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """Every measurement that both have, and whose rate both reached; `a` is before, `b` after."""
    after = {key_of(entry): entry for entry in b["measurements"]}
    changes = []
    for entry in a["measurements"]:
        other = after.get(key_of(entry))
        if other is None or not (entry_reached(entry) and entry_reached(other)):
            continue
        before_ms, after_ms = entry["latency_ms"]["p50"], other["latency_ms"]["p50"]
        changes.append(
            Change(
                label_of(entry),
                before_ms,
                after_ms,
                after_ms / before_ms,
                max(LEAST_NOISE, entry["spread"] + other["spread"]),
                other["throughput_per_s"] / entry["throughput_per_s"],
            )
        )
    return changes


def label_of(entry: Mapping[str, Any]) -> str:
    """A measurement in words; one whose rate was not reached says so."""
    label = Load(**{field: entry[field] for field in Load.__dataclass_fields__}).label
    if entry_reached(entry):
        return label
    worst = min(entry.get("window_per_s", [entry["throughput_per_s"]]))
    return f"{label}: not reached ({worst:.1f}/s)"


def as_text(changes: list[Change]) -> str:
    """A table for the terminal."""
    width = max((len(change.label) for change in changes), default=0)
    lines = [f"{'':{width}}  {'A ms':>9}  {'B ms':>9}  {'B/A':>6}  {'noise':>6}  throughput B/A"]
    for change in changes:
        lines.append(
            f"{change.label:{width}}  {change.before_ms:9.2f}  {change.after_ms:9.2f}  {change.ratio:6.3f}  "
            f"{change.noise:6.1%}  {change.throughput_ratio:6.3f}  {'' if change.verdict == SAME else change.verdict}"
        )
    return "\n".join(lines)
