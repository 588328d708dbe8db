"""Where an evaluation is stored, what is there already, and how it is written: `evals/<set>/step_<n>/` of a run.

`samples.jsonl` grows by blocks of problems; `summary.json` says from the start what was asked, and at the end what came
out. A problem is done when all of its k responses are there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dapoctl.errors import UserError
from dapoctl.evaluation.summary import differences
from dapoctl.evaluation.target import Target, recorded_config
from dapoctl.runs.files import LineWriter, read_json, read_lines, write_json
from dapoctl.runs.index import run_directories
from dapoctl.runs.inputs import describe_model
from dapoctl.runs.jobs.create import create_run
from dapoctl.runs.locks import release, try_lock
from dapoctl.runs.state import has_writer
from dapoctl.runs.summary import EVALS, EVALUATION, SPEC

SAMPLES, SUMMARY, LOCK = "samples.jsonl", "summary.json", ".lock"


def folder_of(directory: Path, label: str, step: int) -> Path:
    """`evals/<set>/step_<n>/` of a run."""
    return directory / EVALS / label / f"step_{step}"


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What `summary.json` says; None if it is missing or damaged."""
    found = read_json(folder / SUMMARY)
    return found if isinstance(found, dict) else None


def is_complete(summary: Mapping[str, Any]) -> bool:
    """Whether an evaluation has all its responses; one that does not say was written as a whole."""
    return summary.get("complete") is not False


def find_place(root: Path, target: Target, wanted: Mapping[str, Any], again: bool) -> Path | None:
    """The run folder for the evaluation `wanted`: the run's own; of a model by itself, the newest of its folders that holds
    this evaluation, else one that has room for it; None where a new one is needed.

    Raises:
        UserError: what is stored there was asked otherwise, and `again` does not say to replace it.
    """
    label, step = str(wanted["set"]), int(wanted["step"])
    if target.run is not None:
        _check(folder_of(target.run, label, step), wanted, again)
        return target.run
    stored = [(path, read_summary(folder_of(path, label, step))) for path in _folders(root, target)]
    for path, summary in stored:
        if summary is not None and not differences(summary, wanted):
            return path
    for path, summary in stored:
        if summary is not None and not is_complete(summary):
            _check(folder_of(path, label, step), wanted, again)
            return path
        if summary is None and not has_writer(path):
            return path
    return None


def _folders(root: Path, target: Target) -> Iterator[Path]:
    """Folders of evaluations of this model, newest first."""
    model = recorded_config(target)["model"]
    for path in reversed(run_directories(root)):
        spec = read_json(path / SPEC)
        if isinstance(spec, dict) and spec.get("kind") == EVALUATION and spec.get("config", {}).get("model") == model:
            yield path


def _check(folder: Path, wanted: Mapping[str, Any], again: bool) -> None:
    stored = read_summary(folder)
    if stored is None or again or not (is_complete(stored) or stored_rows(folder)):
        # Nothing was sampled yet, so nothing is lost.
        return
    found = differences(stored, wanted)
    if found:
        state = "complete" if is_complete(stored) else "incomplete"
        raise UserError(
            f"`{folder}` holds an evaluation ({state}) that was asked otherwise: {'; '.join(found)}. Ask as it was, keep"
            " both with --as NAME, or replace it with --again"
        )


def new_place(root: Path, target: Target, argv: Sequence[str]) -> Path:
    """A new folder for evaluations of a model by itself.

    Raises:
        StorageError: the store cannot be written.
    """
    stem = "".join(c if c.isalnum() and c.isascii() else "_" for c in Path(target.model).name)[:40]
    inputs = {"model": describe_model(target.model)}
    return create_run(root, f"eval-{stem}", recorded_config(target), {}, argv, kind=EVALUATION, inputs=inputs)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Be the only process that writes this evaluation.

    Raises:
        UserError: another one does.
    """
    descriptor = try_lock(folder / LOCK)
    if descriptor is None:
        raise UserError(f"`{folder}` is being evaluated by another process; wait for it, or end it")
    try:
        yield
    finally:
        release(descriptor)


class EvaluationWriter:
    """Writes one evaluation, going on with what is there; `claimed` must hold."""

    def __init__(self, folder: Path, wanted: Mapping[str, Any], again: bool = False) -> None:
        """With `again` nothing that is there counts.

        Raises:
            StorageError: the folder cannot be written.
        """
        self.folder = folder
        rows = [] if again else stored_rows(folder)
        stored = (read_summary(folder) or {}) if rows else {}
        spent: dict[str, Any] = {
            key: stored[key] for key in ("seconds", "generated_tokens", "devices", "template") if key in stored
        }
        self.summary: dict[str, Any] = {**wanted, **spent, "complete": False, "metrics": {}}
        self.k = int(wanted["protocol"]["k"])
        ids = {*wanted["data"]["ids"]}
        self.done = {problem for problem, count in _counts(rows).items() if count >= self.k and problem in ids}
        # Of the rows, not of the last summary: a kill may have come between the two.
        self.summary["generated_tokens"] = sum(int(row["tokens"]) for row in rows if row["problem"] in self.done)
        write_json(folder / SUMMARY, self.summary)
        header = {"kind": "eval", "set": wanted["set"], "step": wanted["step"]}
        seen: set[tuple[str, int]] = set()
        self._lines = LineWriter(folder / SAMPLES, header, lambda row: not again and self._keep(row, seen))

    def _keep(self, row: Mapping[str, Any], seen: set[tuple[str, int]]) -> bool:
        key = (str(row.get("problem")), int(row.get("sample", -1)))
        if key[0] not in self.done or key in seen:
            return False
        seen.add(key)
        return True

    def add(self, rows: Sequence[dict[str, Any]], seconds: float, device: str) -> None:
        """Append the responses of a block of problems, all k of each, that took `seconds`.

        Raises:
            StorageError: the folder cannot be written.
        """
        for row in rows:
            self._lines.write(row)
        self.done |= {str(row["problem"]) for row in rows}
        self.summary["seconds"] += seconds
        self.summary["generated_tokens"] += sum(row["tokens"] for row in rows)
        self.summary["devices"] = [*dict.fromkeys([*self.summary["devices"], device])]
        write_json(self.folder / SUMMARY, self.summary)

    def finish(self, metrics: Mapping[str, float], unasked: int) -> dict[str, Any]:
        """Say that everything is there, and what came out; the summary. `unasked`: problems too long for the model.

        Raises:
            StorageError: the folder cannot be written.
        """
        self.summary |= {"complete": True, "metrics": dict(metrics), "unasked": unasked}
        write_json(self.folder / SUMMARY, self.summary)
        # The store's index looks at this folder's time of change, not into every evaluation.
        os.utime(self.folder.parent)
        return self.summary

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def stored_rows(folder: Path) -> list[dict[str, Any]]:
    """The responses that are there, each (problem, sample) once; damaged rows are left out."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in read_lines(folder / SAMPLES):
        if isinstance(row.get("problem"), str) and isinstance(row.get("sample"), int):
            found.setdefault((row["problem"], row["sample"]), row)
    return list(found.values())


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row["problem"]] = found.get(row["problem"], 0) + 1
    return found
