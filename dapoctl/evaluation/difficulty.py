"""How hard problems are for a model, by the responses of a stored evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dapoctl.errors import UserError
from dapoctl.evaluation.problem_source import find_source
from dapoctl.tasks.problem_sets import content_hash, question_of

if TYPE_CHECKING:
    from dapoctl.batch import Problem
    from dapoctl.evaluation.stored import Evaluation


def solved_sometimes(evaluation: Evaluation, low: float, high: float) -> tuple[list[dict[str, Any]], int]:
    """(rows `id`, `problem`, `answer`, `solved` of the problems with a share of right responses from `low` to `high`, in the
    set's order; how many problems were measured).

    Raises:
        UserError: the evaluation is not complete, its problems are no longer what they were, or none is left.
    """
    if not evaluation.complete:
        raise UserError(
            f"the evaluation of {evaluation.name} on `{evaluation.set}` is not complete: {len(evaluation.scores)} of"
            f" {evaluation.expected} problems; the command that began it continues it"
        )
    shares = {name: score.right / evaluation.k for name, score in evaluation.scores.items()}
    kept = [
        {
            "id": problem.id,
            "problem": question_of(problem),
            "answer": problem.answer,
            "solved": round(shares[problem.id], 4),
        }
        for problem in _problems(evaluation)
        if low <= shares[problem.id] <= high
    ]
    if not kept:
        raise UserError(
            f"none of the {len(shares)} problems has {low:.0%} to {high:.0%} of {evaluation.k} responses right:"
            f" {sum(share == 0 for share in shares.values())} have none, {sum(share == 1 for share in shares.values())} all;"
            " change --low and --high, or ask more often (-k)"
        )
    return kept, len(shares)


def _problems(evaluation: Evaluation) -> list[Problem]:
    """The problems that were asked, read again from where they came.

    Raises:
        UserError: they are not there, or not the same.
    """
    source = str(evaluation.data.get("source", ""))
    is_file = not evaluation.data.get("split")
    names = {key: value for key, value in dict(evaluation.data.get("fields", {})).items() if value}
    found = find_source(evaluation.set if not is_file else "", source if is_file else "", {}, names).load()
    asked = [problem for problem in found if problem.id in evaluation.scores]
    if content_hash(asked) != evaluation.data.get("sha256"):
        raise UserError(
            f"the problems of `{source}` are not those that {evaluation.name} was asked: they have changed since, so that"
            " nothing can be said of them; evaluate again"
        )
    return asked
