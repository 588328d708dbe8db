"""Which component matters: the table of the runs that were evaluated, and the sets of components that nobody ran. No widget."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dapoctl.config.load import Layers
from dapoctl.config.resolve import Resolved, resolve
from dapoctl.config.schema import RunConfig
from dapoctl.errors import DapoctlError, UserError
from dapoctl.evaluation.compare.ablation import OF_A_SEED, Ablation, Row, ablate
from dapoctl.evaluation.stored import Evaluation, sets_of, steps_of
from dapoctl.runs.summary import RunSummary
from dapoctl.tui.compare.model import Shelf, Stamps, stamps_of, usual_set

MOST = 60
"""Runs that are set against each other; of more than that the newest"""
FEW = 3
"""Components of which all combinations are asked for; of more, each alone and each left out of the largest set"""


@dataclass(frozen=True)
class Gap:
    """A set of components that was not evaluated."""

    plugins: tuple[str, ...]
    """`plugins` of a run that has it"""
    added: tuple[str, ...]
    """Beyond the baseline's components"""
    removed: tuple[str, ...]
    parameters: dict[str, Any]
    """By dotted key: those of the added components as other runs had them, where these are not the defaults"""
    without: str = ""
    """What of the largest set it leaves out, where that is how it came up"""
    run: RunSummary | None = None
    """The newest run that has it and was not evaluated on the set"""

    @property
    def name(self) -> str:
        """As rows are called: what it has that the baseline has not."""
        return " ".join([*(f"+{name}" for name in self.added), *(f"-{name}" for name in self.removed)])


@dataclass(frozen=True)
class Table:
    """What the screen shows."""

    set: str = ""
    sets: Mapping[str, int] = field(default_factory=dict)
    baseline: Evaluation | None = None
    ablation: Ablation | None = None
    gaps: tuple[Gap, ...] = ()
    trouble: str = ""
    """Why there is no table, in words"""
    left_out: int = 0
    """Runs beyond the newest"""
    stamps: Stamps = ()


def candidates(runs: Sequence[RunSummary], marked: Sequence[str]) -> list[RunSummary]:
    """The runs that come into question, the newest first: those that trained, or those that were marked."""
    return [run for run in runs if not run.problem and (run.id in marked if marked else run.steps > 0)]


def fetch_table(
    shelf: Shelf,
    runs: Sequence[RunSummary],
    set_: str | None,
    baseline: str | None,
    check: Callable[[], object] = lambda: None,
) -> Table:
    """Read the runs' evaluations and set them against the baseline's.

    Args:
        shelf: what was read before
        runs: see `candidates`
        set_: None for the set that most of them have
        baseline: id of a run; None for the oldest one with the plainest recipe
        check: called between the parts; what it raises ends the work
    """
    sets: dict[str, int] = {}
    for run in runs:
        for name in sets_of(run.directory):
            sets[name] = sets.get(name, 0) + 1
    chosen = set_ or usual_set(sets, [run.directory for run in runs])
    evaluated = [run for run in runs if chosen and steps_of(run.directory, chosen)]
    shown = [run for place, run in enumerate(evaluated) if place < MOST or run.id == baseline]
    stamps = tuple(stamp for run in shown for stamp in stamps_of(run.directory, chosen))
    found: list[Evaluation] = []
    missing: list[tuple[str, str]] = []
    for run in reversed(shown):
        check()
        try:
            found.append(shelf.open(run.directory, chosen, None))
        except UserError as error:
            missing.append((run.id, str(error)))
    if not found:
        trouble = f"No run was evaluated{f' on {chosen}' if chosen else ''} yet."
        return Table(chosen, sets, trouble=trouble, stamps=stamps)
    base = next((each for each in found if each.run.id == baseline), None) or min(
        [each for each in found if each.trained] or found, key=_plainness
    )
    try:
        ablation = ablate(found, base, chosen, missing)
    except UserError as error:
        return Table(chosen, sets, base, None, (), str(error), len(evaluated) - len(shown), stamps)
    check()
    gaps = find_gaps(ablation, runs, check)
    return Table(chosen, sets, base, ablation, tuple(gaps), "", len(evaluated) - len(shown), stamps)


def _plainness(evaluation: Evaluation) -> tuple[bool, int, str]:
    config = evaluation.run.config
    usual = RunConfig.model_fields["recipe"].default
    return config.get("recipe") != usual, len(config.get("plugins") or []), evaluation.run.id


def find_gaps(table: Ablation, runs: Sequence[RunSummary], check: Callable[[], object] = lambda: None) -> list[Gap]:
    """The sets of components that would complete the table.

    Of the changes that any row makes to the baseline: all combinations of up to `FEW` of them; of more, each alone, and each
    left out of the largest set that was run. Sets that cannot be (two components for a stage that takes one) are left out.
    """
    base = table.baseline.first.run
    moves = [_moves(base, row) for row in table.rows[1:]]
    everything = list(dict.fromkeys(move for each in moves for move in each))
    largest = max(moves, key=len, default=())
    there = [frozenset(row.arm.first.run.components) for row in table.rows if row.change.keys.keys() <= OF_A_SEED]
    gaps: list[Gap] = []
    for wanted, without in _combinations(everything, largest):
        check()
        resolved = _resolved(base, wanted)
        components = frozenset(resolved.chosen) if resolved else frozenset()
        if resolved is not None and components not in there:
            there.append(components)
            gaps.append(replace(_gap(base, table, wanted, resolved, runs), without=without))
    return gaps


def _combinations(everything: Sequence[str], largest: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """(changes to the baseline, which of the largest set's is not among them)."""
    if len(everything) <= FEW:
        sizes = range(1, len(everything) + 1)
        return [(each, "") for size in sizes for each in itertools.combinations(everything, size)]
    alone = [((move,), "") for move in everything]
    return alone + [(tuple(other for other in largest if other != move), move) for move in largest]


def _moves(base: RunSummary, row: Row) -> tuple[str, ...]:
    """What to add to the baseline's `plugins` for the row's components: names, and `-name` for what is left out."""
    added = row.change.only_second
    resolved = _resolved(base, added)
    left = [name for name in row.change.only_first if resolved is not None and name in resolved.chosen]
    return (*added, *(f"-{name}" for name in left))


def _resolved(base: RunSummary, moves: Sequence[str]) -> Resolved | None:
    """The baseline's run with `moves`; None where that cannot be."""
    layers = Layers()
    layers.add({**base.config, "plugins": plugins_with(base, moves)}, "the baseline")
    try:
        return resolve(layers)
    except DapoctlError:
        return None


def plugins_with(base: RunSummary, moves: Sequence[str]) -> list[str]:
    """The baseline's `plugins` with `moves`; what it names itself and is to be left out is not named."""
    out = {move[1:] for move in moves if move.startswith("-")}
    own = [str(name) for name in base.config.get("plugins") or []]
    named = out & {*own}
    return [
        *(name for name in own if name not in named),
        *(move for move in moves if move[1:] not in named or not move.startswith("-")),
    ]


def _gap(
    base: RunSummary, table: Ablation, wanted: Sequence[str], resolved: Resolved, runs: Sequence[RunSummary]
) -> Gap:
    components = {*resolved.chosen}
    own = {*base.components}
    parameters: dict[str, Any] = {}
    for name in [move for move in wanted if not move.startswith("-")]:
        tables = [row.arm.first.run.config.get(name) for row in table.rows]
        used = next((each for each in reversed(tables) if isinstance(each, dict)), {})
        usual = resolved.config.components.get(name, {})
        parameters |= {f"{name}.{key}": value for key, value in used.items() if usual.get(key) != value}
    waiting = next((run for run in runs if {*run.components} == components and run.steps == base.steps), None)
    return Gap(
        tuple(plugins_with(base, wanted)),
        tuple(sorted(components - own)),
        tuple(sorted(own - components)),
        parameters,
        run=waiting if waiting is not None and not steps_of(waiting.directory, table.set) else None,
    )
