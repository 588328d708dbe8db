"""What the screens ask of evaluations: start them in the background, asked like those that are there; stop them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App

from dapoctl.errors import UserError
from dapoctl.evaluation.background import Background, background, start, stop
from dapoctl.evaluation.protocol import DEFAULT, PRESETS
from dapoctl.evaluation.stored import Evaluation, split_step
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import RunSummary
from dapoctl.tasks.problem_sets import DATA_TASK, SETS
from dapoctl.tasks.scorers import SCORERS
from dapoctl.tui.messages import ReadStore
from dapoctl.tui.widgets.dialogs import Ask, Confirm

if TYPE_CHECKING:
    from dapoctl.tui.screen import WorkbenchScreen

FEW = 8
"""Responses per problem that are proposed where nothing speaks for another number"""
OPTIONS = {"k": "-k", "temperature": "--temperature", "top_p": "--top-p", "max_tokens": "--max-tokens"}
QUESTION = """Evaluate {names}

`dapoctl eval RUN` with these options, in the background: it starts now,
beside whatever runs, and goes on when you leave. Enter starts, esc goes back."""
LOOK = 2.0
"""Seconds between two looks at whether an evaluation has ended"""


def options_like(evaluation: Evaluation) -> list[str]:
    """The options of `dapoctl eval` that ask another run as this one was asked."""
    protocol, words, usual = evaluation.protocol, _source(evaluation), PRESETS[DEFAULT][0].as_dict()
    for key, option in OPTIONS.items():
        value = protocol.get(key)
        if value is not None and (key == "max_tokens" or value != usual[key]):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if protocol.get("scorer") in SCORERS and protocol["scorer"] != usual["scorer"]:
        words += ["--scorer", str(protocol["scorer"])]
    if protocol.get("instruction") not in (None, "", usual["instruction"]):
        words += ["--instruction", str(protocol["instruction"])]
    if problems := evaluation.data.get("problems"):
        words += ["--limit", str(problems)]
    return words


def _source(evaluation: Evaluation) -> list[str]:
    """Which problems: a known set, a file or a hub's name, or a task, under the name that they have here."""
    name, source = evaluation.set, str(evaluation.data.get("source") or evaluation.set)
    hubs = {known.hub: known.name for known in SETS.values() if known.hub}
    if "/" in source and source not in hubs:
        return ["--data", source, "--task", name]
    task = hubs.get(source, source)
    return ["--task", task] if task == name else ["--task", task, "--as", name]


def usual_options(run: RunSummary) -> list[str]:
    """What to propose for a run where no other evaluation says how to ask."""
    task = str(run.config.get("task", "")) or DATA_TASK
    if task == DATA_TASK:
        return ["--task", next(iter(SETS))]
    # Training has evaluated the task under its own name, with its own protocol.
    return ["--task", task, "-k", str(FEW), "--as", f"{task}-k{FEW}"]


def label_of(options: Sequence[str]) -> str:
    """The name that the set has in the store."""
    found: dict[str, str] = {}
    for word, after in zip(options, [*options, ""][1:], strict=True):
        name, sign, value = word.partition("=")
        found[name] = value if sign else after
    return found.get("--as") or found.get("--task") or Path(found.get("--data", "")).stem


def evaluate_runs(
    screen: WorkbenchScreen,
    words: Sequence[str],
    options: Sequence[str],
    then: Callable[[str], None] = lambda _set: None,
) -> None:
    """Ask how, then evaluate the runs (RUN or RUN@STEP) one after another in the background.

    Args:
        screen: where the question stands
        words: the runs
        options: what is proposed
        then: called with the set's name when it has begun
    """
    app = screen.app
    if screen.refuse_readonly("evaluate") or not words:
        return

    def answered(text: str | None) -> None:
        if not text or not text.strip():
            return
        try:
            chosen = shlex.split(text)
        except ValueError as error:
            screen.show_error(UserError(f"`{text}`: {error}"))
            return
        chosen += hidden
        screen.clear_errors()

        def begin() -> list[Path]:
            jobs = []
            for word in words:
                name, step = split_step(word)
                jobs.append((find_run(screen.session.root, name), step))
            start(jobs, chosen)
            return [directory for directory, _ in jobs]

        def begun(directories: list[Path]) -> None:
            notify_when_ended(app, directories)
            then(label_of(chosen))

        screen.work(begin, begun, "evaluate")

    # A prompt of several lines does not fit a line of input.
    places = [place for place, word in enumerate(options) if "\n" in word]
    hidden = [word for place in places for word in options[place - 1 : place + 1]]
    line = shlex.join([word for place, word in enumerate(options) if not {place, place + 1} & {*places}])
    few = ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
    also = f"\nAlso as there: {', '.join(hidden[::2])}." if hidden else ""
    app.push_screen(Ask(QUESTION.format(names=few) + also, line, "--task aime24 -k 32"), answered)


def notify_when_ended(app: App[Any], directories: Sequence[Path]) -> None:
    """Notify when evaluations in the background have ended, whichever screen is in front by then."""
    pending = {*directories}

    def look() -> None:
        states = {directory: background(directory) for directory in [*pending]}
        app.call_from_thread(notify, states)

    def notify(states: dict[Path, Background | None]) -> None:
        for directory, state in states.items():
            if state is not None and state.alive:
                continue
            pending.discard(directory)
            message = f"{directory.name}: evaluation {state.state if state else 'gone'}"
            if state is not None and state.state == "finished":
                app.notify(message, markup=False)
            else:
                app.notify(f"{message}\n{state.words}" if state else message, severity="error", markup=False)
        if not pending:
            timer.stop()
            app.post_message(ReadStore())

    timer = app.set_interval(
        LOOK, lambda: app.run_worker(look, group="evaluations", exclusive=True, thread=True, exit_on_error=False)
    )


def stop_evaluations(screen: WorkbenchScreen, directories: Sequence[Path]) -> None:
    """Ask, then end the evaluations in the background of these runs."""
    app = screen.app
    if screen.refuse_readonly("stop"):
        return
    if not directories:
        app.notify("no evaluation of these runs goes on in the background", severity="warning", markup=False)
        return

    def answered(yes: bool | None) -> None:
        if yes:
            screen.work(
                lambda: sum([stop(directory) for directory in directories]),
                lambda count: app.notify(f"{count} told to stop", markup=False),
                "stop",
            )

    names = ", ".join(directory.name for directory in directories)
    app.push_screen(Confirm(f"Stop evaluating {names}?\nWhat is sampled stays; `e` goes on from there."), answered)
