"""The further problems of a study: what is missing, and asking it of each finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dapoctl.errors import ConfigError, nearest
from dapoctl.evaluation.evaluate import evaluate
from dapoctl.evaluation.plan import Request
from dapoctl.evaluation.plan import plan as plan_evaluation
from dapoctl.study.plan import Plan, PlannedRun
from dapoctl.study.progress import Made, finished
from dapoctl.study.schema import EvalSet

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Asked:
    """A set for a finished run."""

    planned: PlannedRun
    directory: Path
    label: str
    request: Request


def asked(plan: Plan, made: Sequence[Made]) -> Iterator[Asked]:
    """Every set for every finished run of its arms.

    Raises:
        ConfigError: a set names an arm that is none.
    """
    done = finished(made)
    for label, wanted in plan.study.set.items():
        if unknown := [arm for arm in wanted.arms or () if arm not in plan.arms]:
            raise ConfigError(
                f"`set.{label}.arms` names {unknown[0]!r}, which is no arm.{nearest(unknown[0], [*plan.arms])}"
            )
        for planned, run in done.items():
            if wanted.arms is None or planned.arm in wanted.arms:
                yield Asked(planned, run.directory, label, _request(plan, label, wanted, run.directory))


def _request(plan: Plan, label: str, wanted: EvalSet, directory: Path) -> Request:
    changes = {
        "k": wanted.k,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "max_tokens": wanted.max_tokens,
        "seed": wanted.seed,
    }
    data = wanted.data
    if data and (plan.path.parent / data).exists():
        data = str(plan.path.parent / data)
    task = wanted.task or ("" if data else label)
    return Request(
        str(directory), task, data, wanted.protocol, changes, limit=wanted.limit, settings=wanted.settings, label=label
    )


def evaluate_all(plan: Plan, root: Path, made: Sequence[Made], tell: Tell) -> bool:
    """Ask what is missing, one evaluation after the other; False where it was stopped. The same call goes on.

    Args:
        tell: (what, done, total) in evaluations

    Raises:
        UserError: a set cannot be had, or a run has it asked otherwise: then give the set another name.
    """
    wanted = [*asked(plan, made)]
    for done, each in enumerate(wanted):
        tell(f"{each.label} for {each.planned.name}", done, len(wanted))
        job = plan_evaluation(each.request, root, ())
        if job.stored is None and evaluate(job, lambda _phase, _done, _total: None).state != "finished":
            return False
    tell("evaluated", len(wanted), len(wanted))
    return True
