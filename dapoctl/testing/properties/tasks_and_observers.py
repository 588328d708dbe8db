"""Properties of tasks and observers."""

from __future__ import annotations

import copy
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from dapoctl.batch import RunInfo
from dapoctl.config import RunConfig
from dapoctl.errors import UserError
from dapoctl.testing.plain_cases import SplitCase
from dapoctl.testing.results import Broken, Unchecked
from dapoctl.testing.subject import Subject, call, notify
from dapoctl.testing.values import difference, show

THREADS = 4
METRICS: tuple[dict[str, float], ...] = (
    {"reward/mean": 0.5, "policy/entropy": 1.25},
    {"reward/mean": float("nan"), "policy/grad_norm": float("inf"), "policy/loss": float("-inf")},
    {},
)
STATES = ("finished", "stopped", "failed")


def problems(subject: Subject, hook: str) -> str:
    """Every problem of a split has an id of its own, and none of `test` is in `train`."""
    splits = {split: list(subject.call(hook, SplitCase({"split": split}))) for split in ("train", "test")}
    for split, problems in splits.items():
        seen: dict[str, Any] = {}
        for index, problem in enumerate(problems):
            if problem.id in seen:
                first, second = f"problem {seen[problem.id]} of `{split}`", f"problem {index}"
                raise Broken(f"split {split!r}", f"{first} and {second} both have the id {problem.id!r}")
            seen[problem.id] = index
    known = {problem.prompt for problem in splits["train"]}
    for problem in splits["test"]:
        if problem.prompt in known:
            fix = (
                "Hold the problems of `test` out of `train`, by a property of the problem such as a hash of its prompt."
            )
            raise Broken("splits 'train' and 'test'", f"prompt {show(problem.prompt)} is in both", fix)
    return f"{len(splits['train'])} to train on, {len(splits['test'])} held out"


def threads(subject: Subject, hook: str) -> str:
    """Several threads at once get the same verdicts as one."""
    cases = list(subject.cases(hook))
    with subject.opened() as pipeline:

        def verdict(case: Any) -> Any:
            return call(pipeline, hook, case.arguments(torch.float64), case)

        alone = [verdict(case) for case in cases]
        with ThreadPoolExecutor(THREADS) as pool:
            together = list(pool.map(verdict, cases * 3))
    for case, expected, concurrent in zip(cases * 3, alone * 3, together, strict=True):
        if difference(concurrent, expected):
            raise Broken(f"{THREADS} threads, {case}", f"{show(concurrent)}; alone {show(expected)}")
    return ""


def observes(subject: Subject, _hook: str) -> str:
    """It survives a run's start, steps with any numbers, and each way to end; the metrics stay unchanged.

    An observer that sends what it sees also does so here, for a run called `check`.
    """
    config = RunConfig()
    for state in STATES:
        with tempfile.TemporaryDirectory() as folder, subject.opened() as pipeline:
            try:
                pipeline.components[subject.name].check_run(config)
            except UserError as error:
                raise Unchecked(str(error)) from error
            settings = config.model_dump(exclude={"components"}, exclude_none=True)
            run = RunInfo("check", Path(folder), settings, [subject.name], config.steps)
            notify(pipeline, "on_run_start", "the run begins", run=run)
            for step, metrics in enumerate(METRICS):
                given = copy.deepcopy(metrics)
                notify(pipeline, "on_step_end", f"step {step}, metrics {metrics}", step=step, metrics=given)
                if difference(given, metrics):
                    fix = "Copy the metrics before you change them: other observers read the same."
                    raise Broken(f"step {step}, metrics {metrics}", f"they are {given} afterwards", fix)
            notify(pipeline, "on_run_end", f"the run ends in state {state!r}", run=run, state=state)
    return ""
