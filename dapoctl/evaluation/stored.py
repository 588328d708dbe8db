"""Stored evaluations, `<run>/evals/<set>/step_<n>/`. What is missing or damaged is reported, not raised."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dapoctl.errors import UserError, nearest
from dapoctl.evaluation.files import SAMPLES, SUMMARY, read_rows, read_summary, samples_trouble
from dapoctl.evaluation.statistics.pass_at_k import ProblemScore, score_problems
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import EVALS, EVALUATION, RunSummary, read_run

STEP = re.compile(r"step_(\d{1,12})")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run, without the responses' text."""

    run: RunSummary
    folder: Path
    set: str
    step: int
    summary: dict[str, Any] = field(default_factory=dict, repr=False)
    rows: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """Of each response: problem, sample, correct, outcome, extracted, tokens, truncated, marked"""
    prompts: dict[str, str] = field(default_factory=dict, repr=False)
    """By problem"""
    answers: dict[str, str] = field(default_factory=dict, repr=False)
    trouble: tuple[str, ...] = ()
    """What is wrong with its files, in words"""

    @property
    def name(self) -> str:
        """`<run id>@<step>`"""
        return f"{self.run.id}@{self.step}"

    @property
    def of_run(self) -> bool:
        """Whether a run's training made the model, or starts from it; not for a model that was evaluated by itself."""
        return self.run.spec.get("kind") != EVALUATION

    @property
    def trained(self) -> bool:
        """Whether it is of a run's checkpoint."""
        return self.of_run and self.step > 0

    @property
    def template(self) -> str | None:
        """`chat` or `plain`; `auto` where it is not recorded which of them that was; None if nothing is known."""
        found = self.summary.get("template") or self.protocol.get("template")
        return str(found) if found else None

    @property
    def protocol(self) -> dict[str, Any]:
        """How it was sampled and scored; empty in evaluations by older versions."""
        return _table(self.summary, "protocol")

    @property
    def data(self) -> dict[str, Any]:
        """Which problems it is about; empty in evaluations by older versions."""
        return _table(self.summary, "data")

    @cached_property
    def k(self) -> int:
        """Responses per problem: as the summary has it, else the most that any problem has."""
        known = self.protocol.get("k")
        if isinstance(known, int) and not isinstance(known, bool) and known > 0:
            return known
        names = _table(self.summary, "metrics")
        found = [int(tail) for name in names if (tail := str(name).rpartition("/avg@")[2]).isdecimal()]
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row["problem"]] = counts.get(row["problem"], 0) + 1
        return max(found or [*counts.values(), 1])

    @cached_property
    def scores(self) -> dict[str, ProblemScore]:
        """The problems that were measured: those with all k responses, by id."""
        return score_problems(self.rows, self.k)

    @property
    def expected(self) -> int:
        """Problems that there should be, if known."""
        said = self.data.get("problems")
        return max(said if isinstance(said, int) else 0, len({row["problem"] for row in self.rows}))

    @property
    def complete(self) -> bool:
        """Whether every problem was measured. Older versions wrote the summary at the end, and only then."""
        return bool(self.summary.get("complete", bool(self.summary))) and len(self.scores) >= max(self.expected, 1)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "run": self.run.id,
            "step": self.step,
            "set": self.set,
            "model": self.model,
            "components": list(self.run.components),
            "k": self.k,
            "problems": len(self.scores),
            "expected": self.expected,
            "complete": self.complete,
            "protocol": self.protocol,
            "sha256": self.data.get("sha256"),
            "folder": str(self.folder),
            "trouble": list(self.trouble),
        }

    @property
    def model(self) -> str:
        """The model that was evaluated or that training started from."""
        model = self.run.config.get("model")
        path = model.get("path") if isinstance(model, dict) else model
        return str(path or self.summary.get("model") or "")


def _table(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def open_evaluation(root: Path, word: str, set_: str) -> Evaluation:
    """The evaluation on the set `set_` that `RUN` or `RUN@STEP` names.

    Raises:
        UserError: there is no such run, set or step, or nothing of it can be read.
    """
    name, step = split_step(word)
    return load_evaluation(read_run(find_run(root, name)), set_, step)


def split_step(word: str) -> tuple[str, int | None]:
    """`RUN@STEP` in its parts.

    Raises:
        UserError: what follows the `@` is not a step.
    """
    name, sign, tail = word.rpartition("@")
    if not sign or Path(word).exists():
        return word, None
    if not (tail.isascii() and tail.isdecimal()):
        raise UserError(f"`{word}`: after the `@` stands a step, such as `{name or 'RUN'}@100`")
    return name, int(tail)


def load_evaluation(run: RunSummary, set_: str, step: int | None = None) -> Evaluation:
    """The run's evaluation on `set_` at `step`; without one its newest complete one, else its newest.

    Raises:
        UserError: there is none, or nothing of it can be read.
    """
    if run.problem:
        raise UserError(f"`{run.directory}`: {run.problem}")
    steps = steps_of(run.directory, set_)
    if not steps:
        sets = sets_of(run.directory)
        there = f"it has {', '.join(f'`{name}`' for name in sets)}.{nearest(set_, sets)}" if sets else "it has none."
        raise UserError(
            f"run `{run.id}` has no evaluation on `{set_}`: {there} `dapoctl eval {run.id} --task {set_}` makes one"
        )
    if step is not None:
        if step not in steps:
            raise UserError(f"run `{run.id}` has no evaluation on `{set_}` at step {step}; it has {_list(steps)}")
        return _load(run, set_, step)
    for place in reversed(steps):
        if read_summary(_folder(run, set_, place) / SUMMARY)[0].get("complete", True) is True:
            found = _load(run, set_, place)
            if found.complete:
                return found
    return _load(run, set_, steps[-1])


def _list(steps: list[int]) -> str:
    shown = [str(step) for step in steps]
    return ", ".join(shown if len(shown) < 12 else [*shown[:4], "...", *shown[-4:]])


def sets_of(directory: Path) -> list[str]:
    """The sets that a run was evaluated on."""
    return [name for name in _names(directory / EVALS) if steps_of(directory, name)]


def steps_of(directory: Path, set_: str) -> list[int]:
    """The steps at which a run was evaluated on a set, in order; folders with other names are somebody else's."""
    if not set_ or set_ in (".", "..") or "/" in set_ or "\0" in set_:
        return []
    return sorted(int(match[1]) for name in _names(directory / EVALS / set_) if (match := STEP.fullmatch(name)))


def summary_at(directory: Path, set_: str, step: int) -> dict[str, Any]:
    """What the summary of a run's evaluation says; empty where it cannot be read."""
    return read_summary(directory / EVALS / set_ / f"step_{step}" / SUMMARY)[0]


def accuracy_of(summary: Mapping[str, Any]) -> float | None:
    """The mean accuracy that a summary reports; None if it reports none."""
    found = _table(summary, "metrics")
    return next((float(value) for name, value in found.items() if name.rpartition("/")[2].startswith("avg@")), None)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []


def _folder(run: RunSummary, set_: str, step: int) -> Path:
    return run.directory / EVALS / set_ / f"step_{step}"


def _load(run: RunSummary, set_: str, step: int) -> Evaluation:
    folder = _folder(run, set_, step)
    summary, trouble = read_summary(folder / SUMMARY)
    rows: list[dict[str, Any]] = []
    prompts: dict[str, str] = {}
    answers: dict[str, str] = {}
    damaged = 0
    kept = ("problem", "sample", "correct", "outcome", "extracted", "tokens", "truncated", "marked")
    foreign = samples_trouble(folder / SAMPLES, set_)
    for row in read_rows(folder / SAMPLES) if not foreign else ():
        if row is None:
            damaged += 1
            continue
        rows.append({key: row[key] for key in kept})
        prompts.setdefault(row["problem"], row["prompt"])
        answers.setdefault(row["problem"], row["answer"])
    if foreign or not rows:
        trouble.append(foreign or f"{SAMPLES} holds no response")
    if damaged:
        trouble.append(f"{SAMPLES}: {damaged} damaged row{'s' * (damaged > 1)} left out")
    return Evaluation(run, folder, set_, step, summary, rows, prompts, answers, tuple(trouble))


def responses(evaluation: Evaluation, problem: str) -> dict[int, dict[str, Any]]:
    """Every response to one problem in full, by its number."""
    found: dict[int, dict[str, Any]] = {}
    for row in read_rows(evaluation.folder / SAMPLES):
        if row is not None and row["problem"] == problem:
            found.setdefault(row["sample"], row)
    return dict(sorted(found.items()))
