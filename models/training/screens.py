"""Screens for the synthetic pictures: windows with bars, buttons, icons, tables, code and dialogues."""

from __future__ import annotations

from models.training.canvas import CHINESE, CYRILLIC, LATIN, Canvas, Colour

Box = tuple[float, float, float, float]
SCRIPTS = (LATIN, LATIN, LATIN, CHINESE, CYRILLIC)


def screen(canvas: Canvas) -> None:
    """Icons on a desktop and a few windows over one another."""
    for row in range(0, canvas.height, 92):
        icon(canvas, (12, row + 10), canvas.integer(32, 56))
    for _ in range(canvas.integer(3, 8)):
        left, top = canvas.uniform(-40, canvas.width * 0.6), canvas.uniform(-20, canvas.height * 0.6)
        Window(canvas, (left, top, left + canvas.uniform(260, 640), top + canvas.uniform(200, 560))).draw()


def icon(canvas: Canvas, at: tuple[float, float], side_px: int) -> None:
    """A rounded tile with a few plain shapes in it and a label below."""
    x, y = at
    canvas.box((x, y, x + side_px, y + side_px), canvas.fill(), canvas.ink(), 1, canvas.uniform(0, side_px / 3))
    for _ in range(canvas.integer(1, 4)):
        left, top = x + canvas.uniform(0.1, 0.6) * side_px, y + canvas.uniform(0.1, 0.6) * side_px
        size = canvas.uniform(0.1, 0.35) * side_px
        if canvas.random.random() < 0.5:
            canvas.ellipse((left, top, left + size, top + size), canvas.fill(), canvas.ink(), 1.5)
        else:
            canvas.box((left, top, left + size, top + size), canvas.fill(), None)
    canvas.text((x, y + side_px + 3), canvas.words(1), canvas.face(), 11, canvas.ink())


class Window:
    """One window: its colours, its type, and what it shows.

    Text cannot be hidden by a later shape (it is drawn last), so a window first takes away the text below it.
    """

    def __init__(self, canvas: Canvas, box: Box) -> None:
        self._canvas, self._box = canvas, box
        self._script = canvas.choice(SCRIPTS)
        self._face, self._size = canvas.face(self._script), canvas.integer(10, 16)
        self._dark = canvas.random.random() < 0.4
        self._pane: Colour = self._grey(20, 60) if self._dark else self._grey(225, 256)
        self._ink: Colour = self._grey(200, 256) if self._dark else self._grey(0, 70)
        self._accent = canvas.fill()

    def _grey(self, low: int, high: int) -> Colour:
        grey = self._canvas.integer(low, high)
        return grey, grey, min(255, grey + self._canvas.integer(0, 8))

    def draw(self) -> None:
        """Frame, title bar, menu, then one of the bodies."""
        left, top, right, bottom = self._box
        canvas, radius = self._canvas, self._canvas.uniform(0, 10)
        canvas.erase_text(self._box)
        canvas.box(self._box, self._pane, self._ink, 1, radius)
        canvas.box((left + 1, top + 1, right - 1, top + 28), self._accent, None, 1, radius)
        title = (255, 255, 255) if sum(self._accent) < 400 else (0, 0, 0)
        self._text((left + 10, top + 6), 3, title)
        for button in range(3):
            x = right - 22 - 20 * button
            canvas.ellipse((x, top + 8, x + 12, top + 20), canvas.fill(), title, 1)
        self._text((left + 10, top + 34), 6, self._ink)
        body = (left + 10, top + 60, right - 10, bottom - 10)
        (self._table, self._form, self._code, self._icons)[canvas.integer(0, 4)](body)

    def _text(self, at: tuple[float, float], words: int, colour: Colour) -> None:
        """Words that end within the window."""
        text = self._canvas.words(words, self._script)
        text = self._canvas.cut(text, self._face, self._size, self._box[2] - at[0] - 6)
        self._canvas.text(at, text, self._face, self._size, colour)

    def _table(self, body: Box) -> None:
        left, top, right, bottom = body
        height, columns = self._size + self._canvas.integer(6, 12), self._canvas.integer(2, 6)
        wide = (right - left) / columns
        stripe = self._grey(40, 80) if self._dark else self._grey(205, 245)
        for row in range(int((bottom - top) / height)):
            y = top + row * height
            if row % 2 == 0:
                self._canvas.box((left, y, right, y + height), self._accent if row == 0 else stripe)
            for column in range(columns):
                x = left + column * wide
                number = f"{self._canvas.uniform(0, 9999):.2f}"
                text = number if column else self._canvas.words(1, self._script)
                self._canvas.text(
                    (x + 4, y + 2),
                    self._canvas.cut(text, self._face, self._size, wide - 8),
                    self._face,
                    self._size,
                    self._ink,
                )
        for column in range(columns + 1):
            x = left + column * wide
            self._canvas.line([(x, top), (x, bottom)], stripe, 1)

    def _form(self, body: Box) -> None:
        left, top, right, bottom = body
        field = self._grey(0, 40) if self._dark else (255, 255, 255)
        y, middle = top, left + (right - left) * 0.4
        while y + 30 < bottom:
            self._text((left, y + 4), 1, self._ink)
            style = self._canvas.integer(0, 4)
            if style == 0:
                self._canvas.box((middle, y, right, y + 24), field, self._ink, 1, self._canvas.uniform(0, 6))
                self._text((middle + 6, y + 4), 2, self._ink)
            elif style == 1:
                self._canvas.box(
                    (middle, y, middle + 96, y + 24), self._accent, self._ink, 1, self._canvas.uniform(0, 11)
                )
                self._text((middle + 12, y + 4), 1, self._ink)
            elif style == 2:
                self._check((middle, y + 4))
            else:
                self._slider((middle, y + 12), right)
            y += 34

    def _check(self, at: tuple[float, float]) -> None:
        x, y = at
        self._canvas.box((x, y, x + 15, y + 15), self._pane, self._ink, 1.2, 2)
        self._canvas.line([(x + 3, y + 8), (x + 6, y + 12), (x + 12, y + 3)], self._accent, 2)

    def _slider(self, at: tuple[float, float], right: float) -> None:
        x, y = at
        knob = self._canvas.uniform(x + 10, max(x + 11, right - 10))
        self._canvas.line([(x, y), (right, y)], self._ink, 1.5)
        self._canvas.line([(x, y), (knob, y)], self._accent, 3)
        self._canvas.ellipse((knob - 7, y - 7, knob + 7, y + 7), self._pane, self._ink, 1.2)

    def _code(self, body: Box) -> None:
        left, top, _, bottom = body
        self._script, self._face = (
            LATIN,
            self._canvas.choice(("truetype/hack/Hack-Regular.ttf", "truetype/dejavu/DejaVuSansMono.ttf")),
        )
        colours = [self._ink, self._ink, self._accent, self._canvas.ink()]
        for number, y in enumerate(range(int(top), int(bottom - self._size), round(self._size * 1.4))):
            self._canvas.text((left, y), f"{number:3d}", self._face, self._size, self._accent)
            indent = left + 34 + self._size * 2.4 * self._canvas.integer(0, 4)
            self._text((indent, y), self._canvas.integer(1, 7), colours[self._canvas.integer(0, 4)])

    def _icons(self, body: Box) -> None:
        left, top, right, bottom = body
        for y in range(int(top), int(bottom - 60), 76):
            for x in range(int(left), int(right - 50), 70):
                icon(self._canvas, (x, y), self._canvas.integer(28, 46))
