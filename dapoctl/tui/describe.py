"""Runs in the words and signs of the screens."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

from dapoctl.cli.figures import duration, number, percent
from dapoctl.cli.progress import is_held_out, spoken
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.text import line

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
DAY = 86400
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
    """(spoken name, value) of the run's first held-out accuracy."""
    return next(((spoken(name), value) for name, value in metrics.items() if is_held_out(name)), None)


def held_out_text(metrics: Mapping[str, float]) -> str:
    """`45.3%`, or nothing."""
    found = held_out(metrics)
    return percent(found[1]) if found else ""


def age(moment: float, now: float | None = None) -> str:
    """How long ago, in one short word: `12s`, `5m`, `3h`, `2d`."""
    if moment <= 0:
        return ""
    seconds = max(0.0, (time.time() if now is None else now) - moment)
    for size, unit in ((DAY, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def left(seconds: float | None) -> str:
    """Time left, or nothing where it is not known."""
    if seconds is None:
        return ""
    return duration(seconds) if seconds < DAY else f"{seconds // DAY:.0f}d {seconds % DAY // 3600:.0f}h"


def figure(name: str, value: float) -> str:
    """A metric's value as people write it: shares in percent."""
    share = is_held_out(name) or name.endswith(("_fraction", "/accuracy", "all_wrong", "all_right"))
    return percent(value) if share else number(value)
