"""Bytes and seconds in messages, for rooms below `views` too; `views/numbers.py` has what only tables and screens show."""

from __future__ import annotations


def byte_size(size: float, small: bool = False) -> str:
    """`812 MiB` or `1.3 GiB`; with `small` also `14 KiB` and `812 B`, which otherwise are `0 MiB`."""
    if small and size < 2**20:
        return f"{size:.0f} B" if size < 2**10 else f"{size / 2**10:.0f} KiB"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def duration_text(seconds: float) -> str:
    """`47 s`, `12 min`, `3.5 h`"""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
