"""The roofline in docs/performance.md: what this processor could do and does, the cards, and the claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..baselines.page import milliseconds
from ..publishing import kind_of
from ..sections import read_results, table, write_section
from .chart import draw

MARKER = "<!-- roofline table, by `make roofline` -->"
NOT_MEASURED = "Not measured yet: `make roofline` measures.\n"
CHART = "roofline.svg"


def write(root: Path) -> list[Path]:
    """Render all results that are kept into the page, and draw them; returns what was written."""
    results = read_results(root, "roofline-*.json")
    written = [write_section(root, MARKER, section(results))]
    if results:
        draw(results, root / "docs" / CHART)
        written.append(root / "docs" / CHART)
    return written


def section(results: list[dict[str, Any]]) -> str:
    """This processor, model by model; the claims; the cards."""
    if not results:
        return NOT_MEASURED
    parts = [f"![Measured beside the limit, and claims beside theirs]({CHART})\n"]
    parts += [f"**{kind_of(result['machine'])}**\n\n{processor_table(result)}" for result in results]
    parts.append(
        "What the replaced service claims, beside the limit of the datasheet in fp16 (nothing here was measured on a "
        f"card):\n\n{claims_table(results[0]['claims'])}"
    )
    for result in {result["model"]: result for result in results}.values():  # datasheets are the same everywhere
        parts.append(
            f"{result['model']} at the limit of each card's datasheet; measured on a card: not measured.\n\n"
            f"{card_table(result['cards'])}"
        )
    return "\n".join(parts)


def processor_table(result: dict[str, Any]) -> str:
    """Peak, limit and what the served model reaches, per precision."""
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in result["served"]))
    head = [result["model"], "peak measured", "by"]
    for height, width in shapes:
        head += [f"{height}x{width}: limit", "measured", "reached"]
    rows = [head]
    for precision, peak in result["peaks"].items():
        cells = [precision, f"{peak['flop_s'] / 1e9:,.0f} GFLOP/s", peak["what"]]
        those = {tuple(row["shape"]): row for row in result["served"] if row["precision"] == precision}
        for shape in shapes:
            row = those.get(shape)
            cells += (
                [milliseconds(row["limit_s"]), milliseconds(row["measured_s"]), f"{row['reached']:.0%}"]
                if row
                else ["", "not measured", ""]
            )
        rows.append(cells)
    machine, size = result["machine"], result["network"]
    gpu = result["gpu"]
    on_gpu = (
        gpu["reason"]
        if "reason" in gpu
        else f"{gpu['name']}: "
        + ", ".join(f"{flop_s / 1e12:,.1f} TFLOP/s {precision}" for precision, flop_s in gpu["flop_s"].items())
    )
    return (
        f"{table(rows, 'lrl' + 'rrr' * len(shapes))}\n"
        f"{size['blocks']} blocks of {size['filters']} filters. {machine['processor']}, {result['threads']} cores, "
        f"copying memory at {result['bandwidth_bytes_s'] / 1e9:.1f} GB/s, OpenVINO {machine['packages']['openvino']}, "
        f"{machine['date']}, revision {machine['revision']}. A GPU's matrix product: {on_gpu}.\n"
    )


def claims_table(claims: list[dict[str, Any]]) -> str:
    """Each claimed time, and per network the limit and whether the card could."""
    names = list(claims[0]["networks"]) if claims else []
    head = ["card", "picture", "claimed"]
    for name in names:
        head += [f"{name}: limit", "needs", "possible"]
    rows = [head]
    for claim in claims:
        cells = [f"`{claim['card']}`", f"{claim['side']}x{claim['side']}", f"{claim['claimed_ms']:g} ms"]
        for name in names:
            judged = claim["networks"][name]
            cells += [
                milliseconds(judged["limit_ms"] / 1e3),
                f"{judged['needed_tflops']:,.1f} TFLOP/s, {judged['of_fp16_peak']:.0%} of the peak",
                {"fp16": "yes", "int8": "**no**, only in int8"}.get(judged["possible"], "**no**, not even in int8"),
            ]
        rows.append(cells)
    return table(rows, "llr" + "rrl" * len(names))


def card_table(cards: list[dict[str, Any]]) -> str:
    """Limits of cards per shape: fp16, and int8."""
    shapes = list(cards[0]["limit_s"])
    head = ["card", "fp16 peak (datasheet)", "int8"]
    for shape in shapes:
        head += [f"{shape}: fp16", "int8"]
    rows = [head]
    for card in cards:
        peak = card["peak_tflops"]
        cells = [f"`{card['key']}`", f"{peak['fp16']:g} TFLOP/s", f"{peak['int8']:g}"]
        for shape in shapes:
            cells += [milliseconds(card["limit_s"][shape][precision]) for precision in ("fp16", "int8")]
        rows.append(cells)
    return table(rows, "lrr" + "rr" * len(shapes))
