"""The responses of two runs to one problem, side by side, with the place where they part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from dapoctl.evaluation.compare.badges import divergence
from dapoctl.views import numbers, tables
from dapoctl.views.text import one_line, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.evaluation.compare.comparison import Measured

MARK = "▶"
"""Stands before the first character that differs"""
Responses = Mapping[int, Mapping[str, Any]]


def first_disagreement(shared: list[int], ours: Responses, theirs: Responses) -> int:
    """The first response that one side has right and the other has not, else the first."""
    return next((index for index in shared if ours[index]["correct"] != theirs[index]["correct"]), shared[0])


def page(
    problem: str,
    index: int,
    sides: tuple[Measured, Measured],
    responses: tuple[Responses, Responses],
    chosen: bool,
    columns: int,
) -> Iterator[RenderableType]:
    """The problem, its answer, and both responses beside each other."""
    rows = [of_side[index] for of_side in responses]
    yield tables.text(f"problem {problem}", "bold")
    yield Text(plain(str(rows[0]["prompt"])).strip())
    if rows[0]["prompt"] != rows[1]["prompt"]:
        yield tables.text(f"{sides[1].label} was asked in other words:", "yellow")
        yield Text(plain(str(rows[1]["prompt"])).strip())
    yield Text.assemble(("\nanswer ", "bold"), one_line(str(rows[0]["answer"])))
    last = max(map(max, responses))
    why = "; the first on which they disagree" if chosen and rows[0]["correct"] != rows[1]["correct"] else ""
    yield tables.note(f"response {index} of 0 to {last}{why}; --sample N shows another. {MARK} marks where they part")
    yield Text()
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=columns < tables.WIDEST, show_header=False)
    for _ in rows:
        grid.add_column(ratio=1, overflow="fold", max_width=tables.READABLE)
    room = min(columns // 2 - 6, tables.READABLE)
    grid.add_row(*(_head(side, of_side, row, room) for side, of_side, row in zip(sides, responses, rows, strict=True)))
    texts = [str(row["response"]) for row in rows]
    shared = divergence(texts[0], texts[1])
    grid.add_row(*(_marked(text, shared, texts[0] == texts[1]) for text in texts))
    yield grid


def _head(side: Measured, responses: Responses, row: Mapping[str, Any], room: int) -> Text:
    name = one_line(side.evaluation.name)
    name = name if len(name) <= room else f"…{name[1 - room :]}"
    right = sum(bool(response["correct"]) for response in responses.values())
    extracted = "no answer found" if row["extracted"] is None else f"answer {one_line(str(row['extracted']))}"
    cut = ", truncated" if row["truncated"] else ""
    good = "green" if row["correct"] else "red"
    return Text.assemble(
        (f"{side.label}  {name}\n", "bold"),
        (one_line(str(row["outcome"])), good),
        f": {extracted}\n{numbers.count(float(row['tokens']))} tokens{cut}; {right} of {len(responses)} right\n",
    )


def _marked(response: str, shared: int, same: bool) -> Text:
    """The response; its first `shared` characters are dim, and a mark stands where the other one differs."""
    if same:
        return Text(f"{plain(response)}\n(the same text)")
    return Text.assemble((plain(response[:shared]), "dim"), (MARK, "bold reverse"), plain(response[shared:]))
