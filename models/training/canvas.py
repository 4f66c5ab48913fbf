"""A canvas for synthetic pictures: smooth shapes, text as screens draw it, random words and colours, by seed.

Fonts come from Debian 12 packages, all free: fonts-dejavu-core, fonts-dejavu-extra, fonts-liberation, fonts-lato,
fonts-open-sans, fonts-hack, fonts-freefont-ttf, fonts-crosextra-carlito, fonts-crosextra-caladea, fonts-noto-core,
fonts-noto-cjk.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Image8 = NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[float, float]

FONTS = Path("/usr/share/fonts")
LATIN_FACES = (
    *(f"truetype/dejavu/DejaVu{face}.ttf" for face in ("Sans", "Sans-Bold", "SansMono", "Serif", "SerifCondensed")),
    *(
        f"truetype/liberation/Liberation{face}.ttf"
        for face in ("Sans-Regular", "Sans-Bold", "SansNarrow-Regular", "Serif-Regular", "Serif-Italic", "Mono-Regular")
    ),
    *(f"truetype/lato/Lato-{face}.ttf" for face in ("Regular", "Light", "Black", "Italic")),
    *(f"truetype/open-sans/OpenSans-{face}.ttf" for face in ("Regular", "Light", "CondBold", "Semibold")),
    *(f"truetype/freefont/Free{face}.ttf" for face in ("Serif", "SerifBoldItalic", "Sans", "Mono")),
    *(f"truetype/crosextra/{face}.ttf" for face in ("Carlito-Regular", "Caladea-Regular", "Caladea-BoldItalic")),
    *(f"truetype/noto/Noto{face}.ttf" for face in ("Serif-Regular", "Serif-Bold", "SansDisplay-Regular")),
    "truetype/hack/Hack-Regular.ttf",
)
# Faces that have Greek and Cyrillic letters too.
PAN_FACES = (
    "truetype/dejavu/DejaVuSans.ttf",
    "truetype/dejavu/DejaVuSerif.ttf",
    "truetype/liberation/LiberationSerif-Regular.ttf",
    "truetype/liberation/LiberationSans-Regular.ttf",
    "truetype/noto/NotoSans-Regular.ttf",
    "truetype/noto/NotoSerif-Italic.ttf",
    "truetype/freefont/FreeSerif.ttf",
)
CJK_FACES = tuple(f"opentype/noto/Noto{face}.ttc" for face in ("SansCJK-Regular", "SerifCJK-Regular", "SansCJK-Bold"))

# Chinese: every seventh ideograph of the code table, common and rare, dense and plain.
LATIN, CYRILLIC, GREEK, CHINESE = "latin", "cyrillic", "greek", "chinese"
_LETTERS = {
    CYRILLIC: "абвгдежзийклмнопрстуфхцчшщыьэюя",
    GREEK: "αβγδεζηθικλμνξοπρστυφχψω",
    CHINESE: "".join(chr(c) for c in range(0x4E00, 0x9FA0, 7)),
}
_SYLLABLES = (
    *("an", "ber", "co", "del", "en", "fi", "gra", "hu", "in", "jo", "ka", "lo", "mer", "ni", "os", "par", "qui", "ra"),
    *("sto", "ter", "um", "ver", "wi", "xe", "ya", "zo", "th", "st", "ing", "ou"),
)


@lru_cache(maxsize=1024)
def font(face: str, size_px: int) -> ImageFont.FreeTypeFont:
    """The font of `face` at `size_px`.

    Raises:
        FileNotFoundError: the package that ships the face is not installed.
    """
    path = FONTS / face
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: install the packages named at the top of {Path(__file__).name}")
    return ImageFont.truetype(str(path), size_px)


class Canvas:
    """A picture that is drawn on; everything random comes from its own generator.

    Shapes are drawn in fours and reduced by 4, so their edges are smooth; text is drawn at its final size, as a
    screen shows it, when the picture is finished.

    Args:
        seed: of the generator.
        size_px: (width, height).
    """

    OVERSAMPLING = 4

    def __init__(self, seed: int, size_px: tuple[int, int]) -> None:
        self.random = np.random.default_rng(seed)
        self.width, self.height = size_px
        self.dark = bool(self.random.random() < 0.35)
        self.paper = self._paper()
        k = self.OVERSAMPLING
        self._image = Image.new("RGB", (self.width * k, self.height * k), self.paper)
        self._draw = ImageDraw.Draw(self._image)
        self._texts: list[tuple[Point, str, str, int, Colour, int]] = []

    def _paper(self) -> Colour:
        if self.random.random() < 0.4:
            return (18, 18, 20) if self.dark else (255, 255, 255)
        low, high = (0, 60) if self.dark else (205, 256)
        red, green, blue = (int(v) for v in self.random.integers(low, high, 3))
        return red, green, blue

    def ink(self) -> Colour:
        """A colour that stands out from the paper: often near black or white, else any vivid one."""
        if self.random.random() < 0.45:
            grey = int(self.random.integers(200, 256) if self.dark else self.random.integers(0, 70))
            return grey, grey, grey
        value = self.uniform(0.7, 1) if self.dark else self.uniform(0.15, 0.75)
        return self._hsv(self.uniform(0, 1), self.uniform(0.4, 1), value)

    def fill(self) -> Colour:
        """Any colour at all, for areas."""
        return self._hsv(self.uniform(0, 1), self.uniform(0, 0.9), self.uniform(0.2, 1))

    @staticmethod
    def _hsv(hue: float, saturation: float, value: float) -> Colour:
        red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue, saturation, value))
        return red, green, blue

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return float(self.random.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high)."""
        return int(self.random.integers(low, high))

    def choice(self, items: Sequence[str]) -> str:
        """One of `items`."""
        return items[self.integer(0, len(items))]

    def face(self, script: str = LATIN) -> str:
        """A face that has the letters of `script`."""
        return self.choice({LATIN: LATIN_FACES, CHINESE: CJK_FACES}.get(script, PAN_FACES))

    def words(self, count: int, script: str = LATIN) -> str:
        """`count` invented words; Chinese ones are runs of ideographs without spaces."""
        made = [self._word(script) for _ in range(count)]
        return ("" if script == CHINESE else " ").join(made)

    def _word(self, script: str) -> str:
        if self.random.random() < 0.08:
            return str(self.integer(0, 10 ** self.integer(1, 6)))
        if script == LATIN:
            word = "".join(self.choice(_SYLLABLES) for _ in range(self.integer(1, 4)))
        else:
            word = "".join(self.choice(_LETTERS[script]) for _ in range(self.integer(2, 9)))
        ends = "\N{FULLWIDTH COMMA}" if script == CHINESE else ",.;?"
        end = self.choice(ends) if self.random.random() < 0.12 else ""
        case = self.random.random()
        return (word.capitalize() if case < 0.2 else word.upper() if case < 0.25 else word) + end

    @staticmethod
    def cut(text: str, face: str, size_px: int, room_px: float) -> str:
        """As much of `text` as fits into `room_px`."""
        wide = font(face, size_px).getlength(text)
        return text if wide <= room_px else text[: int(len(text) * max(0.0, room_px) / wide)]

    def line(self, points: Sequence[Point], colour: Colour, width_px: float) -> None:
        """A polyline with round joints."""
        k = self.OVERSAMPLING
        scaled = [(x * k, y * k) for x, y in points]
        self._draw.line(scaled, fill=colour, width=max(1, round(width_px * k)), joint="curve")

    def polygon(self, points: Sequence[Point], fill: Colour | None, outline: Colour | None, width_px: float) -> None:
        """A closed polygon, filled, outlined or both."""
        k = self.OVERSAMPLING
        if fill:
            self._draw.polygon([(x * k, y * k) for x, y in points], fill=fill)
        if outline:
            self.line([*points, *points[:2]], outline, width_px)

    def ellipse(
        self, box: tuple[float, float, float, float], fill: Colour | None, outline: Colour | None, width_px: float
    ) -> None:
        """An ellipse in `box` (left, top, right, bottom)."""
        k = self.OVERSAMPLING
        left, top, right, bottom = (v * k for v in box)
        self._draw.ellipse((left, top, right, bottom), fill=fill, outline=outline, width=max(1, round(width_px * k)))

    def box(
        self,
        box: tuple[float, float, float, float],
        fill: Colour | None = None,
        outline: Colour | None = None,
        width_px: float = 1,
        radius_px: float = 0,
    ) -> None:
        """A rectangle in `box` (left, top, right, bottom), with rounded corners where a radius is given."""
        k = self.OVERSAMPLING
        left, top, right, bottom = (v * k for v in box)
        width = max(1, round(width_px * k))
        if right - left >= 2 * radius_px * k and bottom - top >= 2 * radius_px * k:
            self._draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius_px * k, fill, outline, width)

    def text(self, at: Point, text: str, face: str, size_px: int, colour: Colour, turn: int = 0) -> tuple[int, int]:
        """Write `text` with its upper left corner at `at`, turned by `turn` degrees; returns (width, height)."""
        self._texts.append((at, text, face, size_px, colour, turn))
        left, top, right, bottom = font(face, size_px).getbbox(text)
        return int(right - left), int(bottom - top)

    def erase_text(self, box: tuple[float, float, float, float]) -> None:
        """Forget the text that begins inside `box` (left, top, right, bottom), which a shape is about to hide."""
        left, top, right, bottom = box
        self._texts = [t for t in self._texts if not (left <= t[0][0] <= right and top <= t[0][1] <= bottom)]

    def finish(self) -> Image8:
        """Return the picture, uint8 [H, W, 3] RGB."""
        image = self._image.reduce(self.OVERSAMPLING)
        draw = ImageDraw.Draw(image)
        for at, text, face, size_px, colour, turn in self._texts:
            if not turn:
                draw.text(at, text, fill=colour, font=font(face, size_px))
                continue
            left, top, right, bottom = (int(v) for v in font(face, size_px).getbbox(text))
            mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
            ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font(face, size_px))
            turned = mask.rotate(turn, Image.Resampling.BICUBIC, expand=True)
            image.paste(colour, (round(at[0]), round(at[1])), turned)
        return np.array(image)
