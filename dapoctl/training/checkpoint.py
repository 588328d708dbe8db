"""Checkpoints: they appear whole or not at all, and hold everything that a resumed run needs to go on unchanged."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from dapoctl.batch import Batch, Counts, Problem, Score
from dapoctl.errors import StorageError
from dapoctl.evaluation.summary import COMMAND
from dapoctl.runs.checkpoints import LATEST, STATE, latest
from dapoctl.runs.checkpoints import step_of as _step
from dapoctl.runs.files import full_disk, read_json, storage_errors, write_text
from dapoctl.runs.remove import size_of
from dapoctl.training.learner import History, Learner

__all__ = ["held_out", "latest", "read_state", "restore", "save"]


def save(learner: Learner, directory: Path, step: int, extra: dict[str, Any]) -> Path:
    """Write the state after `step`; the last checkpoint stays until this one is whole.

    Raises:
        StorageError: the disk is full or cannot be written; what was there before is untouched.
    """
    root = directory / "checkpoints"
    final, scratch = root / f"step_{step}", root / f".step_{step}.partial"
    with storage_errors(root):
        root.mkdir(exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
    try:
        _check_space(learner, root, latest(directory))
        with storage_errors(final):
            _write(learner, scratch, step, extra)
            shutil.rmtree(final, ignore_errors=True)
            scratch.rename(final)
            _sync(root)
        write_text(root / LATEST, final.name + "\n")
    except StorageError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        last = latest(directory)
        kept = f"the last checkpoint, {last.name}, is whole" if last else "there is no earlier checkpoint"
        raise StorageError(f"checkpoint step_{step} was not saved: {error}; {kept}") from error
    _prune(directory, learner.config.checkpoint.keep, learner.config.checkpoint.keep_best)
    return final


def _check_space(learner: Learner, root: Path, last: Path | None) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        StorageError: saying what is needed.
    """
    if last is not None:
        needed = size_of(last)
    else:
        trained = sum(p.numel() * p.element_size() for p in learner.policy.parameters())
        whole = sum(p.numel() * p.element_size() for p in learner.policy.model.parameters())
        # The weights, and Adam's two averages of those that are trained.
        needed = (whole if learner.policy.adapters is None else trained) + 2 * trained
    if shutil.disk_usage(root).free < needed:
        raise full_disk(root, needed)


def _write(learner: Learner, scratch: Path, step: int, extra: dict[str, Any]) -> None:
    state = {
        "step": step,
        "optimizer": learner.optimizer.state_dict(),
        "components": learner.pipeline.state_dict(),
        "history": learner.history.state_dict(),
        "leftovers": [_pack(batch) for batch in learner.leftovers],
        **extra,
    }
    try:
        learner.policy.save(scratch / "model")
        torch.save(state, scratch / STATE)
    except (OSError, RuntimeError, ValueError) as error:
        # safetensors and torch report a full disk as errors of their own kinds.
        if isinstance(error, OSError) and error.errno:
            raise
        if shutil.disk_usage(scratch).free < 2**20 or "No space left" in str(error):
            raise full_disk(scratch) from error
        raise
    for path in scratch.rglob("*"):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(directory: Path, keep: int, keep_best: int) -> None:
    """Delete all but the newest `keep` checkpoints and, of those that were evaluated, the best `keep_best`."""
    root = directory / "checkpoints"
    steps = sorted(_step(path) for path in root.glob("step_*"))
    scored = [(score, step) for step in steps if (score := held_out(directory, step)) is not None]
    kept = {*steps[-keep:], *(step for _, step in sorted(scored)[len(scored) - min(keep_best, len(scored)) :])}
    for step in steps:
        if step not in kept:
            shutil.rmtree(root / f"step_{step}", ignore_errors=True)
    for path in root.glob(".step_*.partial"):
        shutil.rmtree(path, ignore_errors=True)


def held_out(directory: Path, step: int) -> float | None:
    """Mean over the run's evaluation sets of their accuracy after `step`; None where that was not evaluated.

    What `dapoctl eval` measured besides does not count: not every checkpoint has it.
    """
    found = []
    for path in directory.glob(f"evals/*/step_{step}/summary.json"):
        summary = read_json(path)
        own = isinstance(summary, dict) and summary.get("made") != COMMAND
        metrics = summary.get("metrics", {}) if own else {}
        found += [float(value) for name, value in metrics.items() if name.rpartition("/")[2].startswith("avg@")]
    return sum(found) / len(found) if found else None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's state in a checkpoint; no code in it is run.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StorageError(f"checkpoint `{checkpoint}` cannot be read: {str(error).splitlines()[0]}") from error
    return state


def restore(learner: Learner, state: dict[str, Any]) -> None:
    """Put `state` back into a learner whose policy has the checkpoint's weights already."""
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.pipeline.load_state_dict(state["components"])
    learner.history = History.from_state(state["history"])
    learner.leftovers = [_unpack(packed) for packed in state["leftovers"]]


def _pack(batch: Batch) -> dict[str, Any]:
    values = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
    values["problems"] = [_plain(problem) for problem in batch.problems]
    values["verdicts"] = [_plain(verdict) for verdict in batch.verdicts]
    values["counts"] = _plain(batch.counts)
    return values


def _plain(item: Problem | Score | Counts) -> dict[str, Any]:
    values = {part.name: getattr(item, part.name) for part in dataclasses.fields(item)}
    return values | ({"meta": dict(values["meta"])} if "meta" in values else {})


def _unpack(values: dict[str, Any]) -> Batch:
    return Batch(
        **values
        | {
            "problems": [Problem(**problem) for problem in values["problems"]],
            "verdicts": [Score(**verdict) for verdict in values["verdicts"]],
            "counts": Counts(**values["counts"]),
        }
    )
