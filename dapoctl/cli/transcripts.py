"""The responses of two runs to one problem, side by side, with the place where they part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from dapoctl.cli import pages
from dapoctl.cli.output import emit, emit_json, one_line, plain, width
from dapoctl.errors import UserError, nearest
from dapoctl.evaluation.compare.badges import divergence
from dapoctl.evaluation.stored import responses

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.evaluation.compare.comparison import Comparison, Measured

MARK = "▶"
"""Stands before the first character that differs"""
Responses = Mapping[int, Mapping[str, Any]]


def show(found: Comparison, problem: str, sample: int | None, json: bool) -> None:
    """Print the responses of the baseline and of the first other run to `problem`.

    Raises:
        UserError: they share no such problem, or no such sample.
    """
    first, second = found.sides[:2]
    ours, theirs = (responses(side.evaluation, problem) for side in (first, second))
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise UserError(_nowhere(problem, first, second, bool(ours), bool(theirs)))
    if sample is not None and sample not in both:
        raise UserError(f"--sample {sample}: `{problem}` has responses {both[0]} to {both[-1]} on both sides")
    place = telling(both, ours, theirs) if sample is None else sample
    if json:
        sides = [_values(side, each[place]) for side, each in ((first, ours), (second, theirs))]
        apart = divergence(str(ours[place]["response"]), str(theirs[place]["response"]))
        emit_json({"problem": problem, "sample": place, "divergence": apart, "responses": sides})
        return
    columns = width()
    emit(pages.laid_out(page(problem, place, (first, second), (ours, theirs), sample is None, columns), columns))


def _nowhere(problem: str, first: Measured, second: Measured, ours: bool, theirs: bool) -> str:
    known = sorted(first.evaluation.answers.keys() & second.evaluation.answers.keys())
    if ours or theirs:
        return f"`{problem}` was answered by {(first if ours else second).label} only"
    few = ", ".join(f"`{name}`" for name in known[:5])
    return f"--problem {problem}: no such problem.{nearest(problem, known)} There are {len(known)}, such as {few}"


def telling(both: list[int], ours: Responses, theirs: Responses) -> int:
    """The first response that one side has right and the other has not, else the first."""
    return next((place for place in both if ours[place]["correct"] != theirs[place]["correct"]), both[0])


def _values(side: Measured, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": side.label, "run": side.evaluation.run.id, "step": side.evaluation.step, **row}


def page(
    problem: str,
    place: int,
    sides: tuple[Measured, Measured],
    found: tuple[Responses, Responses],
    chosen: bool,
    columns: int,
) -> Iterator[RenderableType]:
    """The problem, its answer, and both responses beside each other."""
    rows = [each[place] for each in found]
    yield pages.text(f"problem {problem}", "bold")
    yield Text(plain(str(rows[0]["prompt"])).strip())
    if rows[0]["prompt"] != rows[1]["prompt"]:
        yield pages.text(f"{sides[1].label} was asked in other words:", "yellow")
        yield Text(plain(str(rows[1]["prompt"])).strip())
    yield Text.assemble(("\nanswer ", "bold"), one_line(str(rows[0]["answer"])))
    last = max(max(each) for each in found)
    why = "; the first on which they disagree" if chosen and rows[0]["correct"] != rows[1]["correct"] else ""
    yield pages.note(f"response {place} of 0 to {last}{why}; --sample N shows another. {MARK} marks where they part")
    yield Text()
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=columns < pages.WIDEST, show_header=False)
    for _ in rows:
        grid.add_column(ratio=1, overflow="fold", max_width=pages.READABLE)
    room = min(columns // 2 - 6, pages.READABLE)
    grid.add_row(*(_head(side, each, row, room) for side, each, row in zip(sides, found, rows, strict=True)))
    texts = [str(row["response"]) for row in rows]
    apart = divergence(texts[0], texts[1])
    grid.add_row(*(_marked(text, apart, texts[0] == texts[1]) for text in texts))
    yield grid


def _head(side: Measured, each: Responses, row: Mapping[str, Any], room: int) -> Text:
    name = one_line(side.evaluation.name)
    name = name if len(name) <= room else f"…{name[1 - room :]}"
    right = sum(bool(other["correct"]) for other in each.values())
    extracted = "no answer found" if row["extracted"] is None else f"answer {one_line(str(row['extracted']))}"
    cut = ", cut off" if row["truncated"] else ""
    good = "green" if row["correct"] else "red"
    return Text.assemble(
        (f"{side.label}  {name}\n", "bold"),
        (one_line(str(row["outcome"])), good),
        f": {extracted}\n{pages.count(float(row['tokens']))} tokens{cut}; {right} of {len(each)} right\n",
    )


def _marked(words: str, apart: int, same: bool) -> Text:
    """The response; what both share is dim, and a mark stands where they part."""
    if same:
        return Text(f"{plain(words)}\n(the same text)")
    return Text.assemble((plain(words[:apart]), "dim"), (MARK, "bold reverse"), plain(words[apart:]))
