"""What the screens ask of runs: stop, go on, wait in the queue. In threads, with a card where it is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from dapoctl.config.resolve import Resolved, load
from dapoctl.runs.jobs.control import check_resumable, queue_run, stop, ticket_for
from dapoctl.runs.jobs.create import create
from dapoctl.runs.jobs.submit import Background, check, send_off
from dapoctl.runs.jobs.waiter import start_or_wait
from dapoctl.runs.state import ALIVE, ENDED, has_writer
from dapoctl.runs.summary import RunSummary, read_run
from dapoctl.tui.messages import ReadStore
from dapoctl.tui.screen import WorkbenchScreen
from dapoctl.tui.widgets.dialogs import Confirm

LETS_GO = 15.0
"""Seconds that the processes of a run that has ended get to go away before it is resumed"""


def stop_runs(screen: WorkbenchScreen, runs: list[RunSummary]) -> None:
    """Ask, then end the runs: each saves a checkpoint first."""
    if not runs or screen.refuse_readonly("stop"):
        return
    going = [run for run in runs if run.state in (*ALIVE, "queued", "lost")]
    if not going:
        states = ", ".join(dict.fromkeys(run.state for run in runs))
        screen.app.notify(f"nothing to stop: {states}", severity="warning", markup=False)
        return

    def stopped(outcomes: list[str]) -> None:
        screen.app.notify("\n".join(outcomes), markup=False)
        screen.app.post_message(ReadStore())

    def answered(yes: bool | None) -> None:
        if yes:
            screen.work(lambda: [_stop(run.directory) for run in going], stopped, "stop")

    names = ", ".join(run.id for run in going[:3]) + (f" and {len(going) - 3} more" if len(going) > 3 else "")
    screen.app.push_screen(Confirm(f"Stop {names}?\nA checkpoint is saved first; `u` goes on from it."), answered)


def _stop(directory: Path) -> str:
    outcome = stop(directory, wait=False)
    return f"{outcome.state} {outcome.run}: {outcome.words}"


def resume_run(screen: WorkbenchScreen, run: RunSummary) -> None:
    """Go on with a run from its last checkpoint, as soon as a device is free."""
    if screen.refuse_readonly("resume"):
        return

    def resumed(outcome: str) -> None:
        screen.app.notify(outcome, markup=False)
        screen.app.post_message(ReadStore())

    screen.work(lambda: enqueue(run.directory), resumed, "resume")


def enqueue(directory: Path) -> str:
    """Put a run that has ended in the queue and start what can start; what became of it, in words.

    Raises:
        UserError: it cannot be resumed, or waits already.
    """
    summary = read_run(directory)
    _wait_for_its_end(summary)
    check_resumable(summary)
    queue_run(directory, ticket_for(directory, summary.config))
    started = start_or_wait(directory.parent)
    return f"{directory.name} {'starts now' if directory.name in started else 'waits in the queue (screen 2 says for what)'}"


def _wait_for_its_end(run: RunSummary) -> None:
    """A run that has said its last word takes a moment to go; whoever resumes it at once need not ask twice."""
    deadline = time.monotonic() + LETS_GO
    while run.state in ENDED and has_writer(run.directory) and time.monotonic() < deadline:
        time.sleep(0.1)


class Sent(NamedTuple):
    """A run that was sent off, and what became of it."""

    run: str
    words: str


def start_defaults(root: Path) -> Sent:
    """Start the run that `dapoctl run` alone describes, in the background."""
    return start_new(load([], [], {}), root, ["dapoctl", "run"])


def start_new(resolved: Resolved, root: Path, argv: list[str], queue: bool = True) -> Sent:
    """Make a run and let it wait for its turn, or without `queue` start it now.

    Args:
        argv: the command line that would have done the same

    Raises:
        NothingFreeError: it was to start now, and every device is taken; nothing is left of it.
        UserError: this machine can never run it.
    """
    asked = Background(queue, priority=0, gpus=None)
    check(asked, resolved.as_dict())
    directory = create(resolved, root, argv).resolve()
    (sent,) = send_off([directory], asked, resolved.as_dict(), new=True)
    words = f"{sent['id']} {sent['state']}"
    return Sent(str(sent["id"]), f"{words}: {sent['words']}" if sent["words"] else words)
