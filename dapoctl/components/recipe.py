"""A recipe: a named set of components."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Components that belong together, found through the entry-point group `dapoctl.recipes`."""

    purpose: str
    """One line for lists."""
    components: tuple[str, ...]
    """Entry-point names; in an exactly-one stage they replace what `base` provides."""
    base: str | None = None
    """The recipe this one changes."""
    paper: str = ""
    corrections: tuple[str, ...] = ()
    """Components that join it, unless `-name` leaves them out, where the engine samples from another distribution than the
    trainer's: other kernels or other precision. A recipe has its base's as well."""
