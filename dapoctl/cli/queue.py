"""`dapoctl queue` and `dapoctl gpus`: which runs wait, and for what."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import command_group, emit, emit_json, warn
from dapoctl.cli.runs import start_waiting
from dapoctl.views.text import one_line, plain

group = command_group("Runs that wait for a GPU: list, reorder, hold, drop.")
Waiting = Annotated[
    str, typer.Argument(metavar="RUN", help="A waiting run: its id, the beginning or end of it, or its name.")
]
WaitingOrAll = Annotated[str | None, typer.Argument(metavar="RUN", help="A waiting run; without it, the whole queue.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(group, name="queue")
    app.command("gpus")(gpus)


@group.command("list")
def list_(runs_dir: RunsDir = None, json: Json = False) -> None:
    """List waiting runs, the next one first, and what each waits for.

    Your own runs whose turn it is are started first; nobody else's are.
    """
    _show(runs_dir, json)


def _show(runs_dir: Path | None, json: bool, begun: Sequence[str] = ()) -> None:
    """Start the runs that can start, then show the rest; `begun` were started already."""
    from dapoctl.runs.jobs.scheduler import may_start, outlook
    from dapoctl.runs.jobs.waiter import waiter
    from dapoctl.runs.store import runs_root
    from dapoctl.runs.tickets import state
    from dapoctl.views.runs import watched_words

    root = runs_root(runs_dir)
    started = [*begun, *(start_waiting(root) if root.is_dir() else [])]
    waiting, queue = outlook(root), state(root)
    stays = waiter(root)
    if json:
        rows = [{**asdict(entry.ticket), "why": entry.why} for entry in waiting]
        emit_json({"held": queue.held, "why": queue.why, "started": started, "waiting": rows, "waiter": stays})
        return
    for run in started:
        emit(f"started {one_line(run)}")
    if queue.held:
        warn(f"the queue is held: {queue.why}; `dapoctl queue release` releases it")
    if not waiting:
        emit(f"nothing waits in {root}", to_error=True)
        return
    size = max(len(entry.ticket.run) for entry in waiting)
    for position, entry in enumerate(waiting, 1):
        ticket = entry.ticket
        waited = _age(time.time() - ticket.queued)
        priority = f"priority {ticket.priority}, " if ticket.priority else ""
        emit(plain(f"{position:>3}  {ticket.run:<{size}}  {priority}{waited}, {entry.why}"))
    if words := watched_words(stays, may_start(root)):
        emit(words) if stays is not None else warn(f"{words}: `dapoctl queue release` starts one")


def _age(seconds: float) -> str:
    from dapoctl.runs.amounts import duration_text

    return f"for {duration_text(max(0.0, seconds))}"


def _ticket(runs_dir: Path | None, name: str) -> tuple[Path, str]:
    from dapoctl.runs.store import find_run, runs_root

    root = runs_root(runs_dir)
    return root, find_run(root, name).name


@group.command("hold")
def hold(run: WaitingOrAll = None, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Hold the queue, or one run: it does not start. Running runs continue."""
    _hold(runs_dir, run, held=True)
    _show(runs_dir, json)


@group.command("release")
def release(run: WaitingOrAll = None, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Release a held run, or the held queue."""
    from dapoctl.runs.jobs.waiter import start_or_wait
    from dapoctl.runs.store import runs_root

    _hold(runs_dir, run, held=False)
    _show(runs_dir, json, start_or_wait(runs_root(runs_dir)))


def _hold(runs_dir: Path | None, run: str | None, held: bool) -> None:
    from dapoctl.runs.jobs.queue import hold as hold_run
    from dapoctl.runs.store import runs_root

    root, name = (runs_root(runs_dir), None) if run is None else _ticket(runs_dir, run)
    hold_run(root, name, held)


@group.command("move")
def move(
    run: Waiting,
    to: Annotated[str, typer.Argument(metavar="PLACE", help="top, bottom, up, down, or a number from 1.")],
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Move a run among those of its priority."""
    from dapoctl.runs.jobs.queue import move as move_run

    move_run(*_ticket(runs_dir, run), to)
    _show(runs_dir, json)


@group.command("drop")
def drop(run: Waiting, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Take a run out of the queue; the run is kept and can be resumed."""
    from dapoctl.runs.jobs.queue import drop as drop_run

    drop_run(*_ticket(runs_dir, run))
    _show(runs_dir, json)


def gpus(json: Json = False) -> None:
    """List this machine's GPUs, or its slots: use, memory, temperature, and which run has them."""
    from dapoctl.runs.jobs.leases import devices, foreign, holder

    known = devices()
    rows: list[dict[str, Any]] = [{**asdict(d), "lease": holder(d), "foreign": foreign(d)} for d in known]
    if json:
        emit_json(rows)
        return
    for device, row in zip(known, rows, strict=True):
        facts = [f"{device.label:<8}"]
        if device.is_gpu:
            use = "" if device.utilization is None else f"{device.utilization}%"
            heat = "" if device.temperature is None else f"{device.temperature} °C"
            memory = f"{device.used / 2**30:.1f}/{device.total / 2**30:.1f} GiB" if device.total else "?"
            facts += [f"{device.name:<24}", f"{use:>5}", f"{memory:>16}", f"{heat:>7}"]
        who = f"leased by {row['lease']}" if row["lease"] else row["foreign"] or "free"
        emit(plain("  ".join([*facts, who])))
    if not any(device.is_gpu for device in known):
        emit("no GPU found: runs use slots instead; DAPOCTL_SLOTS sets their number (default: 1)", to_error=True)
