"""Text from docstrings as Markdown."""

from __future__ import annotations

import csv
import inspect
import io
import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dapoctl.views.text import one_line

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


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] | None = None) -> list[str]:
    """The lines of a table; what is not our own text in its cells has to be `escaped`, or in code.

    Args:
        headers: titles
        rows: cells
        left: columns that are aligned to the left, the others to the right; by default none has an alignment
    """

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(_without_bars, cells)) + " |"

    rule = ["---" if left is None or index in left else "---:" for index in range(len(headers))]
    return [line(headers), f"|{'|'.join(rule)}|", *map(line, rows)]


def _without_bars(cell: str) -> str:
    """`cell` with bars escaped that are not yet."""
    return re.sub(r"(\\*)\|", lambda bar: bar[0] if len(bar[1]) % 2 else f"{bar[1]}\\|", cell)


def code(text: str) -> str:
    """`text` in backticks."""
    return f"`{text}`"


def codes(names: Iterable[str]) -> str:
    """Names in backticks with commas between them."""
    return ", ".join(code(name) for name in names)


def known(value: Any) -> Any:
    """`value` with null for every number that is not known."""
    if isinstance(value, Mapping):
        return {str(key): known(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escaped(cell: str) -> str:
    """Text from elsewhere on one line, so that it is neither markup nor the end of a cell."""
    return "".join(f"\\{char}" if char in "\\|`*_[]<>~$&" else char for char in one_line(cell))


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Comma-separated values under a header; an unknown number is empty, and text is on one line and no formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(headers)
    for row in rows:
        writer.writerow([_csv_cell(known(cell)) for cell in row])
    return file.getvalue().rstrip("\n")


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        # An apostrophe is what spreadsheets take for "this is text".
        return f"'{text}" if (text := one_line(value)).startswith(("=", "+", "-", "@")) else text
    return "" if value is None else value
