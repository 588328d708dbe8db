"""What the completion probe found: for the terminal, for programs, and in a study's report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from dapoctl.evaluation.contamination.probe import Probe

SHOWN = 8


def page(facts: Mapping[str, Any], found: Probe) -> Iterator[str]:
    """The counts, and examples."""
    exact, all_ = found.exact, len(found.completed)
    low, high = interval(len(exact), all_)
    yield f"{facts['set']}: {one_line(str(facts['model']))}, step {facts['step']}, {facts['share']:.0%} of each question given"
    yield ""
    yield f"  completed word for word  {len(exact)} of {all_}, {len(exact) / all_:.1%} [{low:.1%}, {high:.1%}]"
    yield f"  ROUGE-L of the rest      {found.rouge_l:.2f}"
    if found.left_out:
        yield f"  left out                 {found.left_out} whose rest is too short to say anything, or too long for the model"
    if exact:
        yield f"  completed                {', '.join(exact[:SHOWN])}{', ...' if len(exact) > SHOWN else ''}"
        first = next(each for each in found.completed if each.exact)
        yield f"  such as                  {one_line(first.rest)[:200]}"


def values(found: Probe) -> dict[str, Any]:
    """For programs."""
    low, high = interval(len(found.exact), len(found.completed))
    return {
        "problems": len(found.completed),
        "left_out": found.left_out,
        "exact": len(found.exact),
        "exact_share": len(found.exact) / len(found.completed),
        "low": low,
        "high": high,
        "rouge_l": found.rouge_l,
        "completed": found.exact,
    }


def sentences(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(model, set, what was found) of each row that `study probe` stored."""
    for row in rows:
        if "refused" in row:
            yield str(row["model"]), str(row["set"]), f"not probed: {row['refused']}"
            continue
        exact, all_ = len(row["completed"]), row["problems"]
        low, high = interval(exact, all_)
        yield (
            str(row["model"]),
            str(row["set"]),
            f"{exact} of {all_} questions, {exact / all_:.1%} [{low:.1%}, {high:.1%}], are completed word for word after the"
            f" first {row['share']:.0%}; ROUGE-L of the rest {row['rouge_l']:.2f}",
        )


def interval(count: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95% interval of a share."""
    from scipy.stats import binomtest

    ends = binomtest(count, of).proportion_ci(0.95, "exact")
    return float(ends.low), float(ends.high)
