"""`plugins list` as lines of text."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from dapoctl import hookspecs
from dapoctl.views.terminal import WIDE, colours, width
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from dapoctl.components.listing import RecipeSummary, Summary

NAME = 22
PACKAGE_COLUMN_FROM = 120
"""Terminal columns from which every line names its package."""


def list_lines(components: Sequence[Summary], recipes: Sequence[RecipeSummary]) -> list[str]:
    """Components under the first stage that each serves, in the order of a training step; recipes; broken ones."""
    readable = [item for item in components if not item.problem]
    everything: list[Summary | RecipeSummary] = [*components, *recipes]
    broken = [item for item in everything if item.problem]
    packages = Counter(_package(item) for item in everything)
    usual = packages.most_common(1)[0][0] if packages else ""
    lines = []
    for stage in hookspecs.stages():
        lines += _stage(stage, [item for item in readable if stage in item.stages], usual)
    hidden = [item for item in readable if not item.stages and item.hidden]
    if hidden:
        lines += [_heading("stages unknown", "", "`dapoctl plugins show NAME` imports one of these to see them")]
        lines += [line for item in hidden for line in _item(item, f"{item.purpose} {item.hidden}".strip(), usual)]
    unplaced = [item for item in readable if not item.stages and not item.hidden]
    if unplaced:
        lines += [_heading("no stage", "", "these implement no hook")]
        lines += [line for item in unplaced for line in _item(item, item.purpose, usual)]
    lines += ["", _heading("recipes", "", "sets of components, for --recipe")]
    for recipe in recipes:
        if not recipe.problem:
            base = f"{recipe.base} with " if recipe.base else ""
            lines += _item(recipe, f"{base}{', '.join(recipe.components)}. {recipe.purpose}", usual)
    if broken:
        lines += ["", _heading("broken", "", "a run that names one of these fails, others are not hurt")]
        lines += [line for item in broken for line in _item(item, item.problem, usual)]
    return [*lines, *_twice(components), "", *_footer(packages, usual)]


def _stage(stage: str, items: Sequence[Summary], usual: str) -> list[str]:
    doc = (hookspecs.stages()[stage].__doc__ or "").strip().splitlines()[0]
    lines = [_heading(stage, "one" if hookspecs.is_exclusive(stage) else "any", doc)]
    for item in items:
        if item.stages[0] == stage:
            lines += _item(item, f"Around it: {item.purpose}" if stage in item.wraps else item.purpose, usual)
    elsewhere = [one_line(item.name) for item in items if item.stages[0] != stage]
    if elsewhere:
        lines.append(_dim(f"  also {', '.join(elsewhere)}"))
    return lines


def _heading(name: str, count: str, meaning: str) -> str:
    head = f"{name:<{NAME + 2}}" + (f"{count:<5}" if count else "")
    room = width() - len(head) - 1
    meaning = textwrap.shorten(meaning, max(room, 10), placeholder=" …")
    return (typer.style(head, bold=True) if _coloured() else head) + _dim(meaning)


def _item(item: Summary | RecipeSummary, text: str, usual: str) -> list[str]:
    package = _package(item)
    if width() >= PACKAGE_COLUMN_FROM:
        prefix = f"  {one_line(item.name):<{NAME}}{package:<20} "
    else:
        prefix = f"  {one_line(item.name):<{NAME}}"
        text = text if package == usual else f"{text} [{package}]"
    room = width() - len(prefix) - 1
    wrapped = [one_line(text)] if width() >= WIDE else textwrap.wrap(one_line(text), max(room, 20))
    first, *rest = wrapped or [""]
    return [(prefix + first).rstrip(), *(" " * len(prefix) + line for line in rest)]


def _twice(components: Sequence[Summary]) -> list[str]:
    counts = Counter(item.name for item in components)
    return [
        f"`{one_line(name)}` is provided by {count} packages, so a run cannot use it; uninstall one"
        for name, count in counts.items()
        if count > 1
    ]


def _package(item: Summary | RecipeSummary) -> str:
    return one_line(f"{item.distribution} {item.version}".strip())


def _footer(packages: Counter[str], usual: str) -> list[str]:
    lines = ["one: exactly one per run; any: any number, their order does not matter"]
    if width() < PACKAGE_COLUMN_FROM and usual:
        lines.append(f"All from {usual}" + (", unless a line ends in [another package]" if len(packages) > 1 else ""))
    return [
        *lines,
        "`dapoctl plugins show NAME` says more, `dapoctl run --plugins A,B` uses them",
        "`dapoctl plugins new NAME` starts one of your own",
    ]


def _dim(text: str) -> str:
    return typer.style(text, dim=True) if _coloured() else text


def _coloured() -> bool:
    return colours(sys.stdout)
