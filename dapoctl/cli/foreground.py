"""Training in the foreground: the display, the result, the next commands, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dapoctl.cli.live import Display, console_on
from dapoctl.cli.output import command, emit, emit_json, warn
from dapoctl.views.metrics import REWARD, is_held_out, title
from dapoctl.views.numbers import change, duration, number, percent
from dapoctl.views.profile import profile_table
from dapoctl.views.progress import Progress
from dapoctl.views.text import one_line, plain

if TYPE_CHECKING:
    from dapoctl.components.base import Component
    from dapoctl.training.attempt import Result

INTERRUPTED = 130

Train = Callable[[Sequence["Component"]], "Result"]


def foreground(train: Train, name: str, steps: int, runs_dir: Path | None, json: bool, supervised: bool = False) -> int:
    """Call `train` under a display, report the result, and return the exit code.

    With `json` the display goes to stderr, and the result is the only output on stdout. The output of a `supervised`
    process already goes to the attempt's log.
    """
    console = console_on(sys.stderr if json else sys.stdout)
    display = Display.on(console, Progress(name, steps), keep_log=not supervised)
    try:
        with display.shown():
            result = train([display])
    except BaseException:
        for line in after_failure(display, runs_dir):
            emit(line, to_error=True)
        raise
    for warning in result.warnings:
        warn(warning)
    if json:
        emit_json(asdict(result))
    else:
        lines = closing(result, display.progress, runs_dir)
        if result.state != "finished":
            # The log says it, too: a run that is stopped by the loss of its terminal has nobody to tell.
            display.leave_word(lines)
        emit("\n".join(lines))
    return 0 if result.state == "finished" else INTERRUPTED


def closing(result: Result, progress: Progress, runs_dir: Path | None) -> list[str]:
    """What was learned, where the run is, what to type next."""
    finished = result.state == "finished"
    took = duration(result.seconds)
    if result.ended_by:
        lines = ["", f"Finished after step {result.step} of {result.steps} ({took}): {result.ended_by}."]
    elif finished:
        lines = ["", f"Finished all {result.steps} steps in {took}."]
    elif result.step:
        lines = ["", f"Stopped after step {result.step} of {result.steps} ({took}); a checkpoint is saved."]
    else:
        lines = ["", "Stopped before the first step was done; resuming starts again."]
    for name, after in result.after.items():
        if is_held_out(name):
            before = result.before.get(name)
            if before is None:
                lines.append(_fact("held-out", f"{percent(after)}   {title(name)}"))
            else:
                learned = f"{percent(before)} -> {percent(after)} {change(before, after)}".rstrip()
                lines.append(_fact("held-out", f"{learned}   {title(name)}"))
    rewards = progress.courses.get(REWARD, [])
    if rewards:
        first, last = number(rewards[0], signed=True), number(rewards[-1], signed=True)
        lines.append(_fact("reward", f"{first} -> {last}   first and last step"))
    lines.append(_fact("run", str(result.directory)))
    lines.append(_fact("details", command("show", result.id, runs_dir)))
    if not finished:
        lines.append(_fact("resume", command("resume", result.id, runs_dir)))
    return [*lines, *profile_table(result.profile, result.directory)] if result.profile else lines


def after_failure(display: Display, runs_dir: Path | None) -> list[str]:
    """Where the steps done so far are, and how to continue; empty if no run has begun."""
    if display.run is None:
        return []
    lines = [f"run {one_line(display.run.id)} ended after step {display.progress.step} of {display.progress.steps}"]
    lines.append(_fact("run", str(display.run.directory)))
    lines.append(_fact("resume", f"{command('resume', display.run.id, runs_dir)}   from its last checkpoint"))
    return lines


def _fact(name: str, text: str) -> str:
    return f"  {name:<10}{plain(text)}"
