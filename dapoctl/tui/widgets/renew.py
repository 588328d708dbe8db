"""Words that are looked at again and again, and seldom change."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


def renew(static: Static, text: Text) -> None:
    """Show `text`, unless it is what stands there: each update has Textual lay out the whole screen."""
    shown = static.content
    if not isinstance(shown, Text) or shown != text or shown.style != text.style:
        static.update(text)
