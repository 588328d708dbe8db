"""Text from models, logs and files on its way to the screen: data, never markup and never a command to the terminal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

TAB = 4
LONGEST_LINE = 4000
"""Characters of one line that are laid out; nobody reads further in a terminal, and all of it is in the file"""


def safe(text: str) -> str:
    """`text` with tabs as spaces and control characters spelled out; line ends stay."""
    return plain(text.expandtabs(TAB))


def line(text: str) -> str:
    """`safe` text on one line, line ends shown as `⏎`."""
    return safe(text[:LONGEST_LINE].replace("\r\n", "\n").replace("\n", "⏎"))


def data(text: str, style: str = "") -> Text:
    """`text` as it is, whatever is in it."""
    return Text(safe(text), style=style, end="")


def cell(text: str, width: int, right: bool = False) -> str:
    """`text` in exactly `width` columns; what does not fit ends in `…`."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, max(0, width - 1)) + ("…" if width else "")
    return " " * (width - size) + text if right else text + " " * (width - size)


def middle(text: str, width: int, tail: int) -> str:
    """`text` with an ellipsis in place of what does not fit in `width` columns, its last `tail` characters kept."""
    if cell_len(text) <= width or cell_len(text[-tail:]) >= width:
        return text
    return cell(text, width - cell_len(text[-tail:])).rstrip() + text[-tail:]


_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U0010ffff]"
)
"""Of Unicode: controls but for tab and line feed, what has no shape of its own (categories Cf, Zl, Zp), halves of pairs, and
what is left to private agreement"""


def plain(text: str) -> str:
    """`text` with control characters spelled out, so that a name or a model's words cannot steer the terminal."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def one_line(text: str) -> str:
    """`plain` text on one line."""
    return plain(" ".join(text.split()))


def json_text(value: Any, indent: int | None = 2) -> str:
    """`value` as JSON whose strings cannot steer a terminal; it is read as the same value. See `finite`."""
    text = json.dumps(finite(value), indent=indent, ensure_ascii=False, default=str, allow_nan=False)
    return _CONTROL.sub(lambda found: json.dumps(found.group())[1:-1], text)


def finite(value: Any) -> Any:
    """`value` with its non-finite floats as strings: JSON has no word for them, and they must not be lost."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
