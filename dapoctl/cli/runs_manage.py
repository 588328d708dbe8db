"""`dapoctl runs logs|stop|resume|rm|tag|note`: commands that act on runs."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dapoctl.cli.background import announce, asked_background
from dapoctl.cli.options import Detach, Gpus, Json, Priority, Queue, RunId, RunsDir, Yes
from dapoctl.cli.output import emit, emit_json, warn
from dapoctl.cli.profile import Profile, ProfileSteps, asked_profile
from dapoctl.cli.runs import group, start_waiting
from dapoctl.errors import UserError
from dapoctl.runs.jobs.submit import check, send_off
from dapoctl.views.text import one_line, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dapoctl.components.base import Component
    from dapoctl.training.attempt import Result

Runs = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Runs: ids, their beginnings or ends, names, or `last`.")
]


def _find(runs_dir: Path | None, names: "Sequence[str]") -> list[Path]:
    from dapoctl.runs.store import find_run, runs_root

    return list(dict.fromkeys(find_run(runs_root(runs_dir), name) for name in names))


@group.command("logs")
def logs(
    run: RunId,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the run ends.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="Show the last N lines.")] = 100,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, help="The attempt to show; default: the last.")
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Show the end of a run's log; with -f, new lines as they are written."""
    from dapoctl.runs.attempts import EXIT, LOCK, LOG, attempt_folder, attempts
    from dapoctl.runs.locks import is_locked
    from dapoctl.runs.logfile import follow, last_lines

    (directory,) = _find(runs_dir, [run])
    tried = attempts(directory)
    if not tried:
        raise UserError(f"run `{directory.name}` has no log: it has not been started yet")
    folder = tried[-1] if attempt is None else attempt_folder(directory, attempt)
    if folder not in tried:
        raise UserError(f"--attempt {attempt}: run `{directory.name}` has attempts 1 to {tried[-1].name}")
    path = folder / LOG
    try:
        shown, offset = last_lines(path, lines)
    except FileNotFoundError:
        shown, offset = [], 0
    except OSError as error:
        raise UserError(f"`{path}` cannot be read: {error.strerror}") from None

    def say(line: str) -> None:
        emit_json({"line": line}, compact=True) if json else emit(plain(line))

    for line in shown:
        say(line)
    if follow_:
        last = folder == tried[-1]
        for line in follow(path, offset, lambda: last and not (folder / EXIT).exists() and is_locked(directory / LOCK)):
            say(line)


@group.command("stop")
def stop(
    runs: Runs,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace",
            metavar="S",
            min=0,
            help="Seconds to allow for saving a checkpoint; by default 120, and the time of the last one at 100 MB/s.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when all processes have ended.")] = True,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Stop runs: each saves a checkpoint, then all of its processes end. A waiting run leaves the queue."""
    from dataclasses import asdict

    from dapoctl.runs.jobs.control import stop as stop_run

    outcomes = []
    for directory in _find(runs_dir, runs):
        ended = stop_run(directory, grace, wait)
        outcomes.append(asdict(ended))
        if not json:
            emit(one_line(f"{ended.state} {ended.run}: {ended.words}"))
        start_waiting(directory.parent)
    if json:
        emit_json(outcomes)


@group.command("resume")
def resume(
    run: RunId,
    runs_dir: RunsDir = None,
    detach: Detach = False,
    queue: Queue = False,
    priority: Priority = None,
    gpus: Gpus = None,
    changed_plugins: Annotated[
        bool,
        typer.Option(
            "--changed-plugins",
            help="Continue with plugin files that have changed since; the run records it.",
        ),
    ] = False,
    step: Annotated[
        int | None,
        typer.Option(
            "--step",
            metavar="N",
            min=0,
            help="Go back to the checkpoint of step N, 0 for the beginning; later ones are set aside.",
        ),
    ] = None,
    profile: Profile = False,
    profile_steps: ProfileSteps = None,
    json: Json = False,
) -> None:
    """Continue a stopped, failed or lost run from its last checkpoint that is not damaged."""
    from dapoctl.cli.foreground import foreground
    from dapoctl.runs.checkpoints import latest, rewind, step_of
    from dapoctl.runs.jobs.control import check_resumable, in_front
    from dapoctl.runs.jobs.launch import read_launch
    from dapoctl.runs.plugin_changes import agree, refuse_changed
    from dapoctl.runs.summary import read_run

    (directory,) = _find(runs_dir, [run])
    directory = directory.resolve()
    summary = read_run(directory)
    background, profiled = asked_background(detach, queue, priority, gpus), asked_profile(profile, profile_steps)
    check_resumable(summary)
    if background is not None:
        if profiled is not None:
            raise UserError("--profile shows its table in the foreground: leave out --detach and --queue")
        check(background, summary.config)
    if not changed_plugins:
        refuse_changed(summary)
    if step is not None:
        for aside in rewind(directory, step):
            warn(f"a later checkpoint is kept as {aside}; delete it when you need the room")
    if changed_plugins:
        saved = latest(directory)
        agree(summary, step_of(saved) if saved else 0)
        refuse_changed(summary)
    if background is not None:
        submitted = send_off([directory], background, summary.config, new=False)
        emit_json(submitted[0]) if json else announce(submitted, runs_dir)
        return
    started_in = Path(read_launch(directory)["cwd"])
    if started_in.is_dir():
        # The configuration may name files relative to where the run was started.
        os.chdir(started_in)

    def train(observers: "Sequence[Component]") -> "Result":
        from dapoctl.training.attempt import resume

        return resume(directory, observers, profiled)

    with in_front(summary.id, summary.config):
        raise typer.Exit(foreground(train, summary.id, summary.steps, runs_dir, json))


@group.command("rm")
def remove(
    runs: Runs,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Only their checkpoints: metrics, samples and evaluations are kept.")
    ] = False,
    yes: Yes = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Delete runs, or only their checkpoints."""
    from dapoctl.runs.amounts import byte_size
    from dapoctl.runs.remove import check_removable, remove_checkpoints, remove_run, size_of

    directories = _find(runs_dir, runs)
    for directory in directories:
        check_removable(directory)
    doomed = {path: path / "checkpoints" if checkpoints else path for path in directories}
    # Of a link the link goes, and what it leads to stays.
    sizes = {path: 0 if what.is_symlink() else size_of(what) for path, what in doomed.items()}
    if not yes:
        what = "the checkpoints of these runs" if checkpoints else "these runs"
        for path, size in sizes.items():
            link = f"; a link, {doomed[path].readlink()} is kept" if doomed[path].is_symlink() else ""
            emit(one_line(f"  {path.name}   {byte_size(size)}{link}"), to_error=True)
        if not sys.stdin.isatty():
            raise UserError(f"stdin is not a terminal, so there is nobody to ask: --yes deletes {what} without asking")
        if not typer.confirm(f"Delete {what}, {byte_size(sum(sizes.values()))}?", err=True):
            emit("nothing was deleted", to_error=True)
            raise typer.Exit(1)
    deleted: dict[Path, int] = {}
    try:
        for path in directories:
            remove_checkpoints(path) if checkpoints else remove_run(path)
            deleted[path] = sizes[path]
    finally:
        # One that is being worked on by now ends the rest, and what is gone is told all the same.
        if json:
            emit_json([{"id": path.name, "bytes": size} for path, size in deleted.items()])
        elif deleted:
            emit(f"deleted {len(deleted)}, {byte_size(sum(deleted.values()))}")


@group.command("tag")
def tag(
    run: RunId,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG...", help="Tags to add.")] = None,
    remove_: Annotated[list[str] | None, typer.Option("--remove", metavar="TAG", help="Remove a tag.")] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Add or remove tags of a run; `runs list --filter TAG` finds it."""
    from dapoctl.runs.notes import change_tags

    (directory,) = _find(runs_dir, [run])
    _show_notes(change_tags(directory, tags or [], remove_ or []), json)


@group.command("note")
def note(
    run: RunId,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The note; without it, the note is shown.")] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Write or show a run's note: its purpose, or what it showed."""
    from dapoctl.runs.notes import write_note
    from dapoctl.runs.summary import read_notes

    (directory,) = _find(runs_dir, [run])
    _show_notes(read_notes(directory) if text is None else write_note(directory, text), json)


def _show_notes(notes: tuple[tuple[str, ...], str], json: bool) -> None:
    tags, text = notes
    values: dict[str, Any] = {"tags": list(tags), "note": text}
    if json:
        emit_json(values)
        return
    if tags:
        emit(f"tags: {one_line(', '.join(tags))}")
    if text:
        emit(plain(text))
