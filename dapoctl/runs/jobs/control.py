"""Queueing runs, starting them in the background, stopping and resuming them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapoctl.errors import UserError
from dapoctl.runs.attempts import EXIT, LOCK, WRITER, attempts, next_number, request_stop
from dapoctl.runs.files import SCHEMA, write_json
from dapoctl.runs.jobs.grace import grace_for
from dapoctl.runs.jobs.launch import launch
from dapoctl.runs.jobs.leases import (
    VISIBLE,
    Device,
    allowed_gpus,
    devices,
    foreign,
    give_back,
    hides_gpus,
    holder,
    lease,
)
from dapoctl.runs.jobs.queue import changing, drop, enqueue
from dapoctl.runs.jobs.scheduler import busy, decide, not_startable
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.outlived import outlived, outlived_words
from dapoctl.runs.ownership import refuse_foreign
from dapoctl.runs.processes import Identity, kill_family, send
from dapoctl.runs.state import ALIVE, has_writer, processes_of
from dapoctl.runs.summary import EVALUATION, SPEC, RunSummary, read_run
from dapoctl.runs.tickets import Ticket, tickets

POLL = 0.1
PATIENCE = 15.0
"""Seconds that a supervisor gets beyond the grace period before another process takes over"""

FAREWELL = 2.0
"""Seconds that processes of a run that has ended get to end by themselves"""
LAST_WORDS = 30.0
"""Seconds that the process of a foreground run may take to exit after the run has ended"""


def check_resumable(summary: RunSummary, supervised: bool = False) -> None:
    """Refuse to work on a run that is running, that is finished, or that is not a run.

    Args:
        supervised: the caller was started by the run's supervisor

    Raises:
        UserError: saying what to do instead.
    """
    if summary.problem:
        raise UserError(f"`{summary.directory}` cannot be resumed: {summary.problem}")
    refuse_foreign(summary.directory)
    if summary.spec.get("kind") == EVALUATION:
        raise UserError(f"`{summary.id}` holds evaluations of a model; the same `dapoctl eval` command continues them")
    if supervised:
        return
    if summary.state == "queued":
        raise UserError(f"run `{summary.id}` waits in the queue; `dapoctl queue drop` removes it")
    if summary.state in ALIVE:
        raise UserError(f"run `{summary.id}` is already running")
    if summary.state == "finished":
        raise UserError(f"run `{summary.id}` is finished: all {summary.steps} steps are done; start a new run instead")
    if is_locked(summary.directory / WRITER) or is_locked(summary.directory / LOCK):
        raise UserError(
            f"processes of run `{summary.id}` are still running; end them with `dapoctl runs stop {summary.id}`"
        )
    if left := outlived(summary.directory, FAREWELL):
        raise UserError(
            f"run `{summary.id}` is {summary.state}, but {outlived_words(left)} and may have its GPU; "
            f"`dapoctl runs stop {summary.id}` ends them"
        )


def needed(config: dict[str, Any], asked: int | None, devices_here: list[Device]) -> int:
    """How many devices a run needs.

    Raises:
        UserError: it needs more than this machine has, or names a device in the background.
    """
    count = 1 if asked is None else asked
    kind = "GPUs" if any(device.is_gpu for device in devices_here) else "slots (DAPOCTL_SLOTS)"
    if count > len(devices_here):
        raise UserError(f"--gpus {count}: this machine has {len(devices_here)} {kind}; ask for fewer")
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
    devices_here = devices()
    shown = allowed_gpus(devices_here)
    if shown is not None and not {*shown} & {device.key for device in devices_here}:
        raise UserError(
            f"{VISIBLE} = {os.environ[VISIBLE]!r} shows none of the GPUs that the driver lists, and a run in the background is"
            f" given one of them: unset it, name one ({', '.join(device.key for device in devices_here)}), or run it in the"
            " foreground"
        )
    return Ticket(
        run=directory.name,
        attempt=next_number(directory),
        priority=priority,
        need=needed(config, gpus, devices_here),
        # A process that sees the GPUs may be the one that starts it.
        only=tuple(shown or (device.key for device in devices_here if hides_gpus())),
    )


def queue_run(directory: Path, ticket: Ticket) -> Ticket:
    """Put the run in the queue.

    Raises:
        UserError: it is already queued, or running.
    """
    if is_locked(directory / LOCK):
        raise UserError(f"run `{directory.name}` is still running; try again when it has ended")
    return enqueue(directory.parent, ticket)


def start_now(directory: Path, ticket: Ticket) -> list[Device]:
    """Start the run in the background on devices that are neither leased nor waited for; return them.

    Raises:
        UserError: not enough are free.
        StorageError: it could not be started.
    """
    root = directory.parent
    with changing(root):
        devices_here = devices()
        waiting = [other for other in tickets(root) if not other.held and not not_startable(root, other)]
        decision = decide([*waiting, ticket], devices_here, busy(devices_here))[-1]
        if not decision.devices:
            raise NothingFreeError(f"nothing is free: it {decision.why}; `--queue` instead of `--detach` waits for it")
        lock = try_lock(directory / LOCK)
        leases = [leased for device in decision.devices if (leased := lease(device, ticket.run)) is not None]
        try:
            if lock is None:
                raise UserError(f"run `{directory.name}` is being worked on by another process")
            if not (directory / SPEC).is_file():
                raise UserError(f"run `{directory.name}` was deleted meanwhile")
            if len(leases) < len(decision.devices):
                raise UserError("another store's run took the device meanwhile; try again")
            launch(directory, ticket.attempt, leases, lock)
        finally:
            give_back(leases)
            if lock is not None:
                release(lock)
    return list(decision.devices)


@contextlib.contextmanager
def in_front(run: str, config: dict[str, Any]) -> Iterator[None]:
    """Lease the GPU of a run in the foreground, so that none in the background takes it; without GPUs, do nothing.

    Raises:
        UserError: every GPU is leased.
    """
    setting = str(config.get("train", {}).get("device", "auto"))
    gpus = [device for device in devices() if device.is_gpu]
    shown = allowed_gpus(gpus)
    usable = gpus if shown is None else [_device_of(key, gpus) for key in shown]
    _, named, index = setting.partition(":")
    if named and int(index) < len(usable):
        usable = [usable[int(index)]]
    if setting == "cpu" or not usable:
        yield
        return
    # An idle one, if there is one; whether other programs leave enough of a GPU is the user's decision.
    taken = next(
        (
            leased
            for device in sorted(usable, key=lambda device: bool(foreign(device)))
            if (leased := lease(device, run))
        ),
        None,
    )
    if taken is None:
        holders = ", ".join(f"{device.label} leased by {holder(device)}" for device in usable)
        raise UserError(f"no GPU is free: {holders}; --queue waits for one, --set train.device=cpu runs without one")
    if not named and taken.device in gpus:
        os.environ[VISIBLE] = taken.device.key
    try:
        yield
    finally:
        give_back([taken])


def _device_of(key: str, gpus: Sequence[Device]) -> Device:
    """The GPU with that key; one that the driver does not list is leased under the name that the user gave it."""
    return next((device for device in gpus if device.key == key), Device(key, key, is_gpu=True))


class NothingFreeError(UserError):
    """Every device that the run could use is taken."""


@dataclass(frozen=True)
class Stopped:
    """The outcome of a stop."""

    run: str
    state: str
    words: str
    """What was done"""


def stop(directory: Path, grace: float | None = None, wait: bool = True) -> Stopped:
    """End a run: a checkpoint first if `grace` seconds are enough for it, then kill any of its processes that are left.

    Args:
        grace: by default `grace_for` the run
        wait: return when its processes have ended; otherwise once the request is recorded

    Raises:
        UserError: it is not running, or it runs on another machine without a supervisor.
    """
    summary = read_run(directory)
    if summary.problem:
        raise UserError(f"`{directory}` cannot be stopped: {summary.problem}")
    refuse_foreign(directory)
    if summary.state == "queued":
        drop(directory.parent, directory.name)
        return Stopped(summary.id, read_run(directory).state, "removed from the queue")
    mark, recorded = processes_of(directory)
    identities = [identity for values in recorded if (identity := Identity.read(values)) is not None]
    folder = attempts(directory)[-1] if attempts(directory) else None
    if not has_writer(directory) and summary.state not in ALIVE:
        left = outlived(directory)
        if not left or folder is None:
            raise UserError(f"run `{summary.id}` is not running: it is {summary.state}")
        return _end_family(summary, folder, mark, identities, len(left))
    if folder is None:
        raise UserError(f"run `{summary.id}` is just being started; try again in a moment")
    grace = grace_for(directory) if grace is None else grace
    request_stop(folder, grace)
    supervised = len(identities) > 1 and is_locked(directory / LOCK)
    if not supervised:
        if identities and not identities[0].here():
            raise UserError(f"run `{summary.id}` runs on {identities[0].host}; stop it there")
        trainer = identities[0].find() if identities else None
        if trainer is not None:
            send(trainer, signal.SIGTERM)
        elif summary.state == "lost":
            # What holds the lock are children of a trainer that is gone: nobody is left to save a checkpoint.
            grace, wait = 0.0, True
    if not wait:
        return Stopped(summary.id, "stopping", "asked to stop")
    if not _gone_within(directory, grace + (PATIENCE if supervised else 0.0)):
        kill_family(mark, identities)
        _gone_within(directory, PATIENCE)
    elif not supervised:
        # The trainer ended in time and its process is exiting; it may have left child processes.
        kill_family(mark, identities, LAST_WORDS)
    if not (folder / EXIT).exists():
        error = "its supervisor was gone; its processes were ended" if summary.state == "lost" else "it was killed"
        write_json(folder / EXIT, {"schema": SCHEMA, "state": "stopped", "error": error, "time": time.time()})
    after = read_run(directory)
    return Stopped(summary.id, after.state, after.why or f"stopped after step {after.step}")


def _end_family(summary: RunSummary, folder: Path, mark: str, identities: list[Identity], count: int) -> Stopped:
    """End what is left of an attempt whose trainer and supervisor are gone."""
    kill_family(mark, identities)
    left = outlived(summary.directory)
    if left:
        raise UserError(f"run `{summary.id}`: {outlived_words(left)} and could not be ended; a device may hold them")
    words = f"its supervisor and trainer were gone; {count} process{'es' if count > 1 else ''} that outlived them ended"
    if not (folder / EXIT).exists():
        write_json(folder / EXIT, {"schema": SCHEMA, "state": "stopped", "error": words, "time": time.time()})
    return Stopped(summary.id, read_run(summary.directory).state, words)


def _gone_within(directory: Path, seconds: float) -> bool:
    """Whether no process works on the run any more, within `seconds`."""
    deadline = time.monotonic() + seconds
    while is_locked(directory / LOCK) or is_locked(directory / WRITER):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True
