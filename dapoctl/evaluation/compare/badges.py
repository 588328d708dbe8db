"""Differences in how two compared evaluations were made: one badge for each, and one for what is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dapoctl.evaluation.stored import Evaluation

SETTINGS = {
    "template": "template",
    "temperature": "temperature",
    "top_p": "top_p",
    "scorer": "scorer",
    "max_tokens": "token limit",
    "engine": "engine",
}
"""Keys of the protocol that are compared by value, and the kinds of their badges"""


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def label(index: int) -> str:
    """A, B, ... Z, A2, B2, ...: the label of a comparison's run."""
    turn, letter = divmod(index, len(ALPHABET))
    return ALPHABET[letter] + (str(turn + 1) if turn else "")


@dataclass(frozen=True)
class Badge:
    """One difference between two evaluations."""

    kind: str
    """prompt, k, set, step, untrained, incomplete, unasked, unknown, or one of the values of `SETTINGS`"""
    words: str
    """The first's and the second's value, or what was found"""


def badges(first: Evaluation, second: Evaluation, labels: tuple[str, str] = ("A", "B")) -> list[Badge]:
    """Every difference in how the two were made, other than the models; `labels` name the two in `words`."""
    unlike, unknown = [], []
    for key, kind in SETTINGS.items():
        ours, theirs = _setting(first, key), _setting(second, key)
        if ours is None or theirs is None or (ours == theirs == UNRESOLVED and first.model != second.model):
            unknown.append(kind)
        elif ours != theirs:
            unlike.append(Badge(kind, f"{_text(ours)} / {_text(theirs)}"))
    if first.k != second.k:
        unlike.append(Badge("k", f"{first.k} / {second.k}"))
    if (badge := _step(first, second, labels)) is not None:
        unlike.append(badge)
    for check in (_rule, _prompt, _set):
        badge = check(first, second)
        if badge is not None and badge.kind == "unknown":
            unknown.append(badge.words)
        elif badge is not None:
            unlike.append(badge)
    for evaluation, label in zip((first, second), labels, strict=True):
        if not evaluation.complete:
            words = f"{label} has {len(evaluation.scores)} of {evaluation.expected} problems"
            unlike.append(Badge("incomplete", words))
        unasked = evaluation.summary.get("unasked")
        if isinstance(unasked, int) and unasked > 0:
            unlike.append(Badge("unasked", f"{label} had no room for {unasked} prompts, which count as wrong"))
    if unknown:
        sides = [label for side, label in zip((first, second), labels, strict=True) if not side.protocol]
        of = f" of {' and '.join(sides)}" if sides else ""
        unlike.append(Badge("unknown", f"{', '.join(unknown)}{of}"))
    return unlike


UNRESOLVED = "auto"
"""A template that depends on the model, of evaluations that do not record what it came to"""


def _setting(evaluation: Evaluation, key: str) -> Any:
    return evaluation.template if key == "template" else evaluation.protocol.get(key)


def _step(first: Evaluation, second: Evaluation, labels: tuple[str, str]) -> Badge | None:
    """Two runs' checkpoints should be of the same step; of one run, the step is what is compared."""
    if first.step == second.step or first.run.id == second.run.id or not (first.of_run and second.of_run):
        return None
    untrained = [label for side, label in zip((first, second), labels, strict=True) if side.step == 0]
    if untrained:
        return Badge("untrained", f"{untrained[0]} is at step 0, before its training")
    return Badge("step", f"{first.step} / {second.step}")


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _rule(first: Evaluation, second: Evaluation) -> Badge | None:
    """`math` once took unmarked answers, and did not yet say which answers are marked."""
    if not first.protocol.get("scorer") == second.protocol.get("scorer") == "math":
        return None
    since = [
        "math" if any(row.get("marked") is not None for row in side.rows) else "math_lenient"
        for side in (first, second)
    ]
    return None if since[0] == since[1] else Badge("scorer", f"{since[0]} / {since[1]} (as `math` was then called)")


def _prompt(first: Evaluation, second: Evaluation) -> Badge | None:
    """Compare the instructions if both are known, else (and for tasks with prompts of their own) the prompts themselves."""
    ours, theirs = first.protocol.get("instruction"), second.protocol.get("instruction")
    if isinstance(ours, str) and isinstance(theirs, str) and (ours or theirs):
        return None if ours == theirs else Badge("prompt", _excerpts(ours, theirs))
    both = shared(first, second)
    apart = [name for name in both if first.prompts[name] != second.prompts[name]]
    if apart:
        words = _excerpts(first.prompts[apart[0]], second.prompts[apart[0]])
        return Badge("prompt", f"of {len(apart)} of {len(both)} problems, such as {words}")
    return None if both else Badge("unknown", "prompt")


PIECE = 24
"""Characters shown of each of two texts, from where they diverge"""


def _excerpts(first: str, second: str) -> str:
    position = divergence(first, second)
    begin = max(0, position - PIECE // 3)
    pieces = [repr(text[begin : begin + PIECE])[1:-1] for text in (first, second)]
    ahead = "..." if begin else ""
    return " / ".join(f'"{ahead}{piece}"' for piece in pieces)


def divergence(first: str, second: str) -> int:
    """The length of the common prefix of two texts, in characters."""
    return next(
        (index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _set(first: Evaluation, second: Evaluation) -> Badge | None:
    """Compare the hashes of the problems if both are known, else their ids and answers."""
    ours, theirs = first.data.get("sha256"), second.data.get("sha256")
    if ours and ours == theirs:
        return None
    names, others = ids(first), ids(second)
    both = len(names & others)
    other = [name for name in shared(first, second) if first.answers[name] != second.answers[name]]
    facts = [f"{both} problems shared of {len(names)} / {len(others)}"]
    if other:
        facts.append(f"{len(other)} of them with another answer, left out")
    if ours and theirs:
        return Badge("set", f"hash {str(ours)[:8]} / {str(theirs)[:8]}, {'; '.join(facts)}")
    return Badge("set", "; ".join(facts)) if other or names != others else Badge("unknown", "set hash")


def ids(evaluation: Evaluation) -> set[str]:
    """The evaluation's problems: those listed in its summary, else those with a response."""
    listed = evaluation.data.get("ids")
    return {str(name) for name in listed} if isinstance(listed, list) and listed else set(evaluation.answers)


def shared(first: Evaluation, second: Evaluation) -> Sequence[str]:
    """Problems with responses on both sides, sorted."""
    return sorted(first.answers.keys() & second.answers.keys())
