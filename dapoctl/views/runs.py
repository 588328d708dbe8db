"""What a run is called, how it stands, and `runs show` and `runs diff` as lines of text."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dapoctl.runs.plugin_changes import agreed
from dapoctl.runs.summary import RunSummary
from dapoctl.views.metrics import is_held_out, title
from dapoctl.views.numbers import number, percent
from dapoctl.views.profile import profile_place
from dapoctl.views.text import line, one_line

if TYPE_CHECKING:
    from dapoctl.runs.difference import Difference
    from dapoctl.runs.summary import RunSummary


def run_page(summary: RunSummary) -> list[str]:
    """Everything about a run that fits a screen."""
    if summary.problem:
        return [one_line(summary.id)]
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.created))
    model = summary.spec.get("config", {}).get("model", {}).get("path", "")
    facts = {
        "state": f"{summary.state}, step {summary.step} of {summary.steps}",
        "why": summary.why,
        "created": created,
        "model": str(model),
        "components": ", ".join(summary.components),
        "changed": ", ".join(_changed(change) for change in agreed(summary.directory)),
        "sweep": summary.group,
        "tags": ", ".join(summary.tags),
        "note": summary.note,
        "directory": str(summary.directory),
        "profile": profile_place(summary.directory),
    }
    lines = [one_line(summary.id), *(f"  {key:<12}{one_line(value)}" for key, value in facts.items() if value)]
    if summary.metrics:
        size = max(len(name) for name in summary.metrics)
        lines += ["", "last metrics"]
        lines += [
            f"  {one_line(name):<{size}}  {number(float(value)):>9}" for name, value in sorted(summary.metrics.items())
        ]
    if summary.state in ("stopped", "failed", "lost") and summary.step < summary.steps:
        lines += ["", f"resume with: dapoctl runs resume {one_line(summary.id)}"]
    return lines


def _changed(change: Mapping[str, Any]) -> str:
    return f"{change.get('component')} ({change.get('file')}) after step {change.get('step')}"


def diff_lines(first: str, second: str, found: Difference) -> list[str]:
    """How two runs differ, as text."""
    lines = [f"- {one_line(first)}", f"+ {one_line(second)}"]
    if found.nothing:
        return [*lines, "no difference"]
    if found.only_first or found.only_second:
        lines += ["", "components"]
        lines += [f"  - {one_line(name)}" for name in found.only_first]
        lines += [f"  + {one_line(name)}" for name in found.only_second]
    for heading, rows in (("configuration", found.keys), ("made with", found.versions)):
        if rows:
            size = max(len(key) for key in rows)
            lines += ["", heading]
            lines += [f"  {one_line(key):<{size}}  {one_line(f'{a} -> {b}')}" for key, (a, b) in rows.items()]
    return lines


GLYPHS = {
    "queued": "◌",
    "starting": "◔",
    "running": "●",
    "stopping": "◑",
    "stalled": "▲",
    "finished": "✓",
    "failed": "✗",
    "stopped": "■",
    "lost": "?",
    "unreadable": "!",
}

COLOURS = {
    "running": "green",
    "starting": "green",
    "stopping": "yellow",
    "stalled": "yellow",
    "failed": "red",
    "lost": "red",
    "unreadable": "red",
    "queued": "cyan",
    "finished": "",
    "stopped": "dim",
}


def state_of(run: RunSummary) -> str:
    """The run's state, or `unreadable`."""
    return "unreadable" if run.problem else run.state


def state_text(run: RunSummary) -> str:
    """Glyph and word: colour alone tells nothing to some eyes and some terminals."""
    state = state_of(run)
    return f"{GLYPHS.get(state, '·')} {state}"


def changes(run: RunSummary) -> str:
    """What sets the run apart: what was added to or left out of the usual recipe, another recipe, or the model of a bare
    evaluation."""
    if run.problem:
        return line(run.problem)
    config = run.config
    if run.steps == 0:
        return f"eval of {line(str(config.get('model', {}).get('path', 'a model')))}"
    plugins = [str(name).rpartition("/")[2] for name in config.get("plugins") or []]
    recipe = str(config.get("recipe", ""))
    usual = recipe == _usual_recipe()
    return line(",".join(plugins if plugins and usual else [recipe, *plugins]))


@functools.cache
def _usual_recipe() -> str:
    # Imported when it is needed: the first screen is up before it.
    from dapoctl.config.schema import RunConfig

    return str(RunConfig.model_fields["recipe"].default)


def called(run: RunSummary) -> str:
    """The run's name with the four characters that tell it from its namesakes."""
    tail = run.id.rpartition("-")[2]
    return line(f"{run.name} {tail}" if run.name and run.name != run.id else run.id)


def held_out(metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """(title, value) of the run's first held-out accuracy."""
    return next(((title(name), value) for name, value in metrics.items() if is_held_out(name)), None)


def held_out_text(metrics: Mapping[str, float]) -> str:
    """`45.3%`, or nothing."""
    figure = held_out(metrics)
    return percent(float(figure[1])) if figure else ""
