"""What to change so that a run fits; every proposal is estimated before it is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from dapoctl.config.budget import micro_batch_tokens
from dapoctl.doctor.engine import savings_of
from dapoctl.doctor.memory import chunk_tokens, estimate
from dapoctl.doctor.plan import fits
from dapoctl.doctor.workload import Workload

if TYPE_CHECKING:
    from dapoctl.components.base import Component
    from dapoctl.engines.needs import Saving

ROOM = 0.9
"""Share of the memory that a run should stay below: the estimate may be off, and allocators leave gaps"""
SPARE = 0.75
"""Share below which a run has memory to spend on speed"""
RANK = 32
SMALLEST_CHUNK = 16


@dataclass(frozen=True, slots=True)
class Advice:
    """Changes to the configuration, and what the run takes with them."""

    changes: tuple[tuple[str, Any], ...]
    """(key, value), each of them needed"""
    peak: int
    """Bytes"""
    why: str = ""

    def options(self) -> list[str]:
        """The changes as command-line options."""
        return [f"--set {key}={_literal(value)}" for key, value in self.changes]


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def changed(work: Workload, changes: Sequence[tuple[str, Any]]) -> Workload:
    """The same run with other values."""
    for key, value in changes:
        table, _, name = key.partition(".")
        if table == work.engine.name:
            work = replace(work, engine=work.engine.model_copy(update={name: value}))
        else:
            values = getattr(work.config, table).model_copy(update={name: value})
            work = replace(work, config=work.config.model_copy(update={table: values}))
    return work


def levers(work: Workload) -> list[tuple[str, list[Any]]]:
    """(key, values to try, the mildest first) of what can be changed, the cheapest in time and quality first."""
    config, engine = work.config, work.engine
    savings = savings_of(work)
    candidates: list[tuple[str, list[Any]]] = []
    if not config.train.gradient_checkpointing:
        candidates.append(("train.gradient_checkpointing", [True]))
    candidates += [_lever(engine, saving) for saving in savings if saving.idle and not _is_on(engine, saving)]
    longest = work.max_tokens - 1
    candidates.append(
        ("train.micro_batch_tokens", list(_halved(micro_batch_tokens(config.train, work.device), longest)))
    )
    candidates.append(("train.chunk_tokens", list(_halved(chunk_tokens(work), SMALLEST_CHUNK))))
    candidates += [_lever(engine, saving) for saving in savings if not saving.idle]
    if config.optim.states == "float32":
        # Adapters' states are small. The host's memory, if there is enough of it, costs time.
        candidates.append(("optim.states", ["8bit", "offload"] if work.device == "cuda" else ["8bit"]))
    if not config.lora.rank:
        if work.device == "cuda" and work.computes_16_bits and not config.optim.master_weights:
            # It saves memory where `optim.states` = offload.
            candidates.append(("optim.master_weights", [True]))
        candidates.append(("lora.rank", [RANK]))
    return [(key, values) for key, values in candidates if values]


def _lever(engine: Component, saving: Saving) -> tuple[str, list[Any]]:
    return f"{engine.name}.{saving.setting}", list(saving.values)


def _is_on(engine: Component, saving: Saving) -> bool:
    return getattr(engine, saving.setting) in saving.values


def _halved(value: int, least: int) -> Iterator[int]:
    while value // 2 >= least:
        value //= 2
        yield value


def advise(work: Workload, capacity: int) -> Advice | None:
    """The smallest set of changes with which the run fits `capacity` bytes; None if no set is enough.

    Adapters, which train something else, are proposed only where every weight cannot be trained. Of sets of one size the first
    in the order of `levers`, with the mildest values that are enough.
    """
    choices = levers(work)
    whole = [(key, values) for key, values in choices if key != "lora.rank"]
    return _smallest(work, whole, capacity) or _smallest(work, choices, capacity)


def _smallest(work: Workload, choices: Sequence[tuple[str, list[Any]]], capacity: int) -> Advice | None:
    for size in range(1, len(choices) + 1):
        for chosen in combinations(choices, size):
            for values in product(*(values for _, values in chosen)):
                changes = tuple(zip((key for key, _ in chosen), values, strict=True))
                proposal = changed(work, changes)
                estimated = estimate(proposal)
                if fits(proposal, estimated, capacity, ROOM):
                    return Advice(changes, estimated.peak)
    return None


def waste(work: Workload, capacity: int) -> Iterator[Advice]:
    """Settings that cost time to save memory that is not needed."""
    config = work.config
    candidates: list[tuple[tuple[str, Any], str]] = []
    if config.train.gradient_checkpointing:
        why = "activations have room: without computing them twice an update takes a quarter less time"
        candidates.append((("train.gradient_checkpointing", False), why))
    for saving in savings_of(work):
        if saving.idle and _is_on(work.engine, saving):
            candidates.append(((f"{work.engine.name}.{saving.setting}", False), saving.idle))
    for change, why in candidates:
        proposal = changed(work, [change])
        estimated = estimate(proposal)
        if fits(proposal, estimated, capacity, SPARE):
            yield Advice((change,), estimated.peak, why)
