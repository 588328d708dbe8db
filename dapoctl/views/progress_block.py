"""A run's progress as text: a block of eight lines at most for a terminal, one line per step for everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from dapoctl.views.metrics import HELD_OUT, METRICS, Metric, Unit, metric, shown_in, written
from dapoctl.views.numbers import change, duration, number, percent, sparkline
from dapoctl.views.progress import Progress
from dapoctl.views.text import one_line

LABEL = 10
GAP = "   "
SPARK = 16
"""Columns that a row keeps free for its sparkline before it shows its last figures."""
LONGEST_SPARK = 60
BAD = "bold red"
"""Style of a figure that is not finite; it comes before the others of its row."""


def block(progress: Progress, width: int) -> list[Text]:
    """The live display; a row that has nothing to say yet is left out, metrics that do not fit too."""
    rows = [_title(progress, width), _bar(progress, width), _now(progress, width)]
    names = dict.fromkeys(entry.row for entry in METRICS if entry.row)
    return [row for row in (*rows, *(_metrics_row(name, progress, width) for name in names)) if row]


def _metrics_row(name: str, progress: Progress, width: int) -> Text:
    """The metrics of a row; one that a course leads is left out without it."""
    if name == metric(HELD_OUT).row:
        return _held_out(progress, width)
    leader, *others = sorted((entry for entry in METRICS if entry.row == name), key=lambda entry: entry.late)
    if not leader.course:
        return _row(name, _last_values(progress, [leader, *others]), width)
    if leader.name not in progress.metrics:
        return Text()
    course = progress.courses[leader.name]
    figures = [_number(course[-1], leader.signed)]
    if leader.signed:
        figures.append(Text(f"from {number(course[0], signed=True)}", "dim"))
    return _row(name, [*figures, *_last_values(progress, others)], width, course)


def _last_values(progress: Progress, entries: Sequence[Metric]) -> list[Text]:
    return [
        Text(f"{written(entry.name, value)} {entry.block}", "" if math.isfinite(value) else BAD)
        for entry in entries
        if (value := progress.metrics.get(entry.name)) is not None
        # Memory is not a number where nobody can measure it.
        and (entry.unit is not Unit.BYTES or math.isfinite(value))
    ]


def _title(progress: Progress, width: int) -> Text:
    title = Text(one_line(progress.title), "bold")
    if progress.components:
        title.append(f"{GAP}{one_line(progress.components)}", "dim not bold")
    title.truncate(width, overflow="ellipsis")
    return title


def _bar(progress: Progress, width: int) -> Text:
    left = progress.seconds_left()
    share = min(progress.step / max(progress.steps, 1), 1.0)
    ahead = f"{progress.step}/{progress.steps} "
    behind = f" {math.floor(100 * share)}%" + (f"{GAP}{duration(left)} left" if left is not None else "")
    room = max(width - LABEL - len(ahead) - len(behind), 1)
    done = math.floor(room * share)
    return Text.assemble(
        (f"{'step':<{LABEL}}", "dim"), (ahead, "bold"), ("━" * done, "green"), ("─" * (room - done), "dim"), behind
    )


def _now(progress: Progress, width: int) -> Text:
    figures = [Text(one_line(progress.phase_text))]
    if progress.in_phase >= 1:
        figures.append(Text(duration(progress.in_phase)))
    pace = progress.seconds_per_step()
    if pace is not None:
        figures.append(Text(f"{pace:.1f} s/step", "dim"))
    return _row("now", figures, width)


def _held_out(progress: Progress, width: int) -> Text:
    courses = progress.held_out()
    figures = []
    for name, values in courses.items():
        figure = Text.assemble((percent(values[-1]), "bold"), f" {one_line(name)}")
        if len(values) > 1:
            figure.append(f" from {percent(values[0])} {change(values[0], values[-1])}", "dim")
        figures.append(figure)
    return _row("held-out", figures, width, next(iter(courses.values())) if len(courses) == 1 else ())


def _row(label: str, figures: Sequence[Text], width: int, course: Sequence[float] = ()) -> Text:
    """`label`, as many of `figures` as fit (the first always), and the course in what is left of the line."""
    if not figures:
        return Text()
    row = Text.assemble((f"{label:<{LABEL}}", "dim"), figures[0])
    reserved = min(SPARK, len(course)) + len(GAP) if len(course) > 1 else 0
    for figure in sorted(figures[1:], key=lambda figure: figure.style != BAD):
        if row.cell_len + len(GAP) + figure.cell_len + reserved <= width:
            row.append(GAP).append_text(figure)
    room = min(LONGEST_SPARK, width - row.cell_len - len(GAP))
    if len(course) > 1 and room > 1:
        row.append(GAP).append(sparkline(course, room), "cyan")
    row.truncate(width, overflow="ellipsis")
    return row


def _number(value: float, signed: bool = False) -> Text:
    return Text(number(value, signed), "bold" if math.isfinite(value) else BAD)


def step_line(progress: Progress) -> str:
    """`step 37/200 reward=0.312 accuracy=0.562 ... eta=6:42`, for logs and grep."""
    metrics = progress.metrics
    figures = [
        f"{entry.step_line}={metrics[entry.name]:.4g}" for entry in shown_in("step_line") if entry.name in metrics
    ]
    pace, left = progress.seconds_per_step(), progress.seconds_left()
    if pace is not None and left is not None:
        figures += [f"s_per_step={pace:.2f}", f"eta={duration(left)}"]
    return f"step {progress.step}/{progress.steps} {' '.join(figures)}".rstrip()


def eval_lines(progress: Progress, names: Sequence[str]) -> list[str]:
    """`eval 30/200 arithmetic avg@1=0.617 before=0.523`, one line for each of `names`, metrics of this step."""
    lines = []
    for name, values in progress.held_out().items():
        if name in names:
            before = f" before={values[0]:.4g}" if len(values) > 1 else ""
            lines.append(f"eval {progress.step}/{progress.steps} {one_line(name)}={values[-1]:.4g}{before}")
    return lines
