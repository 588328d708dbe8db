"""Whether a study's models know the questions that they are measured on: the completion probe, kept beside the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dapoctl.errors import DataError
from dapoctl.evaluation.contamination.probe import SHARE, probe
from dapoctl.evaluation.problem_source import Source
from dapoctl.evaluation.run_sets import run_sources
from dapoctl.evaluation.target import Target
from dapoctl.runs.files import read_json, write_json
from dapoctl.study.plan import Plan, plan_file

PROBES = "probes.json"
FIGURES = frozenset({"problems", "left_out", "completed", "rouge_l"})


def probe_study(plan: Plan, root: Path, tell: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """Probe each model of the study, before training, on the sets that its runs are evaluated on; the result is stored.

    Args:
        tell: (questions done, all) of the set at hand

    Returns:
        for each model and set `model`, `set`, `share`, and either `problems`, `left_out`, `completed`, `rouge_l`, or `refused`:
        why the set cannot be probed

    Raises:
        UserError: a model or a set is not there.
    """
    rows = []
    for source, target, limit in _measured(plan):
        row: dict[str, Any] = {"model": target.model, "set": source.label, "share": SHARE}
        try:
            found = probe(target, source.load(limit), SHARE, tell)
        except DataError as error:
            # What follows names an option of `dapoctl probe`.
            row["refused"] = str(error).partition(": give")[0]
        else:
            row |= {
                "problems": len(found.completed),
                "left_out": found.left_out,
                "completed": found.exact,
                "rouge_l": found.rouge_l,
            }
        rows.append(row)
    write_json(_file(plan, root), rows)
    return rows


def stored_probes(plan: Plan, root: Path) -> list[dict[str, Any]]:
    """What `probe_study` stored; empty if the study was not probed. Damaged rows are left out."""
    rows = read_json(_file(plan, root))
    whole = (
        [row for row in rows if isinstance(row, dict) and {"model", "set", "share"} <= row.keys()]
        if isinstance(rows, list)
        else []
    )
    return [row for row in whole if "refused" in row or row.keys() >= FIGURES]


def _file(plan: Plan, root: Path) -> Path:
    return plan_file(root, plan.study.study.name).with_name(PROBES)


def _measured(plan: Plan) -> Iterator[tuple[Source, Target, int | None]]:
    """(set, model, how many of its problems), once for arms that share them."""
    seen = set()
    for resolved in plan.resolved.values():
        config = resolved.config
        for source in run_sources(config, resolved.pipeline):
            key = (config.model.path, source.label, source.origin, config.eval.limit)
            if key not in seen:
                seen.add(key)
                yield source, Target(config, config.model.path), config.eval.limit
