"""A file of results as one HTML page without anything from outside: tables, and plots as SVG."""

from __future__ import annotations

import html
import io
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .compare import SAME, Change, label_of
from .results import entry_reached, key_of
from .scenarios import IN_PROCESS

COLOURS = ("#1f6f8b", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#3c3c3c")
PARTS = {"compute": "#1f6f8b", "queue": "#edae49", "network": "#8d6a9f", "client": "#d1495b"}
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}figure{margin:1rem 0}svg{width:100%;height:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;white-space:nowrap}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}
.worse{color:#b3001b;font-weight:600}.better{color:#1b7f3b;font-weight:600}footer,.note{color:#666;font-size:.85rem}
"""


def page(data: Mapping[str, Any]) -> str:
    """The report of one run."""
    machine = data["machine"]
    parts = [
        f"<h1>{html.escape(data['model'])}, {html.escape(data['precision'])}: {html.escape(data['scenario'])}</h1>",
        f"<p>{html.escape(data['description'])}.<br>{_where(data)}</p>",
    ]
    for title, words, figure in figures(data["measurements"]):
        parts.append(f"<h2>{html.escape(title)}</h2><p class=note>{html.escape(words)}</p><figure>{figure}</figure>")
    parts.append("<h2>All measurements</h2>" + _table(data["measurements"]))
    if data["tiled"]:
        parts.append("<h2>Pictures in tiles</h2>" + _tiled_table(data["tiled"]))
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    parts.append(f"<footer><p>{html.escape(versions)}; perf_analyzer {data.get('perf_analyzer', '')}</p></footer>")
    return _document(f"{data['model']} {data['scenario']}", parts)


def comparison_page(a: Mapping[str, Any], b: Mapping[str, Any], changes: Sequence[Change]) -> str:
    """Two runs side by side."""
    rows = [
        (
            html.escape(change.label),
            f"{change.before_ms:.2f}",
            f"{change.after_ms:.2f}",
            f"<span class={change.verdict}>{change.ratio:.3f}</span>",
            f"{change.noise:.1%}",
            f"{change.throughput_ratio:.3f}",
            "" if change.verdict == SAME else change.verdict,
        )
        for change in changes
    ]
    head = ("", "A, p50 ms", "B, p50 ms", "B / A", "noise", "throughput B / A", "")
    parts = [
        "<h1>Two runs</h1>",
        f"<p>A: {_where(a)}<br>B: {_where(b)}</p>",
        f"<figure>{_ratios(changes)}</figure>",
        f"<figure>{how_even(a, b)}</figure>",
        _html_table(head, rows),
        "<p class=note>Noise: what the medians of the windows of both runs differ by among themselves, at least 5%. A "
        "ratio beyond it is called better or worse.</p>",
    ]
    return _document("Two runs", parts)


def figures(entries: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str, str]]:
    """Yield (title, explanation, SVG) of every plot there is something for."""
    plot = [e for e in entries if e["concurrency"] == 1 and e["protocol"] == "http" and not e["shared_memory"]]
    if len({e["height"] * e["width"] for e in plot}) > 1:
        yield (
            "Latency by size",
            "HTTP, one request in flight; the line is the median, the band reaches to p99. Grey: the inference alone.",
            _sizes(plot, [e for e in entries if e["protocol"] == IN_PROCESS]),
        )
    for size in sorted({(e["height"], e["width"]) for e in entries}):
        ladder = sorted(_ladder(entries, size), key=lambda e: e["concurrency"])
        if len(ladder) > 1:
            name = f"{size[0]}x{size[1]}"
            yield f"Concurrency, {name}", "Answers a second, and how long each took.", _concurrency(ladder)
            if all(e["histogram_ms"] for e in ladder):
                bare = [e for e in entries if e["protocol"] == IN_PROCESS and (e["height"], e["width"]) == size]
                yield f"How even, {name}", "Every request's latency over the median.", _histograms([*bare, *ladder])
    rates = [e for e in entries if e["request_rate"] and entry_reached(e)]
    if len(rates) > 1:
        yield (
            "Poisson arrivals",
            "Requests come when they come, whatever waits; latency from the intended start. Rates that were reached.",
            _rates(rates),
        )
    served = [e for e in entries if e["protocol"] != IN_PROCESS]
    yield "Where the time goes", "Means per request, as perf_analyzer and the server count them.", _split(served)


def _ladder(entries: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> list[Mapping[str, Any]]:
    """The entries of a size that differ in concurrency alone: the longest such row."""
    rows: dict[tuple[str, bool], dict[int, Mapping[str, Any]]] = {}
    for entry in entries:
        if (entry["height"], entry["width"]) == size and entry["concurrency"] and entry["protocol"] != IN_PROCESS:
            row = rows.setdefault((entry["protocol"], entry["shared_memory"]), {})
            row[entry["concurrency"]] = entry
    return list(max(rows.values(), key=len, default={}).values())


def _sizes(entries: Sequence[Mapping[str, Any]], bare: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = _axes()
    ordered, alone = (sorted(each, key=lambda e: e["height"] * e["width"]) for each in (entries, bare))
    px = [e["height"] * e["width"] / 1e6 for e in ordered]
    axes.plot([e["height"] * e["width"] / 1e6 for e in alone], _latency(alone, "p50"), "o-", color="#999999")
    axes.fill_between(px, _latency(ordered, "p50"), _latency(ordered, "p99"), color=COLOURS[0], alpha=0.2, linewidth=0)
    axes.plot(px, _latency(ordered, "p50"), "o-", color=COLOURS[0])
    for entry, x in zip(ordered, px, strict=True):
        label = f"{entry['height']}x{entry['width']}"
        axes.annotate(label, (x, entry["latency_ms"]["p50"]), (4, -10), textcoords="offset points", fontsize=8)
    axes.set(xlabel="megapixels (LR)", ylabel="ms", xscale="log", yscale="log")
    return _svg(figure)


def _concurrency(entries: Sequence[Mapping[str, Any]]) -> str:
    figure, (left, right) = _axes(2)
    steps = [e["concurrency"] for e in entries]
    left.plot(steps, [e["throughput_per_s"] for e in entries], "o-", color=COLOURS[0])
    left.set(xlabel="requests in flight", ylabel="answers a second", ylim=(0, None), xticks=steps)
    for name, colour in zip(("p50", "p95", "p99"), COLOURS, strict=False):
        right.plot(steps, _latency(entries, name), "o-", color=colour, label=name)
    right.set(xlabel="requests in flight", ylabel="ms", ylim=(0, None), xticks=steps)
    right.legend(frameon=False)
    return _svg(figure)


def _histograms(entries: Sequence[Mapping[str, Any]]) -> str:
    figure, all_axes = _axes(len(entries))
    for axes, entry in zip(all_axes, entries, strict=True):
        edges, counts = entry["histogram_ms"]["edges"], entry["histogram_ms"]["counts"]
        middle = entry["latency_ms"]["p50"]
        widths = [(b - a) / middle for a, b in pairwise(edges)]
        axes.bar([edge / middle for edge in edges[:-1]], counts, widths, align="edge", color=COLOURS[0])
        axes.axvline(entry["latency_ms"]["p99"] / middle, color=COLOURS[1], linewidth=1)
        axes.set(
            title=f"{_short(entry)}\np99 = {entry['latency_ms']['p99'] / middle:.2f} x p50",
            xlabel="times the median",
            yticks=[],
        )
        axes.title.set_fontsize(9)
    return _svg(figure)


def _short(entry: Mapping[str, Any]) -> str:
    return "no server" if entry["protocol"] == IN_PROCESS else f"{entry['concurrency']} in flight"


def how_even(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """SVG: the latencies of all requests of two runs, one plot for each measurement that has them in both; "" if none.

    Dotted lines are the 99th percentiles. The counts are logarithmic: a tail is a few requests in thousands.
    """
    after = {key_of(entry): entry for entry in b["measurements"] if entry["histogram_ms"]}
    pairs = [
        (entry, after[key_of(entry)]) for entry in a["measurements"] if entry["histogram_ms"] and key_of(entry) in after
    ]
    if not pairs:
        return ""
    figure, all_axes = _axes(len(pairs), 2.8)
    for axes, pair in zip(all_axes if len(pairs) > 1 else [all_axes], pairs, strict=True):
        for entry, colour, name in zip(pair, (COLOURS[1], COLOURS[0]), "AB", strict=True):
            edges, counts = entry["histogram_ms"]["edges"], entry["histogram_ms"]["counts"]
            axes.stairs(counts, edges, color=colour, fill=True, alpha=0.5)
            axes.axvline(entry["latency_ms"]["p99"], color=colour, linestyle=":", label=f"{name}: p99")
        axes.set(title=_short(pair[0]), xlabel="ms", yscale="log", ylim=(0.7, None))
        axes.title.set_fontsize(9)
    (all_axes if len(pairs) == 1 else all_axes[0]).set_ylabel("requests")
    (all_axes if len(pairs) == 1 else all_axes[-1]).legend(frameon=False, fontsize=8)
    return _svg(figure)


def _rates(entries: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = _axes()
    ordered = sorted(entries, key=lambda e: e["request_rate"])
    for name, colour in zip(("p50", "p95", "p99"), COLOURS, strict=False):
        axes.plot([e["request_rate"] for e in ordered], _latency(ordered, name), "o-", color=colour, label=name)
    axes.set(xlabel="requests a second", ylabel="ms", ylim=(0, None))
    axes.legend(frameon=False)
    return _svg(figure)


def _split(entries: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = _axes(height=max(2.0, 0.32 * len(entries) + 0.8))
    ordered = list(reversed(entries))
    left = [0.0] * len(ordered)
    for part, colour in PARTS.items():
        shares = [e["split_ms"][part] / (sum(e["split_ms"].values()) or 1) for e in ordered]
        axes.barh([label_of(e) for e in ordered], shares, left=left, color=colour, label=part)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set(xlim=(0, 1), xlabel="part of a request's time")
    axes.tick_params(axis="y", labelsize=8)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return _svg(figure)


def _ratios(changes: Sequence[Change]) -> str:
    figure, axes = _axes(height=max(1.5, 0.3 * len(changes) + 0.8))
    ordered = list(reversed(changes))
    colours = {"better": "#1b7f3b", "same": "#888888", "worse": "#b3001b"}
    for index, change in enumerate(ordered):
        axes.plot([1 / (1 + change.noise), 1 + change.noise], [index, index], color="#dddddd", linewidth=8)
        axes.plot(change.ratio, index, "o", color=colours[change.verdict])
    axes.set_yticks(range(len(ordered)), labels=[change.label for change in ordered], fontsize=8)
    axes.axvline(1, color="#888888", linewidth=0.8)
    axes.set_xlabel("median latency, B over A; grey: within the noise")
    return _svg(figure)


def _latency(entries: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [entry["latency_ms"][name] for entry in entries]


def _axes(columns: int = 1, height: float = 3.2) -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(8, height), layout="constrained")
    for each in axes if columns > 1 else [axes]:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    from matplotlib import pyplot as plt

    drawn = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "edsr-triton", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    return re.sub(r"^.*?(?=<svg)", "", drawn.getvalue(), count=1, flags=re.DOTALL)


def _table(entries: Sequence[Mapping[str, Any]]) -> str:
    head = ("", "p50 ms", "p95 ms", "p99 ms", "mean ms", "p99/p50", "a second", "MP/s", "spread", "requests")
    rows = [
        (
            html.escape(f"{entry['name']}: {label_of(entry)}"),
            *_latencies(entry),
            f"{entry['throughput_per_s']:.1f}",
            f"{entry['megapixels_per_s']:.3f}",
            f"{entry['spread']:.1%}",
            f"{entry['answered']:,}",
        )
        for entry in entries
    ]
    return _html_table(head, rows)


def _latencies(entry: Mapping[str, Any]) -> list[str]:
    """The cells of p50, p95, p99, mean and p99/p50: empty where the rate was not reached."""
    if not entry_reached(entry):
        return [""] * 5
    even = f"{statistics.median(entry['window_p99_over_p50']):.2f}" if "window_p99_over_p50" in entry else ""
    return [*(f"{entry['latency_ms'][name]:.1f}" for name in ("p50", "p95", "p99", "mean")), even]


def _tiled_table(entries: Sequence[Mapping[str, Any]]) -> str:
    head = ("", "tiles", "picture, MP/s", "bare tiles, MP/s", "share")
    rows = [
        (
            f"{html.escape(entry['name'])}: {entry['picture'][0]}x{entry['picture'][1]}",
            f"{entry['tiles']} of {entry['tile'][0]}x{entry['tile'][1]}",
            f"{entry['client_px_s'] / 1e6:.3f}",
            f"{entry['server_px_s'] / 1e6:.3f}",
            f"{entry['share']:.1%}",
        )
        for entry in entries
    ]
    return _html_table(head, rows)


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return (
        "<div class=wide><table><thead><tr>"
        + "".join(f"<th>{cell}</th>" for cell in head)
        + "</tr></thead><tbody>"
        + "".join(lines)
        + "</tbody></table></div>"
    )


def _where(data: Mapping[str, Any]) -> str:
    machine = data["machine"]
    return html.escape(
        f"{data['model']}, {data['precision']}, {data['runtime']}; {machine['processor']}, {machine['cores']} cores, "
        f"{machine['date']}, revision {machine['revision']}"
    )


def _document(title: str, parts: Sequence[str]) -> str:
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
        f'content="width=device-width,initial-scale=1"><title>{html.escape(title)}</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )
