"""docs/tiling.md: the table of error and cost by halo, its chart, and a picture of a seam."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .halo import HaloError, Runner, upscale_in_tiles

PAGE, CHART, SEAMS = "tiling.md", "tiling.svg", "seams.png"
# Differences are shown this many times as large: one level is then just visible.
AMPLIFIED = 40
TABLE = re.compile(r"(<!-- halo table, by `make halo` -->\n).*?(<!-- end -->)", re.DOTALL)
TILES_PX = (512, 1152)


def write(results: list[dict[str, Any]], docs: Path) -> None:
    """Put a table of each machine into the page, and draw the chart of the first beside them."""
    page = docs / PAGE
    page.write_text(with_table(page.read_text("utf-8"), results), "utf-8")
    draw(results[0], docs / CHART)


def with_table(page: str, results: list[dict[str, Any]]) -> str:
    """The page with the table of these results; what stands around it is kept.

    Raises:
        ValueError: the page has no place for it.
    """
    if not TABLE.search(page):
        raise ValueError("the page has no place for the table")
    tables = "\n".join(table(result) for result in results)
    return TABLE.sub(lambda match: f"{match[1]}{tables}{match[2]}", page)


def table(results: dict[str, Any]) -> str:
    """The table as Markdown, and where it was measured."""
    head = "| halo | largest difference | values off by more than one level | PSNR | " + " | ".join(
        f"work, tiles of {side}" for side in TILES_PX
    )
    lines = [head + " |", "|---:" * (4 + len(TILES_PX)) + "|"]
    lines += [_row(HaloError(**error), results) for error in results["errors"]]
    machine = results["machine"]
    lines.append("")
    lines.append(
        f"{results['model']}, {results['precision']}, {results['pictures']} pictures of {results['pixels']:,} pixels "
        f"in all, tiles that keep 64x64 pixels. {machine['processor']}, OpenVINO {machine['packages']['openvino']}, "
        f"{machine['date']}."
    )
    return "\n".join(lines) + "\n"


def _row(error: HaloError, results: dict[str, Any]) -> str:
    name = str(error.halo_px)
    if error.halo_px == results["smallest_good_halo_px"]:
        name = f"**{name}** (default)"
    elif error.halo_px == results["exact_halo_px"]:
        name = f"{name} (exact)"
    share = f"{error.share_over:.1e}" if error.share_over else "none"
    psnr = f"{error.psnr_db:.1f} dB" if error.psnr_db else "equal"
    work = " | ".join(f"{error.cost(side):.2f}x" for side in TILES_PX)
    return f"| {name} | {error.max_levels} | {share} | {psnr} | {work} |"


def draw(results: dict[str, Any], path: Path) -> None:
    """Largest difference and work by halo, as SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    errors = [HaloError(**error) for error in results["errors"]]
    halos = [error.halo_px for error in errors]
    settings = {"svg.hashsalt": "edsr-triton", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with plt.rc_context(settings):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
        left.plot(halos, [error.max_levels for error in errors], "o-", color="#1f6f8b")
        left.set_yscale("symlog", linthresh=1)
        left.set_yticks([0, 1, 2, 5, 10, 50, 100], labels=["0", "1", "2", "5", "10", "50", "100"])
        left.axhline(1, color="#888888", linewidth=0.8)
        left.set_ylabel("largest difference, levels of 255")
        for side, colour in zip(TILES_PX, ("#d1495b", "#1f6f8b"), strict=True):
            right.plot(
                halos, [error.cost(side) for error in errors], "o-", color=colour, label=f"tiles of {side}x{side}"
            )
        right.set_ylabel("pixels computed for each kept")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set_xlabel("halo, LR pixels")
            axes.axvline(results["smallest_good_halo_px"], color="#888888", linewidth=0.8, linestyle=":")
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def draw_seams(run: Runner, scale: int, picture: NDArray[np.uint8], halos_px: tuple[int, ...], path: Path) -> None:
    """A picture put together from tiles with each halo, above how it differs from the untiled one.

    Args:
        run: as for `measure`.
        scale: of the network.
        picture: uint8 [H, W, 3], more than one tile of KEPT_PX.
        halos_px: one column each.
        path: of the PNG.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    whole = run(picture[None])[0].astype(np.int16)
    with plt.rc_context({"font.size": 9}):
        figure, axes = plt.subplots(2, len(halos_px), figsize=(2.7 * len(halos_px), 4.8), layout="constrained")
        for column, halo_px in zip(axes.T, halos_px, strict=True):
            tiled = upscale_in_tiles(run, scale, picture, halo_px)
            difference = np.abs(tiled - whole)
            column[0].imshow(tiled, interpolation="none")
            column[0].set_title(f"halo {halo_px}")
            column[1].imshow(np.minimum(difference * AMPLIFIED, 255).astype(np.uint8), interpolation="none")
            column[1].set_title(f"difference x {AMPLIFIED}, at most {difference.max()}")
        for each in axes.flat:
            each.set_axis_off()
        figure.savefig(path, dpi=110, metadata={"Software": None})
        plt.close(figure)
