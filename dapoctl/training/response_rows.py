"""A response's row in `samples/step_N.jsonl`, made when the step's batch is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dapoctl.batch import Batch


def notes_of(batch: Batch, round_: int) -> list[dict[str, Any]]:
    """What is known of each response [B] of a sampling round once it is scored and shaped; never changed afterwards."""
    terms = {name: term.tolist() for name, term in batch.terms.items()}
    columns = zip(
        batch.groups.tolist(),
        batch.texts,
        batch.lengths.tolist(),
        batch.truncated.tolist(),
        batch.verdicts,
        batch.scores.tolist(),
        batch.correct.tolist(),
        batch.rewards.tolist(),
        strict=True,
    )
    return [
        {
            "step": batch.step,
            "round": round_,
            "problem": batch.problems[group].id,
            "prompt": batch.problems[group].prompt,
            "answer": batch.problems[group].answer,
            "response": text,
            "tokens": tokens,
            "truncated": truncated,
            "outcome": verdict.outcome,
            "extracted": verdict.extracted,
            "score": score,
            "correct": correct,
            "terms": {name: values[row] for name, values in terms.items()},
            "reward": reward,
        }
        for row, (group, text, tokens, truncated, verdict, score, correct, reward) in enumerate(columns)
    ]


@dataclass
class Sampled:
    """The responses that a step sampled, round by round."""

    set_aside: str = ""
    """Why responses whose group passed the filters are not trained on in this step, if any are not"""
    _rounds: list[tuple[list[dict[str, Any]], list[str]]] = field(default_factory=list)

    def add(self, batch: Batch, dropped_by: Sequence[str]) -> None:
        """A round's responses, with the filter that dropped each group [P]; empty for a group that passed."""
        self._rounds.append((batch.notes, [dropped_by[group] for group in batch.groups.tolist()]))

    @property
    def tokens(self) -> int:
        """How many there are in all responses."""
        return sum(note["tokens"] for notes, _ in self._rounds for note in notes)

    def rows(self, trained: Batch | None) -> list[dict[str, Any]]:
        """What is written of every response: those of this step as they were sampled, then older ones that it trained on.

        Args:
            trained: the step's batch with advantages; None for a step that trained on nothing
        """
        trained_on = [] if trained is None else _trained(trained)
        older = [row for row, fresh in trained_on if not fresh]
        waiting = iter([row for row, fresh in trained_on if fresh])
        rows: list[dict[str, Any]] = []
        for notes, dropped_by in self._rounds:
            for note, dropped in zip(notes, dropped_by, strict=True):
                # The batch took the groups that passed in the order of sampling, until it was full; the rest is set aside.
                row = _row(note, kept=False, dropped_by=dropped) if dropped else next(waiting, None)
                rows.append(row or _row(note, kept=True, dropped_by=self.set_aside))
        return rows + older


def _trained(batch: Batch) -> list[tuple[dict[str, Any], bool]]:
    """(row, whether it was sampled in this step) for each response of a batch with advantages."""
    assert batch.advantages is not None
    columns = zip(batch.notes, batch.advantages[:, 0].tolist(), batch.mask.any(dim=1).tolist(), strict=True)
    return [
        (_row(note, kept=True, advantage=value) | {"masked": not counts}, note["step"] == batch.step)
        for note, value, counts in columns
    ]


def _row(
    note: dict[str, Any], *, kept: bool, dropped_by: str | None = None, advantage: float | None = None
) -> dict[str, Any]:
    return {**note, "kept": kept, "dropped_by": dropped_by, "advantage": advantage}
