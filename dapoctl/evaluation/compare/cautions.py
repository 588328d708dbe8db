"""What a comparison's figures do not say, in sentences: seeds, selection, questions that count twice, nothing asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dapoctl.evaluation.compare.badges import label
from dapoctl.evaluation.contamination.overlap import repeated_words
from dapoctl.evaluation.stored import accuracy_of, steps_of, summary_at
from dapoctl.evaluation.summary import TRAINING

if TYPE_CHECKING:
    from dapoctl.evaluation.stored import Evaluation


def cautions(evaluations: Sequence[Evaluation], set_: str) -> list[str]:
    """Sentences on evaluations that are compared, the baseline first; they are called A, B, ..."""
    found = [*_seeds(evaluations, set_), *_repeated(evaluations, set_)]
    for index, evaluation in enumerate(evaluations):
        found += _nothing_asked(label(index), evaluation)
        found += _selected(label(index), evaluation)
    return found


def _seeds(evaluations: Sequence[Evaluation], set_: str) -> list[str]:
    """Two trained runs are two checkpoints; what another seed would give is not in them."""
    base = evaluations[0]
    others = [
        label(index)
        for index, each in enumerate(evaluations)
        if base.trained and each.trained and each.run.id != base.run.id
    ]
    if not others:
        return []
    names = f"{', '.join([label(0), *others[:-1]])} and {others[-1]}"
    many = "two" if len(others) == 1 else str(len(others) + 1)
    return [
        f"{names} are {many} checkpoints, one seed each: this says nothing about the methods that trained them;"
        f" `dapoctl ablation --task {set_} RUN ...` compares those over seeds"
    ]


def _repeated(evaluations: Sequence[Evaluation], set_: str) -> list[str]:
    repeats = [repeated(evaluation) for evaluation in evaluations]
    every = list(dict.fromkeys(name for names in repeats for name in names))
    return [repeated_words(every, set_)] if every else []


def repeated(evaluation: Evaluation) -> list[str]:
    """Problems with the very prompt of an earlier one."""
    first: dict[str, str] = {}
    for name in sorted(evaluation.prompts):
        first.setdefault(evaluation.prompts[name], name)
    return [name for name in sorted(evaluation.prompts) if first[evaluation.prompts[name]] != name]


def _nothing_asked(name: str, evaluation: Evaluation) -> list[str]:
    unasked, problems = evaluation.summary.get("unasked"), len(evaluation.scores)
    if not isinstance(unasked, int) or not 0 < problems <= unasked:
        return []
    return [f"{name} was asked nothing: no prompt fits the model's context, and its figures say nothing"]


def _selected(name: str, evaluation: Evaluation) -> list[str]:
    """A step that is not the last evaluated one may have been chosen by the very set that is reported."""
    steps = steps_of(evaluation.run.directory, evaluation.set)
    if not evaluation.trained or evaluation.step >= max(steps, default=0):
        return []
    if _best_elsewhere(evaluation):
        return []
    kept = ", as `checkpoint.keep_best` does" if evaluation.summary.get("made") == TRAINING else ""
    return [
        f"{name} is step {evaluation.step} of {len(steps)} that were evaluated on {evaluation.set}: if it was chosen for its"
        f" result there{kept}, that result is too high; report a chosen step on another set"
    ]


def _best_elsewhere(evaluation: Evaluation) -> bool:
    """Whether it is the best step by another set, which the run was told to choose by: `checkpoint.select_on`."""
    chooser = str(evaluation.run.config.get("checkpoint", {}).get("select_on") or "")
    if not chooser or chooser == evaluation.set:
        return False
    directory = evaluation.run.directory
    scores = {step: accuracy_of(summary_at(directory, chooser, step)) for step in steps_of(directory, chooser)}
    known = {step: score for step, score in scores.items() if score is not None}
    return evaluation.step in known and known[evaluation.step] == max(known.values())
