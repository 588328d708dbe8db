"""What Compare says in words: a line on what is compared, the verdicts with their badges, and what differs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from dapoctl.evaluation.compare.comparison import Comparison, Line, select
from dapoctl.runs.history import Courses
from dapoctl.tui.compare.matrix import ORDERS
from dapoctl.tui.compare.model import LACKS, Found
from dapoctl.tui.compare.run_rows import cost_line, course_lines
from dapoctl.views.comparison import badge_lines, caution_lines, configs, curves, notes, responses, verdict
from dapoctl.views.tables import text as words_of
from dapoctl.views.text import line

NOBODY = "None of these runs was evaluated{on}. e evaluates them in the background; t chooses another set."
ALL, DIFFERENT, GAINED, LOST = FILTERS = ("all", "only different", "gained", "lost")
"""Of the problems: those that any run differs on; that the run under the cursor solves and the baseline never; the reverse"""


def chosen_lines(found: Comparison, which: str, order: str, current: int) -> list[Line]:
    """The problems to show.

    Args:
        found: the comparison
        which: one of `FILTERS`
        order: one of `ORDERS`
        current: place of the run under the cursor
    """
    other = current or min(1, len(found.sides) - 1)
    if which == GAINED:
        lines = select(found.matrix, solved=other, never=0)
    elif which == LOST:
        lines = select(found.matrix, solved=0, never=other)
    else:
        lines = select(found.matrix, only_different=which == DIFFERENT)
    return sorted(lines, key=ORDERS[order])  # type: ignore[arg-type]


def head_words(found: Found | None, busy: bool, shown: int, which: str, order: str) -> str:
    """What is compared, what goes on, and which problems are `shown`."""
    if found is None:
        return "reading ..." if busy else "Compare: did it help?"
    sets = f" ({len(found.sets)} sets, t)" if len(found.sets) > 1 else ""
    words = [f"{line(found.set) or 'no evaluation'}{sets}"]
    words += ["computing ..."] if busy else []
    goes_on = [side.background for side in found.sides if side.background is not None and side.background.alive]
    words += [f"evaluating: {line(goes_on[0].words)}"] if goes_on else []
    words += [found.note] if found.note else []
    if found.comparison is not None:
        many = len(found.comparison.matrix)
        fits = f"{many} problems" if which == ALL else f"{shown} of {many} problems, {which},"
        words.append(f"{fits} by {order}")
    return " · ".join(words)


def verdicts(found: Found, current: int) -> list[Text]:
    """A sentence on each run, that of `current` first, each after what is unlike; then what is missing and the cost."""
    compared = found.comparison
    if compared is None:
        return [words_of(NOBODY.format(on=f" on {found.set}" if found.set else ""), "yellow")]
    parts: list[Text] = []
    base, first = compared.sides[0].label, compared.sides[current].label
    for each in sorted(compared.contrasts, key=lambda each: each.label != first):
        parts += [badge_lines(each, base)] if each.badges else []
        parts.append(words_of(verdict(each, base)))
    parts += caution_lines(compared)
    if lacking := [side for side in found.lacking if side.why.startswith(LACKS)]:
        words = f"{len(lacking)} of {len(found.sides)} runs were not evaluated on {found.set}"
        parts.append(words_of(f"{words}: e evaluates them, asked like {base}", "yellow"))
    for side in compared.sides:
        parts += [words_of(f"{side.label}: {trouble}", "yellow") for trouble in side.evaluation.trouble]
    return [*parts, words_of(f"cost: {cost_line(compared, current)}", "dim")]


def details(found: Comparison, courses: Courses, columns: int) -> list[RenderableType]:
    """How the runs differ, components first; how their training went; responses; how the figures are to be read."""
    return [
        *configs(found),
        *course_lines(found.sides, courses),
        *responses(found, columns),
        *curves(found),
        *notes(found, columns),
    ]


def telling_side(row: Line, current: int) -> int:
    """The run to read beside the baseline: the current one, or where it solves as many, the one that differs most."""
    shares: Sequence[float] = [0.0 if cell is None else cell[0] / cell[1] for cell in row.cells]
    if current and shares[current] != shares[0]:
        return current
    return max(range(1, len(shares)), key=lambda place: abs(shares[place] - shares[0]), default=0)
