"""What the launch screen says about a choice: whether it can run, what it consists of, how it differs from its origin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from dapoctl import hookspecs
from dapoctl.runs.difference import Difference
from dapoctl.tui.launch.fit import Fit
from dapoctl.tui.launch.form.texts import show_plain
from dapoctl.tui.launch.form.verdict import Verdict
from dapoctl.views.text import data, line

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def verdict_text(
    verdict: Verdict, left_out: Sequence[str], pending: bool, refused: str = "", fit: Fit | None = None
) -> Text:
    """What speaks against the run, or that nothing does.

    Args:
        refused: what speaks against a value that is being typed
        fit: what the doctor says of the run, once it was asked
    """
    if refused:
        lines = [data(f"✗ {line(refused)}", "red")]
    elif verdict.problems:
        lines = [data(f"✗ {line(problem)}", "red") for each in verdict.problems for problem in each.splitlines()]
    elif verdict.resolved is None:
        lines = [data("… reading what is installed", "dim")]
    else:
        fit = fit or Fit("ok", ())
        mark, colour = MARKS[fit.status]
        names = " · ".join([*verdict.chosen, *verdict.resolved.added])
        lines = [data(f"✓ ready: {line(names)}", "green")] if fit.status != "fail" else []
        lines += [data(f"{mark} {line(words)}", colour) for words in fit.words]
    if left_out:
        lines.append(data(f"! left out, nothing takes it: {line(', '.join(left_out))}", "yellow"))
    lines += [data(f"! {line(warning)}", "yellow") for warning in verdict.warnings]
    if pending:
        lines[0].append(" …", "dim")
    return Text("\n").join(lines)


def difference_words(found: Difference) -> list[str]:
    """How a run differs from the one that it was cloned from, each in a few words."""
    words = [f"+ {name}" for name in found.only_second] + [f"- {name}" for name in found.only_first]
    words += [f"{key} {show_plain(old)} → {show_plain(new)}" for key, (old, new) in found.keys.items()]
    return words + [f"{key} changed" for key in found.versions]


def parent_text(parent: str, found: Difference | None) -> Text:
    """The same with the name of that run."""
    if found is None:
        return data(f"cloned from {parent}", "dim")
    words = difference_words(found)
    return data(f"cloned from {parent}: {', '.join(map(line, words)) if words else 'no difference yet'}", "yellow")


def side_text(verdict: Verdict, parent: str, found: Difference | None) -> Text:
    """The run stage by stage, and below it how it differs from its origin."""
    lines = [data("what happens in a step", "bold")]
    for stage, names in _by_stage(verdict):
        lines.append(data(f"{stage.replace('_', ' '):<20} {line(', '.join(names))}"))
    if parent:
        lines += [Text(""), data(f"cloned from {line(parent)}", "bold")]
        words = difference_words(found) if found is not None else []
        lines += [data(line(word), "yellow") for word in words] or [data("no difference yet", "dim")]
    return Text("\n").join(lines)


def _by_stage(verdict: Verdict) -> Iterable[tuple[str, list[str]]]:
    for stage in hookspecs.stages():
        names = [name for name, item in verdict.chosen.items() if stage in item.stages]
        if names:
            yield stage, names
        elif hookspecs.is_exclusive(stage) and verdict.chosen:
            yield stage, ["(none)"]
