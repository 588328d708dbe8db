"""A table's columns are defined once: what is added to the list is in every rendering, and only there."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.text import Text

from dapoctl.evaluation.compare.ablation import ablate
from dapoctl.evaluation.compare.comparison import Comparison, compare
from dapoctl.tui.compare import run_rows
from dapoctl.tui.compare.model import Shelf, fetch
from dapoctl.views import ablation, columns, comparison_table, tables
from dapoctl.views.columns import Column, Place, columns_in
from dapoctl.views.comparison import page
from dapoctl.views.comparison_export import comparison_csv, comparison_markdown, comparison_values
from dapoctl.views.comparison_table import SideRow
from tests.support.evaluations import counted, evaluate, make_run, rows_of

ADDED: Column[SideRow] = Column(
    key="best",
    title="best of",
    part="run",
    value=lambda row: len(row.side.label),
    text=lambda row: f"<{row.side.label}>",
)
"""One line, as somebody would add it to `comparison_table._columns`"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    evaluate(make_run(tmp_path, "20260101-000000-x-aaaa"), rows_of(counted([0, 1, 2]), 4))
    other = make_run(tmp_path, "20260102-000000-x-bbbb", pipeline={"grpo": {}, "wider": {}})
    evaluate(other, rows_of(counted([1, 1, 4]), 4))
    return tmp_path


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    own = comparison_table._columns
    monkeypatch.setattr(comparison_table, "_columns", lambda **titles: [*own(**titles), ADDED])


def compared(root: Path) -> Comparison:
    return compare(root, ["aaaa", "bbbb"], "aime24")


@pytest.mark.usefixtures("added")
def test_a_column_added_to_the_comparison_is_in_every_rendering(root: Path) -> None:
    found = compared(root)
    text = tables.laid_out(page(found, found.matrix, 5, 160), 160)
    assert "best of" in text
    assert "<B>" in text
    assert "best of |\n" in comparison_markdown(found, [])
    assert [row["best"] for row in csv.DictReader(io.StringIO(comparison_csv(found)))] == ["1", "1"]
    assert [run["best"] for run in comparison_values(found, [])["runs"]] == [1, 1]
    assert [column.title for column in run_rows.columns_of(found)].count("best of") == 1
    cells, _ = run_rows.rows_of(fetch(Shelf(), root, ["aaaa", "bbbb"], "aime24"))
    assert [[cell.plain for cell in row].count(f"<{label}>") for row, label in zip(cells, "AB", strict=True)] == [1, 1]


def test_every_row_has_a_cell_for_every_title(root: Path) -> None:
    found = compared(root)
    evaluations = [side.evaluation for side in found.sides]
    table = ablate(evaluations, evaluations[0], "aime24", [])
    for shown, rows in (
        (comparison_table.columns_of(found), comparison_table.rows_of(found)),
        (ablation.columns_of(table), ablation.rows_of(table)),
    ):
        for row in rows:
            assert len(columns.grid_cells(shown, row)) == len(columns_in(shown, Place.GRID))


def test_places_are_those_that_a_column_has_something_for() -> None:
    people: Column[str] = Column(key="a", text=str)
    programs: Column[str] = Column(key="b", value=len)
    chosen: Column[str] = Column(key="c", text=str, value=len, places=Place.GRID | Place.CSV)
    shown = {place.name: [column.key for column in columns_in([people, programs, chosen], place)] for place in Place}
    assert shown["TERMINAL"] == shown["MARKDOWN"] == ["a"]
    assert (shown["GRID"], shown["CSV"], shown["JSON"]) == (["a", "c"], ["b", "c"], ["b"])


def test_a_grid_may_have_another_order() -> None:
    late: Column[str] = Column(key="late", text=str, grid_order=1)
    early: Column[str] = Column(key="early", text=str)
    assert [column.key for column in columns_in([late, early], Place.GRID)] == ["early", "late"]
    assert [column.key for column in columns_in([late, early], Place.TERMINAL)] == ["late", "early"]


def size(row: str) -> str:
    return str(len(row))


def test_the_same_rows_for_people_and_programs() -> None:
    shown: list[Column[str]] = [
        Column(key="name", title="name", value=str, text=str, right=False, escape=True),
        Column(
            key="length",
            title="length",
            titles={Place.MARKDOWN: "size"},
            value=len,
            text=lambda row: str(len(row)),
            since=20,
        ),
        Column(key="inner", value=len, part="other", places=Place.JSON),
    ]
    rows = ["a|b", "[red]x\ny"]
    assert columns.markdown(shown, rows) == "| name | size |\n|---|---:|\n| a\\|b | 3 |\n| \\[red\\]x y | 8 |"
    assert columns.csv(shown, rows) == "name,length\na|b,3\n[red]x y,8"
    assert columns.record(shown, "a|b") == {"name": "a|b", "length": 3}
    assert columns.record(shown, "a|b", "other") == {"inner": 3}
    assert columns.lines(shown, rows) == ["NAME      LENGTH", "a|b       3", "[red]x y  8"]
    wide, narrow = (tables.laid_out([columns.terminal_table(shown, rows, width)], width) for width in (20, 19))
    assert wide.split("\n") == ["name      length", "a|b            3", "[red]x y       8"]
    assert narrow.split("\n") == ["name", "a|b", "[red]x y"]


def test_a_styled_text_stays_as_it_is() -> None:
    made: Column[str] = Column(key="a", text=lambda row: Text(row, "bold"), style=lambda _row: "red")
    plain: Column[str] = Column(key="a", text=str, style=lambda _row: "red")
    assert (made.cell("x").style, plain.cell("x").style) == ("bold", "red")


def test_sizes_that_do_not_depend_on_cells() -> None:
    column: Column[str] = Column(key="a", text=str, sizes={50: 6, 100: 0})
    assert [column.size_in(width) for width in (49, 50, 99, 100)] == [-1, 6, 6, 0]
