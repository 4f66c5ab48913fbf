"""Synthetic pictures by code: pages of text, drawings, charts, maps and screens, for what photographs do not teach."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from models.training.canvas import CHINESE, CYRILLIC, GREEK, LATIN, Canvas, Colour, Image8, Point
from models.training.screens import screen

SCRIPTS = (LATIN, LATIN, LATIN, CHINESE, CHINESE, CYRILLIC, GREEK)


def page(canvas: Canvas) -> None:
    """Columns of running text with headings, rules and initials, each column in its own type."""
    columns = canvas.integer(1, 4)
    margin = canvas.integer(8, 40)
    wide = (canvas.width - margin * (columns + 1)) // columns
    for column in range(columns):
        script, top = canvas.choice(SCRIPTS), margin
        while top < canvas.height - margin:
            top = _paragraph(canvas, (margin + column * (wide + margin), top), wide, script)


def _paragraph(canvas: Canvas, at: tuple[int, int], wide: int, script: str) -> int:
    face, colour = canvas.face(script), canvas.ink()
    size = canvas.integer(9, 18) if canvas.random.random() < 0.7 else canvas.integer(18, 64)
    left, top = at
    if canvas.random.random() < 0.2:
        canvas.line([(left, top), (left + wide, top)], canvas.ink(), canvas.uniform(0.5, 3))
        top += 6
    if canvas.random.random() < 0.15:
        canvas.box((left - 4, top, left + wide + 4, top + 3 * size * 1.35), fill=_tint(canvas))
    per_line = max(1, round(wide / (size * (3.5 if script == CHINESE else 2.9))))
    for _ in range(canvas.integer(1, 4) if size > 18 else canvas.integer(3, 9)):
        canvas.text((left, top), canvas.cut(canvas.words(per_line, script), face, size, wide), face, size, colour)
        top += round(size * 1.35)
    return top + round(size * 0.8)


def _tint(canvas: Canvas) -> Colour:
    shift = canvas.random.integers(10, 45, 3) * (1 if canvas.dark else -1)
    red, green, blue = (int(v) for v in np.clip(np.array(canvas.paper) + shift, 0, 255))
    return red, green, blue


def poster(canvas: Canvas) -> None:
    """Words of all sizes and directions on top of large plain shapes."""
    for _ in range(canvas.integer(0, 6)):
        canvas.polygon(blob(canvas, canvas.integer(3, 9), canvas.uniform(60, 300)), _tint(canvas), None, 1)
    for _ in range(canvas.integer(10, 40)):
        script = canvas.choice(SCRIPTS)
        at = (canvas.uniform(-60, canvas.width), canvas.uniform(-20, canvas.height))
        turn = canvas.integer(-90, 91) if canvas.random.random() < 0.4 else 0
        size = round(8 * 14 ** canvas.uniform(0, 1))
        canvas.text(at, canvas.words(canvas.integer(1, 4), script), canvas.face(script), size, canvas.ink(), turn)


def blob(canvas: Canvas, corners: int, radius_px: float, roughness: float = 0.5) -> list[Point]:
    """The corners of a star-shaped polygon around a random place."""
    x, y = canvas.uniform(0, canvas.width), canvas.uniform(0, canvas.height)
    angles = np.sort(canvas.random.uniform(0, math.tau, corners))
    radii = radius_px * canvas.random.uniform(1 - roughness, 1, corners)
    return [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, radii, strict=True)]


def curve(canvas: Canvas, steps: int = 120) -> list[Point]:
    """Points of a smooth curve across the picture (a sum of a few waves in x and in y)."""
    along = np.linspace(0, math.tau, steps)
    axes = []
    for side in (canvas.width, canvas.height):
        waves = sum(
            canvas.uniform(-1, 1) * np.sin(order * along * canvas.uniform(0.3, 1) + canvas.uniform(0, math.tau))
            for order in range(1, 5)
        )
        axes.append(side * (canvas.uniform(0.2, 0.8) + 0.3 * np.asarray(waves)))
    return [(float(x), float(y)) for x, y in zip(*axes, strict=True)]


def drawing(canvas: Canvas) -> None:
    """Curves, polygons, circles, hatchings and fans of lines of many widths."""
    for _ in range(canvas.integer(8, 24)):
        width = canvas.uniform(0.6, 1.6) if canvas.random.random() < 0.6 else canvas.uniform(1.6, 12)
        outline = canvas.ink()
        fill = canvas.fill() if canvas.random.random() < 0.35 else None
        shape = canvas.integer(0, 6)
        if shape == 0:
            canvas.line(curve(canvas), outline, width)
        elif shape == 1:
            canvas.polygon(blob(canvas, canvas.integer(3, 12), canvas.uniform(20, 220)), fill, outline, width)
        elif shape == 2:
            _rings(canvas, outline, width)
        elif shape == 3:
            _hatching(canvas, outline, min(width, 3))
        elif shape == 4:
            _fan(canvas, outline, min(width, 2))
        else:
            _tiles(canvas, outline)


def _rings(canvas: Canvas, colour: Colour, width_px: float) -> None:
    x, y = canvas.uniform(0, canvas.width), canvas.uniform(0, canvas.height)
    step, flat = canvas.uniform(2.2, 4) * width_px + 1, canvas.uniform(0.4, 1)
    for ring in range(1, canvas.integer(2, 24)):
        r = ring * step
        canvas.ellipse((x - r, y - r * flat, x + r, y + r * flat), None, colour, width_px)


def _hatching(canvas: Canvas, colour: Colour, width_px: float) -> None:
    x, y = canvas.uniform(0, canvas.width), canvas.uniform(0, canvas.height)
    long, step, angle = canvas.uniform(60, 320), canvas.uniform(2.5, 9) + width_px, canvas.uniform(0, math.pi)
    for turn in (angle, angle + math.pi / 2)[: canvas.integer(1, 3)]:
        c, s = math.cos(turn), math.sin(turn)
        for offset in np.arange(-long / 2, long / 2, step):
            middle = (x - offset * s, y + offset * c)
            ends = [(middle[0] + t * long / 2 * c, middle[1] + t * long / 2 * s) for t in (-1, 1)]
            canvas.line(ends, colour, width_px)


def _fan(canvas: Canvas, colour: Colour, width_px: float) -> None:
    x, y = canvas.uniform(0, canvas.width), canvas.uniform(0, canvas.height)
    rays, radius = canvas.integer(12, 90), canvas.uniform(60, 300)
    for ray in range(rays):
        angle = math.tau * ray / rays
        canvas.line([(x, y), (x + radius * math.cos(angle), y + radius * math.sin(angle))], colour, width_px)


def _tiles(canvas: Canvas, colour: Colour) -> None:
    left, top, side = canvas.uniform(0, canvas.width), canvas.uniform(0, canvas.height), canvas.uniform(4, 24)
    rows, columns, skew, other = canvas.integer(3, 14), canvas.integer(3, 14), canvas.uniform(-0.5, 0.5), canvas.fill()
    for row in range(rows):
        for column in range(columns):
            x, y = left + side * (column + skew * row), top + side * row
            corners = [(x, y), (x + side, y), (x + side * (1 + skew), y + side), (x + side * skew, y + side)]
            canvas.polygon(corners, colour if (row + column) % 2 else other, None, 1)


def land_map(canvas: Canvas) -> None:
    """Areas, contour lines, a net of roads with borders, dots and place names."""
    for _ in range(canvas.integer(4, 14)):
        canvas.polygon(blob(canvas, canvas.integer(14, 60), canvas.uniform(60, 360), 0.35), canvas.fill(), None, 1)
    for _ in range(canvas.integer(2, 5)):
        line, colour, width = curve(canvas), canvas.ink(), canvas.uniform(0.6, 1.4)
        for level in range(canvas.integer(3, 12)):
            canvas.line([(x + level * 7, y + level * 5) for x, y in line], colour, width)
    for _ in range(canvas.integer(3, 9)):
        line, width = curve(canvas), canvas.uniform(2, 9)
        canvas.line(line, canvas.ink(), width + 2)
        canvas.line(line, canvas.fill(), width)
    script = canvas.choice(SCRIPTS)
    face, colour = canvas.face(script), canvas.ink()
    for _ in range(canvas.integer(12, 50)):
        x, y = canvas.uniform(0, canvas.width), canvas.uniform(0, canvas.height)
        canvas.ellipse((x - 3, y - 3, x + 3, y + 3), canvas.fill(), colour, 1)
        turn = canvas.integer(-40, 41) if canvas.random.random() < 0.3 else 0
        canvas.text((x + 5, y - 6), canvas.words(1, script), face, canvas.integer(9, 20), colour, turn)


def chart(canvas: Canvas) -> None:
    """Two by two charts with grids, axes, ticks, numbers, titles: lines, bars, dots."""
    face, rows = canvas.face(), canvas.integer(1, 4)
    columns = canvas.integer(1, 3)
    for row in range(rows):
        for column in range(columns):
            left = canvas.width * column / columns + 44
            top = canvas.height * row / rows + 28
            box = (left, top, canvas.width * (column + 1) / columns - 12, canvas.height * (row + 1) / rows - 26)
            _plot(canvas, box, face)


def _plot(canvas: Canvas, box: tuple[float, float, float, float], face: str) -> None:
    left, top, right, bottom = box
    axis, size = canvas.ink(), canvas.integer(9, 15)
    canvas.text((left, top - 22), canvas.words(canvas.integer(2, 5)), face, size + 2, axis)
    for tick in range(canvas.integer(3, 9)):
        y = bottom - tick * (bottom - top) / 8
        canvas.line([(left, y), (right, y)], _tint(canvas), 1)
        canvas.text((left - 40, y - size / 2), f"{tick * canvas.uniform(0.5, 40):.1f}", face, size, axis)
    for series in range(canvas.integer(1, 5)):
        count = canvas.integer(6, 60)
        xs = np.linspace(left + 3, right - 3, count)
        steps = np.cumsum(canvas.random.normal(0, 0.12, count)) + canvas.uniform(0.2, 0.8)
        points = list(zip(xs.tolist(), (bottom - (bottom - top) * np.clip(steps, 0.02, 1)).tolist(), strict=True))
        _series(canvas, points, (right - left) / count, bottom, series)
    canvas.box(box, outline=axis, width_px=canvas.uniform(0.8, 2))


def _series(canvas: Canvas, points: list[Point], step: float, bottom: float, series: int) -> None:
    colour, style = canvas.ink(), canvas.integer(0, 3)
    if style == 0 and series == 0:
        for x, y in points:
            canvas.box((x - step * 0.4, y, x + step * 0.4, bottom), colour, canvas.ink(), 0.8)
    elif style == 1:
        for x, y in points:
            canvas.ellipse((x - 3, y - 3, x + 3, y + 3), colour, None, 1)
    else:
        canvas.line(points, colour, canvas.uniform(0.8, 3))


# The kinds take turns; pages and screens come twice, since text is what people enlarge most.
KINDS: tuple[Callable[[Canvas], None], ...] = (page, screen, drawing, page, chart, poster, land_map, screen)


def render(seed: int, size_px: tuple[int, int]) -> Image8:
    """Return the picture of `seed`, uint8 [H, W, 3] RGB; the same seed and size give the same picture.

    Args:
        seed: says the kind too: the kinds take turns.
        size_px: (width, height).

    Raises:
        FileNotFoundError: a font's package is not installed.
    """
    canvas = Canvas(seed, size_px)
    KINDS[seed % len(KINDS)](canvas)
    return canvas.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description="Render synthetic training pictures as lossless WebP files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--side", type=int, default=768, help="width and height in pixels")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(args.count):
        picture = Image.fromarray(render(seed, (args.side, args.side)))
        picture.save(args.folder / f"graphics-{seed:03d}.webp", lossless=True, method=6)


if __name__ == "__main__":
    main()
