"""Problems by runs: how many responses are right, by shade and by digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rich.text import Text
from textual.widget import Widget

from dapoctl.evaluation.compare.comparison import Comparison, Line
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.comparison import largest_difference
from dapoctl.views.numbers import shade
from dapoctl.views.text import cell, line

ID, LEAST_ID, POINTS = 24, 6, 7
"""Columns of a problem's name, of one where room is short, of a difference"""


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts `p2` before `p10`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def difficulty(row: Line) -> float:
    """The mean share of right responses over the runs."""
    shares = [right / k for right, k in filter(None, row.cells)]
    return sum(shares) / len(shares) if shares else 0.0


ORDERS: dict[str, Callable[[Line], object]] = {
    "difference": lambda row: -row.apart,
    "problem": lambda row: natural(row.problem),
    "difficulty": difficulty,
}
"""The largest difference first; by name; the hardest first"""


class Matrix(VirtualList):
    """The matrix of a comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[Line] = ()
        self.labels: tuple[str, ...] = ()
        self.digits = 1

    def show(self, found: Comparison, lines: Sequence[Line]) -> None:
        """Draw `lines`; the cursor stays on its problem."""
        current = self.current()
        self.lines, self.labels = lines, tuple(side.label for side in found.sides)
        self.digits = len(str(max(side.evaluation.k for side in found.sides)))
        names = [each.problem for each in lines]
        self.refresh_rows(names.index(current) if current in names else 0)

    def go_to(self, problem: str) -> None:
        """Put the cursor on a problem, if it is there."""
        names = [each.problem for each in self.lines]
        if problem in names:
            self.cursor = names.index(problem)

    def current(self) -> str | None:
        """The problem under the cursor."""
        return self.lines[self.cursor].problem if 0 <= self.cursor < len(self.lines) else None

    def count(self) -> int:
        return len(self.lines)

    @property
    def _cell(self) -> int:
        return max(3 + self.digits, 4)

    def _room(self, width: int) -> tuple[int, int]:
        """(columns of the name, how many runs are shown)."""
        longest = max((len(each.problem) for each in self.lines[:500]), default=LEAST_ID)
        name = min(ID, max(longest, LEAST_ID + 1))
        spare = width - POINTS - len(self.labels) * self._cell
        name = max(LEAST_ID, min(name, spare))
        return name, max(1, min(len(self.labels), (width - POINTS - name) // self._cell))

    def header(self, width: int) -> Text:
        """Titles above the columns."""
        name, many = self._room(width)
        cells = [cell(label, self._cell, right=True) for label in self.labels[:many]]
        more = f"  {len(self.labels) - many} runs more in a wider terminal" if many < len(self.labels) else ""
        text = f"{cell('problem', name)}{''.join(cells)}{cell('points', POINTS, right=True)}{more}"
        return Text(text, "bold dim", no_wrap=True, end="")

    def row(self, index: int, width: int) -> Text:
        each = self.lines[index]
        name, many = self._room(width)
        made = Text(cell(line(each.problem), name), end="")
        for found in each.cells[:many]:
            if found is None:
                made.append(cell("·", self._cell, right=True), "dim")
                continue
            right, k = found
            made.append(f"{'':<{self._cell - 2 - self.digits}}{shade(right / k)}", "green")
            made.append(f" {right:>{self.digits}}")
        points = largest_difference(each)
        style = "dim" if points in ("", "0.0") else "green" if points.startswith("+") else "red"
        return made.append(cell(points, POINTS, right=True), style)


class MatrixHead(Widget):
    """Titles above the columns of a matrix, drawn at the width that it has."""

    def __init__(self, matrix: Matrix) -> None:
        super().__init__(id="matrix-head")
        self.matrix = matrix

    def render(self) -> Text:
        return self.matrix.header(self.size.width)
