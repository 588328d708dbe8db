"""A study is carried out: missing runs are made and queued, interrupted ones resumed, and it is waited for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dapoctl.runs.jobs.create import create
from dapoctl.runs.jobs.submit import Background, check, send_off
from dapoctl.runs.jobs.waiter import start_or_wait
from dapoctl.study.plan import Plan
from dapoctl.study.progress import Made, progress

POLL = 2.0
INTERRUPTED = ("lost", "stopped")


def submit(
    plan: Plan, root: Path, argv: Sequence[str], retry_failed: bool = False, gpus: int | None = None
) -> list[str]:
    """Queue every run that is missing or was interrupted; their ids. Runs that wait, run or are finished are left alone.

    Args:
        retry_failed: make failed runs anew, too
        gpus: of each run

    Raises:
        UserError: a run can never start here.
        StorageError: the store cannot be written.
    """
    background = Background(queue=True, priority=0, gpus=gpus)
    check(background, next(iter(plan.resolved.values())).as_dict())
    queued = []
    for each in progress(plan, root):
        if each.state in INTERRUPTED and each.run is not None:
            directory, config, new = each.run.directory, each.run.config, False
        elif each.run is None or (retry_failed and each.state == "failed"):
            resolved = plan.arms[each.planned.arm].resolve(each.planned.seed)
            directory, config, new = create(resolved, root, argv, plan.group).resolve(), resolved.as_dict(), True
        else:
            continue
        send_off([directory], background, config, new=new)
        queued.append(directory.name)
    return queued


def wait(plan: Plan, root: Path, look: Callable[[Sequence[Made]], None]) -> list[Made]:
    """Until no run waits or runs any more; `look` is called with how things stand, every few seconds.

    A run that is interrupted from outside is resumed; one that fails stays failed.
    """
    while True:
        made = progress(plan, root)
        look(made)
        if all(each.over for each in made):
            return made
        if any(each.state in INTERRUPTED for each in made):
            submit(plan, root, ())
        start_or_wait(root)
        time.sleep(POLL)
