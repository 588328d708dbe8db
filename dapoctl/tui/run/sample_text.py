"""Responses in words: the groups of a step as a list, how a response was rewarded, its text as Markdown."""

from __future__ import annotations

import io

from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text
from textual.strip import Strip

from dapoctl.runs.samples import Group, Response
from dapoctl.tui.widgets.virtual import VirtualList
from dapoctl.views.numbers import number
from dapoctl.views.text import cell, line, safe


class GroupList(VirtualList, can_focus=False):
    """The prompts of a step."""

    DEFAULT_CSS = "GroupList { width: 30; border-right: solid $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[Group] = []

    def count(self) -> int:
        return len(self.groups)

    def row(self, index: int, width: int) -> Text:
        group = self.groups[index]
        share = f"{group.right}/{len(group.responses)}"
        text = Text(f"{cell(share, 6, right=True)} ", end="")
        text.append(cell(line(group.problem or group.prompt), max(6, width - 20)), "dim" if group.dropped_by else "")
        return text.append(f" ∅ {line(group.dropped_by)}" if group.dropped_by else " kept", "dim")


def rewarded(response: Response) -> str:
    """`reward +0.950 = score +1.000, overlong -0.050; advantage +0.526`"""
    terms = [f"score {number(response.score, signed=True)}"]
    terms += [f"{name} {number(value, signed=True)}" for name, value in response.terms.items()]
    if response.dropped_by:
        trained = f"not trained on: dropped by {response.dropped_by}"
    elif response.advantage is None:
        trained = "not trained on: the step had no update"
    else:
        trained = f"advantage {number(response.advantage, signed=True)}"
    masked = ", masked: its tokens do not count" if response.masked else ""
    return f"reward {number(response.reward, signed=True)} = {', '.join(terms)}   {trained}{masked}"


def judged(group: Group, response: Response, step: int | None = None) -> str:
    """How it was read, and how long it is."""
    found = "no answer found" if response.extracted is None else f"answers {line(response.extracted)}"
    cut = ", truncated" if response.truncated else ""
    born = f"   sampled at step {response.born}" if response.born not in (-1, step) else ""
    return f"{response.outcome}: {found}, the answer is {line(group.answer)}   {response.tokens:g} tokens{cut}{born}"


def markdown(text: str, width: int) -> list[Strip]:
    """A response as Markdown in lines; links and images in it are text."""
    console = Console(
        width=width, file=io.StringIO(), force_terminal=True, color_system="standard", legacy_windows=False
    )
    page = Markdown(safe(text), hyperlinks=False, code_theme="ansi_dark")
    lines = console.render_lines(page, console.options.update_width(width), pad=False)
    return [Strip(segments) for segments in lines]
