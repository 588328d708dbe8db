"""Stored responses scored again by other scorers: no model, no GPU, nothing is written."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapoctl.errors import DataError, UserError, nearest
from dapoctl.evaluation.writer import SAMPLES
from dapoctl.runs.files import JsonLines
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import EVALS
from dapoctl.tasks.scorers import build_scorer
from dapoctl.tasks.verify import Verdict

STORED = "stored"
"""The name for the verdicts that the file holds"""
OUTCOMES = ("right", "wrong", "unanswered", "timeout", "error")
LIMIT_S = 5.0
"""Seconds that comparing one answer may take"""


@dataclass
class Responses:
    """The responses of one file."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    """Numbers of the lines that are not JSON objects, or lack `response` or `answer`"""


@dataclass
class Rescored:
    """The verdicts of several scorers on the same responses."""

    responses: Responses
    verdicts: dict[str, list[Verdict]]

    def counts(self) -> dict[str, dict[str, int]]:
        """How many responses have each outcome, by scorer."""
        found = {}
        for scorer, verdicts in self.verdicts.items():
            counted: Counter[str] = Counter(verdict.outcome for verdict in verdicts)
            found[scorer] = {outcome: counted[outcome] for outcome in OUTCOMES}
        return found

    def pairs(self) -> list[tuple[str, str, int, int]]:
        """(A, B, right by A alone, right by B alone) for each two scorers."""
        found = []
        for first, second in itertools.combinations(self.verdicts, 2):
            both = zip(self._right(first), self._right(second), strict=True)
            counted = Counter(both)
            found.append((first, second, counted[True, False], counted[False, True]))
        return found

    def disagreements(self) -> list[dict[str, Any]]:
        """The responses that some scorers call right and others not, with what each made of them."""
        found: list[dict[str, Any]] = []
        for place, row in enumerate(self.responses.rows):
            verdicts = {scorer: verdicts[place] for scorer, verdicts in self.verdicts.items()}
            if len({verdict.outcome == "right" for verdict in verdicts.values()}) > 1:
                made = {scorer: {"outcome": v.outcome, "extracted": v.extracted} for scorer, v in verdicts.items()}
                found.append(
                    {
                        "problem": row.get("problem"),
                        "sample": row.get("sample"),
                        "answer": row["answer"],
                        "tail": row["response"][-200:],
                        "verdicts": made,
                    }
                )
        return found

    def _right(self, scorer: str) -> list[bool]:
        return [verdict.outcome == "right" for verdict in self.verdicts[scorer]]


def find_files(text: str, root: Path, label: str = "", step: int | None = None) -> list[Path]:
    """The files of responses that `text` names: a file itself, or every evaluation of a run (of one set, of one step).

    Raises:
        UserError: no such file or run, or no such evaluation.
    """
    path = Path(text).expanduser()
    if path.is_file():
        if label or step is not None:
            raise UserError("--task and --step choose among a run's evaluations; a file is taken as it is")
        return [path]
    directory = find_run(root, text)
    found = sorted(
        directory.glob(f"{EVALS}/*/step_*/{SAMPLES}"), key=lambda p: (p.parts[-3], len(p.parts[-2]), p.parts[-2])
    )
    labels = [*dict.fromkeys(path.parts[-3] for path in found)]
    if not found:
        raise UserError(
            f"run `{directory.name}` has no evaluations; `dapoctl eval {directory.name} --task NAME` makes one"
        )
    if label and label not in labels:
        raise UserError(
            f"run `{directory.name}` has no evaluation of `{label}`.{nearest(label, labels)} It has: {', '.join(labels)}"
        )
    chosen = [path for path in found if not label or path.parts[-3] == label]
    if step is not None:
        steps = [path.parts[-2].removeprefix("step_") for path in chosen]
        chosen = [path for path in chosen if path.parts[-2] == f"step_{step}"]
        if not chosen:
            raise UserError(f"--step {step}: run `{directory.name}` has evaluations of the steps {', '.join(steps)}")
    return chosen


def read_responses(path: Path) -> Responses:
    """The responses in a JSON-lines file, with `response` and `answer`.

    Raises:
        DataError: it cannot be read, or holds no responses.
    """
    found = Responses(path)
    try:
        for line in JsonLines(path).read():
            row = line.value
            if row is not None and all(isinstance(row.get(key), str) for key in ("response", "answer")):
                found.rows.append(row)
            elif row is None or "schema" not in row:
                found.damaged.append(line.number)
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}") from None
    if not found.rows:
        where = f"; line {found.damaged[0]} is the first without" if found.damaged else ""
        raise DataError(f"`{path}` holds no responses: it needs JSON lines with `response` and `answer`{where}")
    return found


def rescore(
    responses: Responses,
    scorers: Sequence[str],
    workers: int | None = None,
    progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
) -> Rescored:
    """The verdicts of `scorers`, beside those that are stored; `workers` processes where a scorer needs them.

    Raises:
        DapoctlError: an unknown scorer, or one that cannot start.
    """
    workers = workers or min(8, len(os.sched_getaffinity(0)))
    verdicts: dict[str, list[Verdict]] = {}
    if all(row.get("outcome") in OUTCOMES for row in responses.rows):
        verdicts[STORED] = [_stored(row) for row in responses.rows]
    for name in dict.fromkeys(scorers):
        scorer = build_scorer(name, workers, LIMIT_S)
        try:
            with ThreadPoolExecutor(workers) as threads:
                found = threads.map(
                    lambda row, judge=scorer: judge.verify(row["response"], row["answer"], _question(row)),
                    responses.rows,
                )
                verdicts[name] = []
                for verdict in found:
                    verdicts[name].append(verdict)
                    progress(name, len(verdicts[name]), len(responses.rows))
        finally:
            scorer.close()
    return Rescored(responses, verdicts)


def _question(row: Mapping[str, Any]) -> str:
    """The question of a row, or the prompt around it; empty if the file has neither."""
    return next((row[key] for key in ("question", "prompt") if isinstance(row.get(key), str)), "")


def _stored(row: Mapping[str, Any]) -> Verdict:
    extracted = row.get("extracted")
    return Verdict(row["outcome"], extracted if isinstance(extracted, str) else None)
