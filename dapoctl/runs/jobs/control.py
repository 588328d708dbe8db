"""What people do with runs: put them in the queue, start them in the background, stop them, go on with them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.errors import UserError
from dapoctl.runs.attempts import EXIT, LOCK, WRITER, attempts, next_number, request_stop
from dapoctl.runs.files import SCHEMA, write_json
from dapoctl.runs.jobs.launch import launch
from dapoctl.runs.jobs.leases import Device, allowed_gpus, devices, foreign, give_back, holder, lease
from dapoctl.runs.jobs.queue import changing, drop, enqueue
from dapoctl.runs.jobs.scheduler import busy, decide
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.processes import Identity, kill_family, send
from dapoctl.runs.state import ALIVE, processes_of
from dapoctl.runs.summary import EVALUATION, RunSummary, read_run
from dapoctl.runs.tickets import Ticket, tickets

POLL = 0.1
PATIENCE = 15.0
"""Seconds that a supervisor gets beyond the grace before somebody else takes over"""

LAST_WORDS = 30.0
"""Seconds between the end of a run in the foreground and that of its process"""


def check_resumable(summary: RunSummary, supervised: bool = False) -> None:
    """Refuse to work on a run that is worked on, that is done, or that is none.

    Args:
        supervised: the caller was started by the run's supervisor

    Raises:
        UserError: saying what to do instead.
    """
    if summary.problem:
        raise UserError(f"`{summary.directory}` cannot be resumed: {summary.problem}")
    if summary.spec.get("kind") == EVALUATION:
        raise UserError(
            f"`{summary.id}` holds evaluations of a model; the same `dapoctl eval` command goes on with them"
        )
    if supervised:
        return
    if summary.state == "queued":
        raise UserError(f"run `{summary.id}` waits in the queue; `dapoctl queue drop` takes it out")
    if summary.state in ALIVE:
        raise UserError(f"run `{summary.id}` is running already")
    if summary.state == "finished":
        raise UserError(f"run `{summary.id}` is finished: all {summary.steps} steps are done; start a new run instead")
    if is_locked(summary.directory / WRITER) or is_locked(summary.directory / LOCK):
        raise UserError(f"processes of run `{summary.id}` still run; end them with `dapoctl runs stop {summary.id}`")


def needed(config: dict[str, Any], asked: int | None, there: list[Device]) -> int:
    """How many devices a run takes.

    Raises:
        UserError: more than this machine has.
    """
    count = 1 if asked is None else asked
    kind = "GPUs" if any(device.is_gpu for device in there) else "slots (DAPOCTL_SLOTS)"
    if count > len(there):
        raise UserError(f"--gpus {count}: this machine has {len(there)} {kind}; ask for fewer")
    device = str(config.get("train", {}).get("device", "auto"))
    if device == "cpu" and kind == "GPUs":
        raise UserError("`train.device` = 'cpu': runs in the background take a GPU here; run it in the foreground")
    if device.startswith("cuda:"):
        raise UserError(f"`train.device` = {device!r}: runs in the background are given their GPU; use auto or cuda")
    return count


def ticket_for(directory: Path, config: dict[str, Any], gpus: int | None = None, priority: int = 0) -> Ticket:
    """The ticket of a run's next attempt.

    Raises:
        UserError: this machine can never run it.
    """
    there = devices()
    return Ticket(
        run=directory.name,
        attempt=next_number(directory),
        priority=priority,
        need=needed(config, gpus, there),
        only=tuple(allowed_gpus(there)),
    )


def queue_run(directory: Path, ticket: Ticket) -> Ticket:
    """Let the run wait for its turn.

    Raises:
        UserError: it waits already, or somebody works on it.
    """
    if is_locked(directory / LOCK):
        raise UserError(f"run `{directory.name}` is still being worked on; try again when it has ended")
    return enqueue(directory.parent, ticket)


def start_now(directory: Path, ticket: Ticket) -> list[Device]:
    """Start the run in the background on devices that nobody has or waits for; these.

    Raises:
        UserError: there are not enough.
        StorageError: it could not be started.
    """
    root = directory.parent
    with changing(root):
        there = devices()
        waiting = [other for other in tickets(root) if not other.held]
        mine = decide([*waiting, ticket], there, busy(there))[-1]
        if not mine.devices:
            raise NothingFreeError(f"nothing is free: it {mine.why}; `--queue` in place of `--detach` waits for it")
        lock = try_lock(directory / LOCK)
        leases = [got for device in mine.devices if (got := lease(device, ticket.run)) is not None]
        try:
            if lock is None:
                raise UserError(f"run `{directory.name}` is being worked on by another process")
            if len(leases) < len(mine.devices):
                raise UserError("another store's run took the device meanwhile; try again")
            launch(directory, ticket.attempt, leases, lock)
        finally:
            give_back(leases)
            if lock is not None:
                release(lock)
    return list(mine.devices)


@contextlib.contextmanager
def in_front(run: str, config: dict[str, Any]) -> Iterator[None]:
    """Keep the GPU that a run in the foreground uses from runs in the background; without GPUs, nothing happens.

    Raises:
        UserError: every GPU is leased.
    """
    device = str(config.get("train", {}).get("device", "auto"))
    there = [each for each in devices() if each.is_gpu]
    only = allowed_gpus(there)
    mine = [each for each in there if not only or each.key in only]
    _, named, place = device.partition(":")
    if named and int(place) < len(mine):
        mine = [mine[int(place)]]
    if device == "cpu" or not mine:
        yield
        return
    # One that nobody uses, if there is one; what others' programs leave of a GPU is the user's to judge.
    taken = next(
        (got for each in sorted(mine, key=lambda each: bool(foreign(each))) if (got := lease(each, run))), None
    )
    if taken is None:
        who = ", ".join(f"{each.label} leased by {holder(each)}" for each in mine)
        raise UserError(f"no GPU is free: {who}; --queue waits for one, --set train.device=cpu does without")
    if not named:
        os.environ["CUDA_VISIBLE_DEVICES"] = taken.device.key
    try:
        yield
    finally:
        give_back([taken])


class NothingFreeError(UserError):
    """Every device that a run could have is taken."""


@dataclass(frozen=True)
class Stopped:
    """How a stop went."""

    run: str
    state: str
    words: str
    """What was done"""


def stop(directory: Path, grace: float, wait: bool = True) -> Stopped:
    """End a run: a checkpoint first if `grace` seconds are enough for it, then everything that is left of its processes.

    Args:
        wait: return when nothing is left; else when the wish is known to whoever fulfils it

    Raises:
        UserError: nothing of it runs, or it runs on another machine without a supervisor.
    """
    summary = read_run(directory)
    if summary.problem:
        raise UserError(f"`{directory}` cannot be stopped: {summary.problem}")
    if summary.state == "queued":
        drop(directory.parent, directory.name)
        return Stopped(summary.id, read_run(directory).state, "taken out of the queue")
    mark, recorded = processes_of(directory)
    known = [found for values in recorded if (found := Identity.read(values)) is not None]
    working = is_locked(directory / LOCK) or is_locked(directory / WRITER)
    if not working and summary.state not in ALIVE:
        raise UserError(f"run `{summary.id}` does not run: it is {summary.state}")
    folder = attempts(directory)[-1] if attempts(directory) else None
    if folder is None:
        raise UserError(f"run `{summary.id}` is just being started; try again in a moment")
    request_stop(folder, grace)
    supervised = len(known) > 1 and is_locked(directory / LOCK)
    if not supervised:
        if known and not known[0].here():
            raise UserError(f"run `{summary.id}` runs on {known[0].host}; stop it there")
        for found in known[:1]:
            process = found.find()
            if process is not None:
                send(process, signal.SIGTERM)
    if not wait:
        return Stopped(summary.id, "stopping", "asked to stop")
    if not _gone_within(directory, grace + (PATIENCE if supervised else 0.0)):
        kill_family(mark, known)
        _gone_within(directory, PATIENCE)
    elif not supervised:
        # The trainer has ended in time and says its last words; it may have left others behind.
        kill_family(mark, known, LAST_WORDS)
    if not (folder / EXIT).exists():
        error = "its supervisor was gone; its processes were ended" if summary.state == "lost" else "it was killed"
        write_json(folder / EXIT, {"schema": SCHEMA, "state": "stopped", "error": error, "time": time.time()})
    after = read_run(directory)
    return Stopped(summary.id, after.state, after.why or f"stopped after step {after.step}")


def _gone_within(directory: Path, seconds: float) -> bool:
    """Whether nobody works on the run any more."""
    deadline = time.monotonic() + seconds
    while is_locked(directory / LOCK) or is_locked(directory / WRITER):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True
