"""The plan of a study: which runs there are, in which order, and what speaks against it. Frozen before the first run."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.config.resolve import Resolved
from dapoctl.errors import ConfigError, DapoctlError, UserError
from dapoctl.evaluation.inputs import hub_problem, input_problems
from dapoctl.runs.files import read_json, write_json
from dapoctl.study.arms import IDLE, Planned, cells_and_arms, run_name
from dapoctl.study.schema import Study, read_study

FOLDER, PLAN = ".studies", "plan.json"
OF_A_RUN = frozenset({"seed", "name"})


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Of the run in its group."""
        return run_name(self.arm, self.seed)


@dataclass(frozen=True)
class Plan:
    """A study that can be carried out."""

    path: Path
    study: Study
    arms: dict[str, Planned]
    """Those that are run, by name, the cells first"""
    runs: tuple[PlannedRun, ...]
    """In their order: the pilot, then seed by seed, arms in random order within a seed, so that a half-finished study is
    balanced"""
    warnings: tuple[str, ...] = ()
    resolved: Mapping[str, Resolved] = field(default_factory=dict)
    """Of each arm, with its first seed"""

    @property
    def group(self) -> str:
        """The group of its runs."""
        return f"study-{self.study.study.name}"

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what is run and what is asked."""
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def content(self) -> dict[str, Any]:
        """What is frozen: outcomes, design, and the configuration of every arm."""
        return {
            "study": self.study.model_dump(mode="json", by_alias=True),
            "arms": {name: _without_name(resolved.as_dict()) for name, resolved in self.resolved.items()},
            "runs": [[run.arm, run.seed] for run in self.runs],
        }

    def seeds(self, arm: str) -> list[int]:
        """The seeds that an arm is run with."""
        return [run.seed for run in self.runs if run.arm == arm]


def _without_name(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "name"}


def make_plan(path: Path) -> Plan:
    """The plan of the study in a file; every arm is resolved, nothing is written.

    Raises:
        UserError: one line for each thing that is wrong with it.
    """
    study = read_study(path)
    arms = cells_and_arms(study, path.parent)
    chosen = _chosen(study, arms)
    resolved: dict[str, Resolved] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for name, planned in chosen.items():
        try:
            resolved[name] = found = planned.resolve(1)
        except DapoctlError as error:
            problems.append(f"arm `{name}`: {error}")
            continue
        for warning in found.warnings:
            idle = IDLE in warning and not planned.placebo
            (problems if idle else warnings).append(f"arm `{name}`: {warning}")
    problems += _twins(resolved)
    problems += [f"outcome `{name}`: {words}" for name, words in _unreachable(study, resolved)]
    if problems:
        raise ConfigError(f"{path}:\n" + "\n".join(problems))
    return Plan(path, study, chosen, tuple(_order(study, chosen)), tuple(dict.fromkeys(warnings)), resolved)


def _chosen(study: Study, arms: Mapping[str, Planned]) -> dict[str, Planned]:
    """The cells and arms that are run."""
    design = study.design
    if design.arms is not None and (unknown := [name for name in design.arms if name not in study.arm]):
        raise ConfigError(
            f"`design.arms` names {unknown[0]!r}, which is no arm; known: {', '.join(study.arm) or 'none'}"
        )
    names = [name for name, planned in arms.items() if planned.factors is not None]
    names += [*study.arm] if design.arms is None else design.arms
    if design.pilot is not None:
        names.append(design.pilot.arm)
    # What they are compared with is run as well.
    names += [arms[name].against for name in names if arms[name].against]
    chosen = {name: arms[name] for name in dict.fromkeys(names)}
    if not chosen:
        raise ConfigError("the study has neither a factorial nor arms: add [arm.NAME] tables or `design.factorial`")
    return chosen


def _order(study: Study, arms: Mapping[str, Planned]) -> Iterator[PlannedRun]:
    design = study.design
    piloted = []
    if design.pilot is not None:
        piloted = [PlannedRun(design.pilot.arm, seed) for seed in range(1, design.pilot.seeds + 1)]
    yield from piloted
    blocks: dict[int, list[PlannedRun]] = {}
    for name, planned in arms.items():
        for seed in design.seeds if planned.factors is not None else design.arm_seeds:
            if (run := PlannedRun(name, seed)) not in piloted:
                blocks.setdefault(seed, []).append(run)
    for seed in sorted(blocks):
        # Whatever changes in the course of hours, a machine's load or its heat, is then no arm's alone.
        random.Random(f"{study.study.name} {seed}").shuffle(blocks[seed])
        yield from blocks[seed]


def _twins(resolved: Mapping[str, Resolved]) -> Iterator[str]:
    """Arms whose runs would be the same."""
    seen: dict[str, str] = {}
    for name, found in resolved.items():
        text = json.dumps(
            {key: value for key, value in found.as_dict().items() if key not in {*OF_A_RUN, "plugins"}}, sort_keys=True
        )
        text += str(sorted(found.pipeline.components))
        if text in seen:
            yield f"arm `{name}` is the same as arm `{seen[text]}`: what it changes has no effect"
        seen.setdefault(text, name)


def _unreachable(study: Study, resolved: Mapping[str, Resolved]) -> Iterator[tuple[str, str]]:
    """Outcomes that no run of some arm can have."""
    for name, outcome in study.outcome.items():
        if outcome.metric.startswith("eval/") and outcome.metric.split("/")[1] in study.set and outcome.at != "last":
            yield name, f'`{outcome.metric}` is measured once, of the finished run: `at` = "last"'
            continue
        for arm, found in resolved.items():
            steps, every = found.config.steps, found.config.eval.every
            last = outcome.at if isinstance(outcome.at, int) else outcome.area[1] if outcome.area else 0
            if last > steps:
                yield name, f"step {last} is beyond the {steps} steps of arm `{arm}`"
                break
            evaluated = outcome.metric.startswith("eval/") and outcome.metric.split("/")[1] not in study.set
            if evaluated and not every:
                yield name, f"`{outcome.metric}` is never measured in arm `{arm}`: `eval.every` = 0"
                break
            if evaluated and isinstance(outcome.at, int) and outcome.at % every and outcome.at != steps:
                yield name, f"step {outcome.at} is not evaluated in arm `{arm}`: `eval.every` = {every}"
                break


def check_inputs(plan: Plan) -> None:
    """Refuse a plan whose models or data are not there.

    Raises:
        UserError: one line for each.
    """
    problems = {words for found in plan.resolved.values() for words in input_problems(found.config, found.pipeline)}
    problems |= {hub_problem(model) for model in {found.config.model.path for found in plan.resolved.values()}}
    problems.discard("")
    if problems:
        raise UserError("\n".join(sorted(problems)))


# The frozen plan.


def freeze(plan: Plan, root: Path) -> dict[str, Any]:
    """Write the plan down in the store, unless it is there; what was frozen first, and every change since.

    Raises:
        StorageError: the store cannot be written.
    """
    path = plan_file(root, plan.study.study.name)
    known = read_json(path)
    entry = {"digest": plan.digest, "time": time.time(), "content": plan.content()}
    if not isinstance(known, dict):
        known = {"frozen": entry, "changes": []}
    else:
        latest = [known["frozen"], *known["changes"]][-1]
        if latest["digest"] == plan.digest:
            return known
        known["changes"].append(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, known)
    return known


def plan_file(root: Path, name: str) -> Path:
    """Where the plan of a study is kept."""
    return root / FOLDER / name / PLAN


def changes_since(known: Mapping[str, Any]) -> list[tuple[float, list[str]]]:
    """(when, which keys) of each change of a frozen plan, against what was frozen first."""
    first = known["frozen"]["content"]
    found = []
    for entry in known["changes"]:
        keys = [*difference_of(first["study"], entry["content"]["study"])]
        arms = {*first["arms"], *entry["content"]["arms"]}
        changed: dict[str, list[str]] = {}
        for arm in sorted(arms):
            before, after = first["arms"].get(arm), entry["content"]["arms"].get(arm)
            if before is None or after is None:
                keys.append(f"arm {arm} {'added' if before is None else 'removed'}")
            elif before != after:
                for key in difference_of(before, after):
                    changed.setdefault(key, []).append(arm)
        for key, names in changed.items():
            keys += [f"every arm: {key}"] if len(names) == len(arms) > 1 else [f"arm {arm}: {key}" for arm in names]
        found.append((entry["time"], keys))
    return found


def difference_of(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys whose values differ."""
    for key in sorted({*first, *second}):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from difference_of(one, other, f"{prefix}{key}.")
        elif one != other:
            yield f"{prefix}{key}"
