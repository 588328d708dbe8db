"""Checkpoints: they appear whole or not at all, and hold everything that a resumed run needs to go on unchanged."""

from __future__ import annotations

import dataclasses
import glob
import pickle
import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import torch

from dapoctl.batch import Batch, Counts, Problem, Score
from dapoctl.errors import StorageError
from dapoctl.evaluation.summary import COMMAND
from dapoctl.runs.checkpoints import (
    FOLDER,
    STATE,
    checkpoints,
    damage_of,
    discard,
    latest,
    newest_first,
    partial_name,
    point_at,
    put_in_place,
    step_of,
)
from dapoctl.runs.files import full_disk, read_json, storage_errors, sync
from dapoctl.runs.manifest import Sealing, is_sealed
from dapoctl.runs.remove import size_of
from dapoctl.training.finite import check_weights
from dapoctl.training.learner import History, Learner
from dapoctl.training.memory import out_of_memory_where
from dapoctl.training.optimizer.forms import SCALE

__all__ = ["Found", "held_out", "latest", "newest", "read_state", "restore", "save"]

PARTS = ("step", "optimizer", "components", "history", "leftovers")
"""Of the state that every checkpoint has"""


@dataclass(frozen=True)
class Found:
    """Where a run goes on."""

    path: Path | None = None
    """The checkpoint; None to begin at the beginning"""
    state: dict[str, Any] | None = None
    damaged: tuple[str, ...] = ()
    """What is wrong with newer checkpoints"""


def newest(directory: Path) -> Found:
    """The newest checkpoint that is what was written, with its state.

    Raises:
        StorageError: there are checkpoints, and all of them are damaged.
    """
    damaged: list[str] = []
    for path in newest_first(directory):
        problem = damage_of(path)
        if not problem:
            try:
                state = read_state(path)
            except StorageError as error:
                problem = str(error)
            else:
                if state["step"] == step_of(path):
                    return Found(path, state, tuple(damaged))
                problem = f"it is a copy of the checkpoint of step {state['step']}"
        damaged.append(f"checkpoint `{path}` is damaged: {problem}")
    if damaged:
        raise StorageError(
            f"{'; '.join(damaged)}; no other is left, and `dapoctl runs resume {directory.name} --step 0` begins again"
        )
    return Found()


def save(learner: Learner, directory: Path, step: int, extra: dict[str, Any]) -> Path:
    """Write the state after `step`; the last checkpoint stays until this one is whole.

    Raises:
        DivergedError: a weight is not finite; nothing is written.
        StorageError: the disk is full or cannot be written; what was there before is untouched.
    """
    check_weights(learner, directory, step)
    root = directory / FOLDER
    scratch = root / partial_name(step)
    try:
        with storage_errors(root):
            if not root.is_dir():
                root.mkdir()
                sync(directory)
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
        _check_space(learner, root, latest(directory))
        _write(learner, scratch, step, extra)
        with storage_errors(scratch):
            final = put_in_place(scratch)
    except StorageError as error:
        if not is_sealed(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
        last = latest(directory)
        kept = f"the last checkpoint, {last.name}, is whole" if last else "there is no earlier checkpoint"
        raise StorageError(f"checkpoint step_{step} was not saved: {error}; {kept}") from error
    point_at(final)
    rule = learner.config.checkpoint
    _prune(directory, step, rule.keep, rule.keep_best, rule.select_on)
    return final


def _check_space(learner: Learner, root: Path, last: Path | None) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        StorageError: saying what is needed.
    """
    if last is not None:
        needed = size_of(last)
    else:
        policy = learner.policy
        sizes = {p: p.numel() * policy.exact(p).element_size() for p in policy.model.parameters()}
        trained, whole = sum(sizes[p] for p in policy.parameters()), sum(sizes.values())
        # The weights, and Adam's two averages of those that are trained.
        needed = (whole if policy.adapters is None else trained) + 2 * trained
    if shutil.disk_usage(root).free < needed:
        raise full_disk(root, needed)


def _write(learner: Learner, scratch: Path, step: int, extra: dict[str, Any]) -> None:
    """Write every file of a checkpoint, and seal it.

    Raises:
        StorageError: see `save`.
    """
    state = {
        "step": step,
        "optimizer": learner.optimizer.state_dict(),
        "components": learner.pipeline.state_dict(),
        "history": learner.history.state_dict(),
        "leftovers": [_pack(batch) for batch in learner.leftovers],
        **({"scaler": learner.scaler.state_dict()} if learner.scaler.is_enabled() else {}),
        **extra,
    }
    with storage_errors(scratch), Sealing(scratch, step) as sealing:
        try:
            learner.policy.save(scratch / "model")
            with sealing.writing(STATE) as file:
                torch.save(state, cast("IO[bytes]", file))
        except Exception as error:
            # safetensors and torch report a full or failing disk as errors of their own kinds.
            if out_of_memory_where(error) or (isinstance(error, OSError) and error.errno):
                raise
            if shutil.disk_usage(scratch).free < 2**20 or "No space left" in str(error):
                raise full_disk(scratch) from error
            raise StorageError(f"`{scratch}` cannot be written: {_first_line(error)}") from error
        sealing.finish()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _prune(directory: Path, step: int, keep: int, keep_best: int, select_on: str) -> None:
    """Delete all but the newest `keep` whole checkpoints and, of those that were evaluated, the best `keep_best`."""
    steps = [saved for saved in checkpoints(directory) if saved <= step]
    scored = [(score, saved) for saved in steps if (score := held_out(directory, saved, select_on)) is not None]
    best = sorted(scored)[len(scored) - min(keep_best, len(scored)) :]
    discard(directory, {*steps[-keep:], *(saved for _, saved in best)}, before=step)


def held_out(directory: Path, step: int, select_on: str = "") -> float | None:
    """Accuracy after `step` on the set `select_on`, or the mean over all of the run's; None where that was not evaluated.

    What `dapoctl eval` measured besides does not count: not every checkpoint has it.
    """
    found = []
    for path in directory.glob(f"evals/{glob.escape(select_on) or '*'}/step_{step}/summary.json"):
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
        state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's advice is to read it in a way that runs code.
        reason = "it is not the state of a run, which is made of tensors, numbers and text alone"
        raise StorageError(f"`{checkpoint / STATE}` cannot be read: {reason}") from error
    except Exception as error:
        if out_of_memory_where(error):
            raise
        raise StorageError(f"`{checkpoint / STATE}` cannot be read: {_first_line(error)}") from error
    lacking = [part for part in PARTS if part not in state] if isinstance(state, dict) else [*PARTS]
    if lacking:
        raise StorageError(f"`{checkpoint / STATE}` cannot be read: it has no {', '.join(lacking)}")
    return dict(state)


def restore(learner: Learner, state: dict[str, Any], source: Path | None = None) -> None:
    """Put `state`, which came from the checkpoint `source`, into a learner whose policy has that one's weights already.

    Raises:
        StorageError: the optimizer's state is not that of these weights.
    """
    try:
        _check_optimizer(learner, state["optimizer"])
    except StorageError as error:
        raise StorageError(f"checkpoint `{source}` does not fit the run: {error}") from None
    learner.optimizer.load_state_dict(state["optimizer"])
    if "scaler" in state:
        learner.scaler.load_state_dict(state["scaler"])
    learner.pipeline.load_state_dict(state["components"])
    learner.history = History.from_state(state["history"])
    learner.leftovers = [_unpack(packed) for packed in state["leftovers"]]


def _check_optimizer(learner: Learner, state: dict[str, Any]) -> None:
    """torch compares how many parameters there are, and nothing else."""
    names = {id(parameter): name for name, parameter in learner.policy.model.named_parameters()}
    ours: list[list[torch.nn.Parameter]] = [group["params"] for group in learner.optimizer.param_groups]
    saved: list[list[int]] = [group["params"] for group in state["param_groups"]]
    if [len(group) for group in ours] != [len(group) for group in saved]:
        there, here = (sum(map(len, groups)) for groups in (saved, ours))
        raise StorageError(f"its optimizer is another model's: it has {there} parameters, and this model {here}")
    for parameter, key in zip(chain(*ours), chain(*saved), strict=True):
        for name, value in state["state"].get(key, {}).items():
            whole = isinstance(value, torch.Tensor) and value.dim() and not name.endswith(SCALE)
            if whole and value.shape != parameter.shape:
                raise StorageError(
                    f"its optimizer state is another model's: `{name}` of `{names[id(parameter)]}` has shape"
                    f" {list(value.shape)} there, and the weight has {list(parameter.shape)}"
                )


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
