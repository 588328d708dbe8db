"""Breaking long text into lines of a terminal, fast enough for a response of 100,000 characters."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken after a space where there is one; no character is lost.

    A line may have one space more at its end, which the screen's edge cuts.
    """
    width = max(2, width)
    return [piece for paragraph in text.split("\n") for piece in _pieces(paragraph, width)]


def _pieces(line: str, width: int) -> Iterator[str]:
    start, narrow = 0, line.isascii()
    while True:
        end = start + width
        if not narrow:
            end = _fitting(line, start, width)
        if end >= len(line):
            yield line[start:]
            return
        space = line.rfind(" ", start, end + 1)
        if space > start:
            end = space + 1
        yield line[start:end]
        start = end


def _fitting(line: str, start: int, width: int) -> int:
    """The end of as many characters as fit into `width` columns, at least one."""
    end = min(len(line), start + width)
    while end > start + 1 and (size := cell_len(line[start:end])) > width:
        end = max(start + 1, end - (size - width + 1) // 2)
    return end
