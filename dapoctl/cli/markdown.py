"""Text from docstrings as Markdown."""

from __future__ import annotations

import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")


def prose(text: str) -> str:
    """`text` with what Markdown would take for markup spelled out; what stands in backticks stays code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if place % 2 else re.sub(r"([\\*<])", r"\\\1", part) for place, part in enumerate(parts))


def paragraphs(docstring: str) -> list[str]:
    """The paragraphs of a docstring with empty lines between them; indented parts (examples) as they are, in fences."""
    lines: list[str] = []
    for block in inspect.cleandoc(docstring).split("\n\n"):
        running = list(itertools.takewhile(lambda line: not line.startswith((" ", ">>>")), block.splitlines()))
        literal = textwrap.dedent("\n".join(block.splitlines()[len(running) :]))
        lines += ["", prose(" ".join(running))] if running else []
        lines += ["", "```", literal, "```"] if literal else []
    return lines[1:]


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table; cells are Markdown already."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    return [line(headers), "|" + "---|" * len(headers), *(line(row) for row in rows)]


def code(text: str) -> str:
    """`text` in backticks."""
    return f"`{text}`"


def codes(names: Iterable[str]) -> str:
    """Names in backticks with commas between them."""
    return ", ".join(code(name) for name in names)
