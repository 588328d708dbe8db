"""The form line by line: what people set most comes first, the rest behind folds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.fields import Field, Sheet

COMMON = (
    "name",
    "steps",
    "seed",
    "model.path",
    "rollout.prompts",
    "rollout.samples",
    "rollout.max_response_tokens",
    "optim.lr",
    "eval.every",
)
FIRST = "most used"


@dataclass(frozen=True)
class Section:
    """A fold of the form."""

    title: str
    fields: tuple[tuple[Field, Sheet], ...]
    component: bool = False


@dataclass(frozen=True)
class Row:
    """A line of the form: a section's head, or one of its fields."""

    section: Section
    field: Field | None = None
    sheet: Sheet | None = None

    @property
    def key(self) -> str:
        """What it is found again by."""
        return self.field.key if self.field else f"[{self.section.title}]"


def sections(sheets: Sequence[Sheet]) -> list[Section]:
    """The form's folds: the common settings, each component's parameters, everything else of the run."""
    run = [(of, sheet) for sheet in sheets if not sheet.name for of in sheet.fields]
    by_key = {of.key: (of, sheet) for of, sheet in run}
    found = [Section(FIRST, tuple(by_key[key] for key in COMMON if key in by_key))] if run else []
    for sheet in sheets:
        if sheet.name and sheet.fields:
            found.append(Section(sheet.name, tuple((of, sheet) for of in sheet.fields), component=True))
    rest = [(of, sheet) for of, sheet in run if of.key not in COMMON]
    titles = dict.fromkeys(of.path[0] if len(of.path) > 1 else "run" for of, _ in rest)
    for title in titles:
        inside = tuple((of, s) for of, s in rest if (of.path[0] if len(of.path) > 1 else "run") == title)
        found.append(Section(title, inside))
    return found


def rows(found: Sequence[Section], opened: Collection[str], words: str = "") -> list[Row]:
    """The lines that are to be seen: all that fit `words`, else what the opened folds hold."""
    return list(_matching(found, words.casefold().split()) if words.strip() else _unfolded(found, opened))


def _unfolded(found: Sequence[Section], opened: Collection[str]) -> Iterator[Row]:
    for section in found:
        yield Row(section)
        if section.title in opened:
            yield from (Row(section, of, sheet) for of, sheet in section.fields)


def _matching(found: Sequence[Section], words: Sequence[str]) -> Iterator[Row]:
    for section in found:
        inside = [
            Row(section, of, sheet)
            for of, sheet in section.fields
            if all(word in f"{of.key} {of.meaning}".casefold() for word in words)
        ]
        if inside:
            yield Row(section)
            yield from inside


def changed(section: Section, choice: Choice) -> int:
    """How many of a section's fields are set."""
    return sum(choice.is_changed(of) for of, _ in section.fields)
