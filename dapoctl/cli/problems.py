"""What a comparison shows of responses and problems: their fractions, pass@j, and the matrix of problems and runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from dapoctl.cli import pages
from dapoctl.cli.output import one_line
from dapoctl.evaluation.statistics.pass_at_k import powers

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.evaluation.compare.comparison import Comparison, Line, Measured
    from dapoctl.evaluation.statistics.pass_at_k import Figure

WIDE = 120
"""Columns from which tables say more"""
WIDEST = 150
"""And from which they say what sampling alone does"""
LONGEST_ID = 24


def at_k(found: Comparison, name: str) -> str:
    """`avg@32`, or `avg@k` where the sides have different k."""
    ks = {side.evaluation.k for side in found.sides}
    return f"{name}@{ks.pop()}" if len(ks) == 1 else f"{name}@k"


def responses(found: Comparison, columns: int) -> Iterator[RenderableType]:
    """pass@k, maj@k, length, and how many responses have no answer, by side."""
    yield pages.heading("what the responses are like")
    names = {"pass": at_k(found, "pass"), "maj": at_k(found, "maj")}
    names |= {"length_mean": "tokens", "truncated_fraction": "cut off", "unanswered_fraction": "no answer"}
    names |= {"format_failure_fraction": "format", "error_fraction": "error", "timeout_fraction": "timeout"}
    made = pages.table(["", *names.values()])
    for side in found.sides:
        cells = []
        for name in names:
            figure = side.figure(name)
            if name == "length_mean":
                cells.append(f"{figure.value:.0f}" if math.isfinite(figure.value) else pages.UNKNOWN)
            elif name in ("pass", "maj") and columns >= WIDE:
                cells.append(pages.with_interval(figure.value, figure.interval))
            else:
                cells.append(pages.share(figure.value))
        made.add_row(pages.text(side.label, "bold"), *cells)
    yield made


def curves(found: Comparison, columns: int) -> Iterator[RenderableType]:
    """pass@j by j, and its difference from the baseline; nothing at k = 1."""
    most = max(side.evaluation.k for side in found.sides)
    if most == 1:
        return
    wide = columns >= WIDEST
    everything = sorted({j for side in found.sides for j in powers(side.evaluation.k)})
    yield pages.heading("pass@j: solved by at least one of j responses")
    made = pages.table(["", "", *(f"j = {j}" for j in everything)], left=(0, 1))
    courses = [_course(side, everything) for side in found.sides]
    top = max((value for course in courses for value in course if math.isfinite(value)), default=1.0)
    for side, course in zip(found.sides, courses, strict=True):
        cells = [pages.share(value) if math.isfinite(value) else "" for value in course]
        drawn = pages.bars([value for value in course if math.isfinite(value)], top)
        made.add_row(pages.text(side.label, "bold"), Text(drawn, "cyan"), *cells)
    for contrast in found.contrasts:
        cells = []
        for j in everything:
            figure = contrast.curve.get(j)
            cells.append("" if figure is None else _difference(figure, wide))
        made.add_row(pages.text(f"{contrast.label}-{found.sides[0].label}", "dim"), "", *cells)
    yield made


def _course(side: Measured, everything: Sequence[int]) -> list[float]:
    return [side.figure(f"pass@{j}").value for j in everything]


def _difference(figure: Figure, wide: bool) -> str:
    return pages.with_interval(figure.value, figure.interval, signed=True) if wide else pages.points(figure.value)


def matrix(found: Comparison, lines: Sequence[Line], rows: int, columns: int) -> Iterator[RenderableType]:
    """Problems by runs: how many responses are right, by shade and digits, those that differ most first."""
    yield pages.heading("problem by problem: right responses, largest difference from the baseline first")
    if not lines:
        yield pages.note(f"none of {len(found.matrix)} problems fits" if found.matrix else "no problem was measured")
        return
    room = max(1, (columns - LONGEST_ID - 12) // 9)
    sides = found.sides[:room]
    headers = ["problem", *(f"{side.label} of {side.evaluation.k}" for side in sides), "points"]
    made = pages.table(headers)
    for line in lines[:rows]:
        name = one_line(line.problem)
        short = name if len(name) <= LONGEST_ID else f"{name[: LONGEST_ID - 1]}…"
        made.add_row(Text(short), *(_cell(cell) for cell in line.cells[: len(sides)]), apart(line))
    yield made
    if len(sides) < len(found.sides):
        yield pages.note(f"{len(found.sides) - len(sides)} runs more in a wider terminal, or with --json")
    if len(lines) > rows:
        yield pages.note(f"{len(lines) - rows} problems more: --rows {len(lines)} shows them")


def _cell(cell: tuple[int, int] | None) -> Text:
    if cell is None:
        return Text("·", "dim")
    return Text.assemble((pages.shade(cell[0] / cell[1]), "green"), f" {cell[0]:>2}")


def apart(line: Line) -> str:
    """The largest difference from the baseline, in points; empty where there is none to speak of."""
    first, *others = line.cells
    shares = [cell[0] / cell[1] - first[0] / first[1] for cell in others if cell and first]
    return pages.points(max(shares, key=abs)) if shares else ""
