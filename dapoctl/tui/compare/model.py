"""What is compared: the runs' evaluations as they lie in the store, read once, and their statistics. Without a widget.

All of this runs in worker threads; what the screens show is a `Found`, which never changes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dapoctl.errors import UserError
from dapoctl.evaluation.background import Background, background
from dapoctl.evaluation.compare.comparison import Comparison, compare_evaluations
from dapoctl.evaluation.files import SAMPLES, SUMMARY
from dapoctl.evaluation.stored import Evaluation, load_evaluation, sets_of, split_step, steps_of
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import EVALS, read_run

LACKS = "not evaluated"
Stamps = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Side:
    """A run that was asked for."""

    word: str
    """RUN or RUN@STEP"""
    run: str
    """Its id"""
    evaluation: Evaluation | None = None
    why: str = ""
    """Why it has no evaluation to compare, in words"""
    steps: tuple[int, ...] = ()
    """At which it was evaluated on the set"""
    background: Background | None = None
    """Its last evaluation in the background"""


@dataclass(frozen=True)
class Found:
    """What there is to show."""

    set: str = ""
    sets: Mapping[str, int] = field(default_factory=dict)
    """Every set that any of the runs was evaluated on -> how many of them"""
    sides: tuple[Side, ...] = ()
    """The baseline first"""
    comparison: Comparison | None = None
    """Of the sides that have an evaluation; None where none has"""
    stamps: Stamps = ()
    note: str = ""
    """What was decided for the user, in words"""

    @property
    def lacking(self) -> tuple[Side, ...]:
        """The sides without an evaluation on the set."""
        return tuple(side for side in self.sides if side.evaluation is None)

    def measured(self) -> list[Side]:
        """The sides of the comparison, in its order."""
        return [side for side in self.sides if side.evaluation is not None]


class Shelf:
    """Evaluations that were read, for as long as their files stay as they were."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int | None], tuple[Stamps, Evaluation]] = {}
        self._lock = threading.Lock()

    def open(self, directory: Path, set_: str, step: int | None) -> Evaluation:
        """The evaluation, see `load_evaluation`.

        Raises:
            UserError: there is none, or it holds no response.
        """
        key, stamps = (str(directory), set_, step), stamps_of(directory, set_)
        with self._lock:
            known = self._known.get(key)
        if known is None or known[0] != stamps:
            known = stamps, load_evaluation(read_run(directory), set_, step)
            with self._lock:
                self._known[key] = known
        if not known[1].rows:
            raise UserError(f"{'; '.join(known[1].trouble)} (`{known[1].folder}`)")
        return known[1]


def stamps_of(directory: Path, set_: str) -> Stamps:
    """What changes when an evaluation of the run on the set does."""
    found = []
    for step in steps_of(directory, set_):
        for name in (SUMMARY, SAMPLES):
            path = directory / EVALS / set_ / f"step_{step}" / name
            try:
                stat = os.stat(path)  # noqa: PTH116
            except OSError:
                continue
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def fetch(
    shelf: Shelf,
    root: Path,
    words: Sequence[str],
    set_: str | None,
    seed: int = 0,
    check: Callable[[], object] = lambda: None,
) -> Found:
    """Read the evaluations that `words` name, the baseline first, and compare them.

    Args:
        shelf: what was read before
        root: the run store
        words: RUN or RUN@STEP
        set_: None for the set that most of the runs have, of several the one written last
        seed: of the bootstrap
        check: called between the parts; what it raises ends the work
    """
    places = [_place(root, word) for word in words]
    there = [(directory, step) for _, directory, step, _ in places if directory is not None]
    sets = _sets([directory for directory, _ in there])
    chosen = set_ or usual_set(sets, [directory for directory, _ in there])
    note = ""
    if len(places) == 1 and there and there[0][1] is None and chosen:
        steps = steps_of(there[0][0], chosen)
        if len(steps) > 1:
            word = places[0][0]
            words = [f"{word}@{steps[0]}", f"{word}@{steps[-1]}"]
            places = [_place(root, each) for each in words]
            note = "one run: what did its training do?"
    # Before the files are read: what is written meanwhile is news.
    stamps = stamps_now(root, words, chosen)
    sides: list[Side] = []
    seen: set[Path] = set()
    for word, directory, step, why in places:
        check()
        sides.append(_side(shelf, word, directory, step, why, chosen, seen))
    found = [side.evaluation for side in sides if side.evaluation is not None]
    missing = [(side.word, side.why) for side in sides if side.evaluation is None]
    compared = compare_evaluations(found, chosen, seed, missing, check) if found else None
    if compared is not None:
        _ = compared.matrix  # worked out here, not where it is drawn
    return Found(chosen, sets, tuple(sides), compared, stamps, note)


def stamps_now(root: Path, words: Sequence[str], set_: str) -> Stamps:
    """What changes when any of the evaluations does, or a new one comes to be."""
    found: list[tuple[str, int, int]] = []
    for word in words:
        _, directory, _, _ = _place(root, word)
        if directory is not None:
            found += stamps_of(directory, set_) if set_ else [(name, 0, 0) for name in sets_of(directory)]
    return tuple(found)


def _place(root: Path, word: str) -> tuple[str, Path | None, int | None, str]:
    """(the word, the run's folder, the step asked for, why there is no such run)."""
    try:
        name, step = split_step(word)
        return word, find_run(root, name), step, ""
    except UserError as error:
        return word, None, None, str(error)


def _side(
    shelf: Shelf, word: str, directory: Path | None, step: int | None, why: str, set_: str, seen: set[Path]
) -> Side:
    if directory is None:
        return Side(word, word, why=why)
    goes_on = background(directory)
    steps = tuple(steps_of(directory, set_)) if set_ else ()
    if not set_:
        return Side(word, directory.name, None, f"never evaluated: {eval_line(directory.name)}", steps, goes_on)
    try:
        evaluation = shelf.open(directory, set_, step)
    except UserError as error:
        words = str(error) if steps else f"{LACKS} on {set_}: {eval_line(directory.name, set_)}"
        return Side(word, directory.name, None, words, steps, goes_on)
    folder = evaluation.folder.resolve()
    if folder in seen:
        return Side(word, directory.name, None, "named twice", steps, goes_on)
    seen.add(folder)
    return Side(word, directory.name, evaluation, "", steps, goes_on)


def eval_line(run: str, set_: str = "SET") -> str:
    """The command that evaluates a run."""
    return f"`dapoctl eval {run} --task {set_}`"


def _sets(directories: Sequence[Path]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for directory in dict.fromkeys(directories):
        for name in sets_of(directory):
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def usual_set(sets: Mapping[str, int], directories: Sequence[Path]) -> str:
    """Of `sets` with the number of runs that have them the most frequent; of several, the one written last; else nothing."""
    if not sets:
        return ""
    most = max(sets.values())
    written = {name: _written(directories, name) for name, count in sets.items() if count == most}
    return max(written, key=lambda name: written[name])


def _written(directories: Sequence[Path], set_: str) -> int:
    return max((stamp[1] for each in directories for stamp in stamps_of(each, set_)), default=0)
