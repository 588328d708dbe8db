"""From what was chosen to a run, and from words to components. For worker threads."""

from __future__ import annotations

from pathlib import Path

from dapoctl.components.catalog import installed
from dapoctl.errors import ConfigError, UserError
from dapoctl.runs.jobs.control import NothingFreeError
from dapoctl.tui.actions.runs import Sent, start_new
from dapoctl.tui.launch.form import parts as catalogue
from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.command_line import arguments
from dapoctl.tui.launch.form.parts import Part
from dapoctl.tui.launch.form.verdict import examine


def start(choice: Choice, root: Path, place: Path | None, queue: bool) -> Sent | NothingFreeError:
    """Make the run and send it off; what became of it, or who has what it needs.

    Args:
        root: the run store
        place: the same where a command has to be told
        queue: let it wait for its turn

    Raises:
        UserError: it cannot be run.
    """
    verdict = examine(choice)
    if verdict.resolved is None or verdict.problems:
        raise ConfigError("\n".join(verdict.problems))
    argv = arguments(choice, verdict.sheets, place, "--queue" if queue else "--detach")
    try:
        return start_new(verdict.resolved, root, argv, queue)
    except NothingFreeError as error:
        return error


def parts_from(word: str) -> list[Part]:
    """The component that was asked for by hand; nothing for a recipe, which is none."""
    return [] if word in installed().recipes() else catalogue.from_words([word], installed())


def file_parts(choice: Choice) -> list[Part]:
    """The components from files that a choice begins with; those that cannot be had are told by the resolver."""
    found: list[Part] = []
    for word in (word for word in choice.plugins if ".py" in word):
        try:
            found += catalogue.from_words([word], installed())
        except UserError:
            continue
    return found
