"""The stages that a new component can be for, and which template each starts from."""

from __future__ import annotations

from dataclasses import dataclass

from dapoctl import hookspecs
from dapoctl.components.listing import first_paragraph
from dapoctl.errors import UserError, nearest

DEFAULT = "shape_rewards"
SHARED = {
    "load_problems": "task",
    "score_response": "task",
    "build_engine": "engine",
    "on_run_start": "observer",
    "on_step_end": "observer",
    "on_run_end": "observer",
}
"""Templates that are not named after their hook, mostly because they implement several related ones."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A hook, as an author chooses it."""

    name: str
    exclusive: bool
    """Whether a run has exactly one provider"""
    meaning: str

    @property
    def template(self) -> str:
        """The name of the template's modules."""
        return SHARED.get(self.name, self.name)

    @property
    def line(self) -> str:
        """Name, number of providers, meaning: `shape_rewards  any  A term [B] ...`"""
        return f"{self.name:<20} {'one' if self.exclusive else 'any'}  {self.meaning}"


def stages() -> dict[str, Stage]:
    """Every stage by name, in the order of a training step."""
    return {
        name: Stage(name, hookspecs.is_exclusive(name), first_paragraph(hook.__doc__ or ""))
        for name, hook in hookspecs.stages().items()
    }


def find_stage(name: str) -> Stage:
    """The stage called `name`.

    Raises:
        UserError: there is none; with the nearest name, and a line for each stage.
    """
    known = stages()
    if name not in known:
        raise UserError(
            f"there is no stage `{name}`.{nearest(name, [*known])} The stages, and how many components a run has for each:\n"
            + "\n".join(stage.line for stage in known.values())
        )
    return known[name]
