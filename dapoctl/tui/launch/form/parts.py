"""The components that there are, by stage, and where each stands in a choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dapoctl import hookspecs
from dapoctl.components.base import provided_by, stages_of
from dapoctl.components.catalog import Catalog, Entry
from dapoctl.components.listing import first_paragraph, summarize
from dapoctl.config.resolve import OBSERVERS
from dapoctl.errors import DapoctlError
from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.fields import run_sheet
from dapoctl.tui.launch.form.verdict import Verdict

ROLE_STAGES = {"score_response": "task", "load_problems": "task", "build_engine": "engine"}
"""Stages whose component a key of the run names"""
BROKEN = "cannot be used"
"""Title over the components of which nothing is known"""


@dataclass(frozen=True)
class Part:
    """A component that can be chosen."""

    name: str
    """In a run"""
    word: str
    """In `--plugins`"""
    stages: tuple[str, ...]
    purpose: str
    origin: str
    problem: str = ""
    """Why it cannot be used"""

    @property
    def role(self) -> str:
        """The key of the run that names it, for a task or an engine."""
        return next((ROLE_STAGES[stage] for stage in self.stages if stage in ROLE_STAGES), "")

    @property
    def exclusive(self) -> frozenset[str]:
        """Its exactly-one stages."""
        return frozenset(stage for stage in self.stages if hookspecs.is_exclusive(stage))

    @property
    def group(self) -> str:
        """The title that it stands under."""
        if self.role:
            return self.role
        first = next((stage for stage in self.stages if stage in self.exclusive), next(iter(self.stages), ""))
        return first or BROKEN


def glance(catalog: Catalog) -> list[Part]:
    """Every installed component, from its source; none is imported."""
    return [_part(entry) for entry in catalog.entries()]


def _part(entry: Entry) -> Part:
    found = summarize(entry)
    origin = f"{entry.distribution} {entry.version}".strip()
    return Part(entry.name, entry.name, found.stages, found.purpose, origin)


def test(parts: Iterable[Part], catalog: Catalog) -> list[Part]:
    """The same, with what is wrong with those that cannot be imported."""
    return [_tested(part, catalog) for part in parts]


def _tested(part: Part, catalog: Catalog) -> Part:
    try:
        cls = catalog.find(part.word).load()
        purpose = first_paragraph(vars(cls).get("__doc__") or "")
        if not stages_of(cls):
            return replace(part, problem="it implements no hook; mark a method with @hookimpl")
        return replace(part, stages=provided_by(cls) or stages_of(cls), purpose=purpose)
    except DapoctlError as error:
        return replace(part, problem=str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (third parties' code, whatever it does)
        return replace(part, problem=f"{type(error).__name__}: {error}")


def from_words(words: Sequence[str], catalog: Catalog) -> list[Part]:
    """Components from files.

    Raises:
        PluginError: there is none, or it does not import.
    """
    found = []
    for word in words:
        entry = catalog.find(word)
        found.append(_tested(Part(entry.name, word, (), "", entry.value.rpartition(":")[0]), catalog))
    return found


def groups(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """Components by title: the stages in the order of a training step, then what it works on and with."""
    parts = list(parts)
    order = [*(stage for stage in hookspecs.stages() if stage not in ROLE_STAGES), "task", "engine", BROKEN]
    found = {title: [part for part in parts if part.group == title] for title in order}
    return {title: inside for title, inside in found.items() if inside}


def is_on(part: Part, choice: Choice, verdict: Verdict) -> bool:
    """Whether the component is checked."""
    if part.role:
        return part.name == role_of(part.role, choice)
    return is_asked(part, choice) or (
        not is_left_out(part, choice) and part.name in verdict.chosen and not is_asked_elsewhere(part, verdict)
    )


def is_asked(part: Part, choice: Choice) -> bool:
    """Whether it was added, beyond the recipe."""
    return part.word in choice.plugins


def is_asked_elsewhere(part: Part, verdict: Verdict) -> bool:
    """Whether a component of the same name is in the run, from another place."""
    item = verdict.chosen.get(part.name)
    return item is not None and bool(item.entry.sha256) != (part.word != part.name)


def is_left_out(part: Part, choice: Choice) -> bool:
    """Whether `-name` takes it out."""
    return f"-{part.name}" in choice.plugins


def in_base(part: Part, verdict: Verdict) -> bool:
    """Whether it is there unless something is done about it."""
    return part.name in (*verdict.base, *OBSERVERS)


def rivals(part: Part, parts: Iterable[Part], choice: Choice) -> list[str]:
    """Words of other components that were added for one of its exactly-one stages."""
    return [
        other.word
        for other in parts
        if other.word != part.word and is_asked(other, choice) and other.exclusive & part.exclusive
    ]


def role_of(key: str, choice: Choice) -> str:
    """The task or the engine of a choice."""
    return next(str(choice.value(of)) for of in run_sheet().fields if of.key == key)


def check(part: Part, parts: Iterable[Part], choice: Choice, verdict: Verdict, alone: bool = False) -> None:
    """Check or uncheck a component; with `alone` check it, and uncheck what was added for its exactly-one stages."""
    if part.role:
        of = next(of for of in run_sheet().fields if of.key == part.role)
        choice.put(of, part.name)
        return
    others = rivals(part, parts, choice)
    if alone:
        choice.plugins = [word for word in choice.plugins if word not in (*others, f"-{part.name}")]
        if not in_base(part, verdict) and part.word not in choice.plugins:
            choice.plugins.append(part.word)
        return
    choice.toggle(part.word, part.name, in_base(part, verdict), others)
