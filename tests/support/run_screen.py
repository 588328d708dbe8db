"""Runs that the trainer made, for tests of the screen of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dapoctl.runs.files import read_lines
from dapoctl.tui.run import RunScreen
from tests.support.tui import View


def runs_of(root: Path) -> list[Path]:
    """The run with a penalty over the vocabulary, and the other."""
    first, second = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [first, second] if "gkl" in first.name else [second, first]


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "metrics.jsonl") if "metrics" in row]


def add_metrics(run: Path, rows: list[dict[str, Any]]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


async def open_tab(view: View, run: Path, tab: str = "charts") -> RunScreen:
    view.app.open_run(run.name, tab)
    screen: RunScreen | None = None
    while screen is None or screen.pane is None:
        await view.pilot.pause(0.02)
        screen = view.app.screen if isinstance(view.app.screen, RunScreen) else None
    return screen


def pane_of(view: View, kind: type[Any]) -> Any:
    return view.app.screen.query_one(kind)


def log_of(run: Path, attempt: int = 1) -> Path:
    return run / "attempts" / str(attempt) / "stdout.log"


def samples_of(run: Path, step: int) -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "samples" / f"step_{step}.jsonl") if "schema" not in row]
