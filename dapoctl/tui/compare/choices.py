"""What is chosen in between on Compare: the set, the step of a run, the runs, the form of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dapoctl.evaluation.compare.comparison import Comparison, Line
from dapoctl.evaluation.stored import sets_of, split_step, summary_at
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.actions.export import FORMATS, write_new
from dapoctl.tui.compare.model import Found, Side
from dapoctl.tui.widgets.pick import Pick
from dapoctl.views import comparison_export
from dapoctl.views.numbers import percent
from dapoctl.views.runs import called, state_text
from dapoctl.views.text import json_text

if TYPE_CHECKING:
    from dapoctl.tui.screen import WorkbenchScreen

NEWEST = "the newest complete one"
SHOWN = 60
"""Characters of a run's sets that are shown"""


def ask_set(
    screen: WorkbenchScreen, sets: Mapping[str, int], current: str, count: int, then: Callable[[str], None]
) -> None:
    """Ask for one of `sets`, each with how many of the `count` runs have it."""
    names = [*sets]
    if not names:
        screen.app.notify("none of these runs was evaluated: e evaluates them", severity="warning", markup=False)
        return
    options = [f"{name:<24} {sets[name]} of {count} runs" for name in names]

    def answered(places: list[int] | None) -> None:
        if places:
            then(names[places[0]])

    start = names.index(current) if current in names else 0
    screen.app.push_screen(Pick("Which set?", options, cursor=start), answered)


def choose_set(screen: WorkbenchScreen, found: Found, then: Callable[[str], None]) -> None:
    """Ask for one of the sets that the runs were evaluated on."""
    ask_set(screen, found.sets, found.set, len({side.run for side in found.sides}), then)


def choose_steps(screen: WorkbenchScreen, found: Found, side: Side, then: Callable[[list[str]], None]) -> None:
    """Ask at which steps a run is compared, several for several rows; calls `then` with all words."""
    words = [each.word for each in found.sides]
    place = words.index(side.word)
    steps = list(side.steps)
    if len(steps) < 2:
        only = f"at step {steps[0]} only" if steps else "at no step"
        screen.app.notify(f"{side.run} was evaluated on {found.set} {only}", severity="warning", markup=False)
        return
    asked = split_step(side.word)[1]

    def read() -> list[str]:
        return [f"step {step:>6}  {_avg(screen, side, found.set, step)}" for step in steps]

    def show(lines: list[str]) -> None:
        chosen = [0 if asked is None else 1 + steps.index(asked)]
        question = f"{side.run}: at which step of {found.set}?"
        screen.app.push_screen(Pick(question, [NEWEST, *lines], chosen, True, chosen[0]), answered)

    def answered(places: list[int] | None) -> None:
        if places:
            new = [side.run if at == 0 else f"{side.run}@{steps[at - 1]}" for at in places]
            rest = [word for word in words[place + 1 :] if word not in new]
            then([*(word for word in words[:place] if word not in new), *new, *rest])

    screen.work(read, show, "steps")


def _avg(screen: WorkbenchScreen, side: Side, set_: str, step: int) -> str:
    """avg@k and how much of the evaluation is there, from the summary alone."""
    summary = summary_at(screen.session.root / side.run, set_, step)
    metrics = summary.get("metrics")
    found = {
        str(name).rpartition("/")[2]: value
        for name, value in (metrics.items() if isinstance(metrics, dict) else ())
        if "/avg@" in str(name) and str(name).count("/") == 2
    }
    words = [f"{name} {percent(float(value))}" for name, value in found.items() if isinstance(value, (int, float))]
    if summary.get("complete") is False:
        words.append("incomplete")
    return ", ".join(words)


def choose_runs(screen: WorkbenchScreen, present: Sequence[str], then: Callable[[list[str]], None]) -> None:
    """Ask for runs of the store, those that were evaluated first; the first that is chosen is the baseline."""
    app, snapshot = screen.app, screen.session.snapshot

    def read() -> list[tuple[RunSummary, list[str]]]:
        found = [(run, sets_of(run.directory)) for run in snapshot.runs if not run.problem]
        return sorted(found, key=lambda item: not item[1])

    def show(found: list[tuple[RunSummary, list[str]]]) -> None:
        if not found:
            app.notify("the store has no runs yet", severity="warning", markup=False)
            return
        names = [run.id for run, _ in found]
        size = max(len(called(run)) for run, _ in found)
        options = [
            f"{called(run):<{size}}  {state_text(run):<12}  {', '.join(sets)[:SHOWN] or 'never evaluated'}"
            for run, sets in found
        ]
        chosen = [names.index(name) for name in dict.fromkeys(present) if name in names]
        question = "Which runs? The first that you choose is the baseline."

        def answered(places: list[int] | None) -> None:
            if places:
                then([names[place] for place in places])

        app.push_screen(Pick(question, options, chosen, True), answered)

    screen.work(read, show, "runs")


def export_comparison(screen: WorkbenchScreen, found: Comparison, lines: Sequence[Line]) -> None:
    """Ask for a format, and write the comparison with the problems of `lines`."""
    values = {
        "md": lambda: comparison_export.comparison_markdown(found, lines),
        "csv": lambda: comparison_export.comparison_csv(found),
        "json": lambda: as_json(comparison_export.comparison_values(found, lines)),
    }
    export(screen, f"compare-{found.set}", values)


def as_json(value: object) -> str:
    """As the commands print it."""
    return json_text(value)


def export(screen: WorkbenchScreen, stem: str, texts: dict[str, Callable[[], str]]) -> None:
    """Ask for a format and write a new file into the current folder; its name is told.

    Args:
        stem: its name without the ending
        texts: by the format's ending
    """
    if screen.refuse_readonly("export"):
        return
    endings = [*texts]

    def answered(places: list[int] | None) -> None:
        if not places:
            return
        ending = endings[places[0]]
        screen.work(
            lambda: write_new(stem, ending, texts[ending]()),
            lambda path: screen.app.notify(f"written: {path}", markup=False),
            "export",
        )

    options = [f".{ending:<5} {FORMATS[ending]}" for ending in endings]
    screen.app.push_screen(Pick(f"Write which file into {Path.cwd()}?", options), answered)
