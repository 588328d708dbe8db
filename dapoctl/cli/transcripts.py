"""`dapoctl compare --problem`: the responses of two runs to one problem, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dapoctl.cli.output import emit, emit_json
from dapoctl.errors import UserError, nearest
from dapoctl.evaluation.compare.badges import divergence
from dapoctl.evaluation.stored import responses
from dapoctl.views import tables
from dapoctl.views.terminal import width
from dapoctl.views.transcripts import first_disagreement, page

if TYPE_CHECKING:
    from dapoctl.evaluation.compare.comparison import Comparison, Measured


def show(comparison: Comparison, problem: str, sample: int | None, json: bool) -> None:
    """Print the responses of the baseline and of the first other run to `problem`.

    Raises:
        UserError: the problem, or the sample, is not on both sides.
    """
    first, second = comparison.sides[:2]
    ours, theirs = (responses(side.evaluation, problem) for side in (first, second))
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise UserError(_not_shared(problem, first, second, bool(ours), bool(theirs)))
    if sample is not None and sample not in shared:
        raise UserError(f"--sample {sample}: `{problem}` has responses {shared[0]} to {shared[-1]} on both sides")
    index = first_disagreement(shared, ours, theirs) if sample is None else sample
    if json:
        sides = [_values(side, responses_of[index]) for side, responses_of in ((first, ours), (second, theirs))]
        parting = divergence(str(ours[index]["response"]), str(theirs[index]["response"]))
        emit_json({"problem": problem, "sample": index, "divergence": parting, "responses": sides})
        return
    columns = width()
    emit(tables.laid_out(page(problem, index, (first, second), (ours, theirs), sample is None, columns), columns))


def _not_shared(problem: str, first: Measured, second: Measured, ours: bool, theirs: bool) -> str:
    known = sorted(first.evaluation.answers.keys() & second.evaluation.answers.keys())
    if ours or theirs:
        return f"`{problem}` was answered by {(first if ours else second).label} only"
    few = ", ".join(f"`{name}`" for name in known[:5])
    return f"--problem {problem}: no such problem.{nearest(problem, known)} There are {len(known)}, such as {few}"


def _values(side: Measured, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": side.label, "run": side.evaluation.run.id, "step": side.evaluation.step, **row}
