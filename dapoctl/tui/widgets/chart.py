"""A chart: a title with the newest values, curves of braille dots, labels of values at the left and of steps below."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from dapoctl.tui.widgets.curves import Curve
from dapoctl.tui.widgets.plot import Picture, draw, extent
from dapoctl.views.numbers import BROKEN, number
from dapoctl.views.text import cell, line

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
"""Of curves, in order"""
GUTTER = 9
"""Most columns of the labels of values"""
LABELS = ((14, 5), (7, 3), (2, 2), (0, 1))
"""Rows from which there are so many labels of values"""
NARROW = 26
"""Columns below which a chart has no labels of values"""


@dataclass(frozen=True)
class View:
    """How charts are looked at; all charts of a page share it."""

    span: tuple[float, float] = (0.0, 1.0)
    """The first and the last step"""
    log: bool = False
    cursor: float | None = None
    """The step that is read off"""


class Chart(Widget, can_focus=True):
    """Curves over steps."""

    DEFAULT_CSS = """
    Chart { height: 6; }
    """
    ALLOW_SELECT: ClassVar[bool] = False

    class Chosen(Message):
        """The chart was clicked twice."""

        def __init__(self, chart: Chart) -> None:
            super().__init__()
            self.chart = chart

        @property
        def control(self) -> Chart:
            """The chart."""
            return self.chart

    def __init__(self, title: str, write: Callable[[float], str] = number, id: str | None = None) -> None:  # noqa: A002
        """`write` says how values are written."""
        super().__init__(id=id)
        self.heading, self.write = title, write
        self.view = View()
        self._source: Callable[[], Sequence[Curve]] | None = None
        self._curves: list[Curve] | None = None
        self._picture: tuple[tuple[int, int], Picture, list[str]] | None = None
        self._base = Style.null()

    def show(self, source: Callable[[], Sequence[Curve]], view: View) -> None:
        """Draw from now on the curves that `source` gives, which is asked only if the chart is on the screen; the title tells
        of those that are not faint."""
        self._source, self._curves, self.view, self._picture = source, None, view, None
        self.refresh()

    @property
    def curves(self) -> list[Curve]:
        """What is drawn."""
        if self._curves is None:
            self._curves = list(self._source()) if self._source else []
        return self._curves

    # What the lines are made of.

    def picture(self) -> tuple[Picture, list[str]]:
        """(what is drawn, a label of values for each row of it)."""
        size = (self.size.width, self.size.height)
        if self._picture is None or self._picture[0] != size:
            height = max(1, size[1] - 2)
            labels = self._labels(extent(self.curves, self.view.log), height)
            room = max(map(cell_len, labels)) if size[0] >= NARROW else 0
            width = max(1, size[0] - room - (1 if room else 0))
            picture = draw(self.curves, width, height, self.view.span, self.view.log)
            self._picture = size, picture, [cell(label, room, right=True) + " " if room else "" for label in labels]
        return self._picture[1], self._picture[2]

    def _labels(self, ends: tuple[float, float], height: int) -> list[str]:
        labels = [""] * height
        low, high = ends
        if math.isnan(low):
            return labels
        count = next(count for rows, count in LABELS if height >= rows)
        rows = [round(index * (height - 1) / max(1, count - 1)) for index in range(count)]
        shares = [1 - row / max(1, height - 1) for row in rows]
        if self.view.log:
            values = [10 ** (math.log10(low) * (1 - share) + math.log10(high) * share) for share in shares]
        else:
            values = [low * (1 - share) + high * share for share in shares]
        for row, words in zip(rows, self._apart(values), strict=True):
            labels[row] = words[:GUTTER]
        return labels

    def _apart(self, values: Sequence[float]) -> list[str]:
        """The values as they are written, with as many digits as tell them apart."""
        found = [self.write(value) for value in values]
        for digits in range(4, GUTTER):
            if len({*found}) == len(found):
                break
            found = [f"{value:.{digits}g}" for value in values]
        return found

    def on_resize(self, _event: events.Resize) -> None:
        self._picture = None

    def render_lines(self, crop: Region) -> list[Strip]:
        # The same for all lines, and as costly as one of them.
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width, height = self.size.width, self.size.height
        base = self._base
        if width < 1 or height < 1 or self._source is None:
            return Strip.blank(width, base)
        if y == 0:
            text = self.title_line()
        else:
            picture, labels = self.picture()
            if 1 <= y <= len(labels):
                strip = Strip(self._plot_line(picture, labels[y - 1], y - 1))
                return strip.adjust_cell_length(width, base).apply_style(base)
            text = self._axis(picture, len(labels[0]) if labels else 0)
        text.no_wrap, text.end = True, ""
        text.truncate(width, overflow="ellipsis")
        return Strip(text.render(self.app.console)).adjust_cell_length(width, base).apply_style(base)

    def title_line(self) -> Text:
        """Name and newest values, or those at the cursor."""
        text = self._title(with_words=True)
        if text.cell_len > self.size.width and any(each.sign and each.name for each in self.curves):
            text = self._title(with_words=False)
        for words in self._remarks(self.picture()[0]):
            text.append(f"  {words}", "yellow not bold not reverse")
        return text

    def _title(self, with_words: bool) -> Text:
        mark = "▸" if self.has_focus else " "
        text = Text(mark + line(self.heading), "bold reverse" if self.has_focus else "bold", end="")
        for index, each in enumerate(self.curves):
            if each.faint or not len(each.steps):
                continue
            found = each.at(math.inf if self.view.cursor is None else self.view.cursor)
            assert found is not None
            words = f"{each.sign} {line(each.name) if with_words or not each.sign else ''}".strip()
            text.append("  ", "not bold not reverse")
            text.append(f"{words} " if words else "", f"{self._style(index)} not bold not reverse")
            style = "bold not reverse" if math.isfinite(found[1]) else "bold red not reverse"
            text.append(f"{BROKEN * (not math.isfinite(found[1]))}{self.write(found[1])}", style)
        return text

    def _remarks(self, picture: Picture) -> list[str]:
        found = []
        if picture.below:
            found.append(f"{picture.below} ≤ 0 left out")
        if picture.missing:
            found.append(f"{BROKEN} {picture.missing} not finite")
        return found

    def _style(self, index: int) -> str:
        return self.curves[index].style or COLOURS[index % len(COLOURS)]

    def _plot_line(self, picture: Picture, label: str, row: int) -> list[Segment]:
        # Segments at once: hundreds of these lines are drawn in a turn, and rich's Text takes three times as long.
        found = [Segment(label, Style.parse("dim"))]
        if math.isnan(picture.low):
            if row == len(picture.codes) // 2:
                empty = not any(len(each.steps) for each in self.curves)
                nothing = (
                    "nothing yet" if empty else "nothing above 0 for a log scale" if picture.below else "not a number"
                )
                found.append(Segment(f" {nothing}", Style.parse("dim")))
            return found
        text, owner = picture.lines[row], picture.owner[row]
        marks = self._marks(picture, row)
        starts = {0, len(text), *(np.flatnonzero(owner[1:] != owner[:-1]) + 1).tolist()}
        starts.update(place for column in marks for place in (column, column + 1))
        for start, end in itertools.pairwise(sorted(starts)):
            glyphs, style = marks.get(start) or (text[start:end], self._dotted(int(owner[start])))
            found.append(Segment(glyphs, Style.parse(style)))
        return found

    def _dotted(self, index: int) -> str:
        if index < 0:
            return ""
        return f"dim {self._style(index)}" if self.curves[index].faint else self._style(index)

    def _marks(self, picture: Picture, row: int) -> dict[int, tuple[str, str]]:
        """(character, style) by column of what stands over a row's dots: the cursor, what is not finite, the curves' signs."""
        marks: dict[int, tuple[str, str]] = {}
        column = self._cursor_column(picture.codes.shape[1])
        if column is not None:
            glyph, style = picture.lines[row][column], self._dotted(int(picture.owner[row, column]))
            marks[column] = ("│", "dim") if glyph == " " else (glyph, f"{style} reverse")
        if row == len(picture.codes) - 1:
            marks.update(dict.fromkeys(picture.broken, (BROKEN, "bold red")))
        for at, column, index in picture.signs:
            if at == row:
                marks[column] = self.curves[index].sign, f"bold {self._style(index)}"
        return marks

    def _cursor_column(self, width: int) -> int | None:
        if self.view.cursor is None:
            return None
        low, high = self.view.span
        share = (self.view.cursor - low) / (high - low) if high > low else 0.5
        return min(width - 1, max(0, int(share * (width * 2 - 1) + 0.5) // 2))

    def _axis(self, picture: Picture, room: int) -> Text:
        low, high = (f"{end:g}" if abs(end) >= 1e7 else f"{end:,.0f}" for end in self.view.span)
        inside = picture.codes.shape[1]
        if self.view.cursor is None:
            return Text(" " * room + low + cell(high, max(0, inside - len(low)), right=True), "dim", end="")
        here = f"step {self.view.cursor:,.0f}"
        column = self._cursor_column(inside) or 0
        start = max(0, min(column - len(here) // 2, inside - len(here)))
        return Text(" " * (room + start) + here, "bold", end="")

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            self.post_message(self.Chosen(self))
