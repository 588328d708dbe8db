"""Ablation: which component matters?"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import BindingType

from dapoctl.evaluation.compare.ablation import Row
from dapoctl.tui.ablation.model import Gap
from dapoctl.tui.ablation.table_screen import AblationTable
from dapoctl.tui.actions.evaluations import evaluate_runs, options_like, usual_options
from dapoctl.tui.compare.choices import as_json, ask_set, export
from dapoctl.tui.keys import key
from dapoctl.tui.messages import CompareRuns, LaunchFrom, OpenRun
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views import ablation


class AblationScreen(AblationTable):
    """The table with its keys."""

    HEADING = "Ablation"
    QUESTION = (
        "Which component matters? Sets of components against a baseline; enter on one that was not run launches it."
    )
    SCOPED_CSS = False
    CSS = """
    AblationScreen #ablation-head { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    AblationScreen Grid { height: auto; max-height: 60%; }
    AblationScreen #row { height: 1fr; margin: 1 0 0 0; }
    AblationScreen.-short #row { margin: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("b", "baseline", "Baseline", "ablation.baseline"),
        key("t", "set", "Set", "ablation.set"),
        key("m", "marked", "Marked or all", "ablation.marked"),
        key("e", "evaluate", "Evaluate", "ablation.evaluate"),
        key("X", "export", "Export", "ablation.export"),
    ]

    # Keys.

    @on(VirtualList.Chosen)
    def _row_chosen(self) -> None:
        """Compare the row with the baseline; go to a run that goes on; launch what nobody ran."""
        table, current = self.table, self.current()
        if table is None or table.baseline is None or table.ablation is None:
            return
        if isinstance(current, Gap):
            if current.run is not None:
                self.post_message(OpenRun(current.run.id))
            else:
                changes = {"plugins": list(current.plugins), **current.parameters}
                self.post_message(LaunchFrom(table.baseline.run.id, changes))
        elif current is not None:
            others = [each.name for each in current.arm.evaluations if each.name != table.baseline.name]
            self.post_message(CompareRuns([table.baseline.name, *others], table.set))

    def action_baseline(self) -> None:
        current = self.current()
        if isinstance(current, Row):
            self.session.baseline = current.arm.first.run.id
            self.grid.rows.cursor = 0
            self._load()

    def action_set(self) -> None:
        if self.table is not None:
            ask_set(self, self.table.sets, self.table.set, len(self._ids), self._take_set)

    def _take_set(self, set_: str) -> None:
        self.set = set_
        self._load()

    def action_marked(self) -> None:
        if not self.only_marked and not self.session.marked:
            self.app.notify("no run is marked: space marks them on Runs", severity="warning", markup=False)
            return
        self.only_marked = not self.only_marked
        self._load()

    def action_evaluate(self) -> None:
        """The run under the cursor that lacks an evaluation, or every finished one of the table that does."""
        table, current = self.table, self.current()
        if table is None:
            return
        runs = self._runs()
        if isinstance(current, Gap) and current.run is not None:
            chosen = [current.run]
        else:
            there = {path.split("/evals/")[0] for path, _, _ in table.stamps}
            chosen = [run for run in runs if str(run.directory) not in there and run.state not in ("queued",)]
        if not chosen:
            self.app.notify("every run here was evaluated on this set", markup=False)
            return
        options = options_like(table.baseline) if table.baseline else usual_options(chosen[0])
        evaluate_runs(self, [run.id for run in chosen], options, self._take_set)

    def action_export(self) -> None:
        found = self.table.ablation if self.table else None
        if found is not None:
            texts = {
                "md": lambda: ablation.ablation_markdown(found),
                "csv": lambda: ablation.ablation_csv(found),
                "json": lambda: as_json(ablation.ablation_values(found)),
            }
            export(self, f"ablation-{found.set}", texts)
