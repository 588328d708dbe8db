"""What a run is called, how it stands, and `runs show` and `runs diff` as lines of text."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dapoctl.runs.plugin_changes import agreed
from dapoctl.runs.summary import RunSummary
from dapoctl.views.metrics import is_held_out
from dapoctl.views.numbers import number
from dapoctl.views.profile import profile_place
from dapoctl.views.text import line, one_line

if TYPE_CHECKING:
    from dapoctl.runs.difference import Difference
    from dapoctl.runs.summary import RunSummary


NOBODY = "no process waits with them"


def watched_words(pid: int | None, may_start: bool) -> str:
    """Who starts the runs of a queue; empty where none of them can start on this machine.

    Args:
        pid: of the process that waits with them, if there is one
        may_start: whether a run waits that can start here
    """
    if pid is not None:
        return f"PID {pid} waits with them, and starts each when its turn comes"
    return NOBODY if may_start else ""


def run_page(summary: RunSummary, outlived: str = "") -> list[str]:
    """Everything about a run that fits a screen; `outlived` are words about processes that are still there."""
    if summary.problem:
        return [one_line(summary.id)]
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.created))
    model = summary.spec.get("config", {}).get("model", {}).get("path", "")
    facts = {
        "state": f"{summary.state}, step {summary.step} of {summary.steps}",
        "why": summary.why,
        "left over": outlived and f"{outlived}; `dapoctl runs stop {summary.id}` ends them",
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


def held_out(metrics: Mapping[str, float], set_: str) -> float | None:
    """The run's accuracy on a held-out set: its avg@k of the largest k; None where it was not evaluated on it."""
    of_set = {k: name for name, each, k in _held_out(metrics) if each == set_}
    return float(metrics[of_set[max(of_set)]]) if of_set else None


def held_out_sets(runs: Iterable[RunSummary]) -> list[str]:
    """The sets that the runs were evaluated on, the one that most of them have first."""
    sets = Counter(set_ for run in runs for set_ in {set_ for _, set_, _ in _held_out(run.metrics)})
    return sorted(sets, key=lambda set_: (-sets[set_], set_))


def _held_out(metrics: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    """(metric, set, k) of each avg@k, such as `eval/aime24/avg@32`."""
    for name in metrics:
        if name.startswith("eval/") and is_held_out(name):
            set_, _, figure = name.removeprefix("eval/").rpartition("/")
            yield name, set_, int(figure.removeprefix("avg@"))
