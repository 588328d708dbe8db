"""Components that are wrong on purpose, each in one way: the conformance kit must find that way and no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor

from dapoctl import Batch, Component, Problem, PromptPool, Refill, Score, hookimpl

WRONG: dict[str, list[type[Component]]] = {}
"""The broken property and the components that break it"""


def breaks(name: str) -> Callable[[type[Component]], type[Component]]:
    """Say which property a component breaks."""

    def note(cls: type[Component]) -> type[Component]:
        WRONG.setdefault(name, []).append(cls)
        return cls

    return note


@breaks("builds")
class NoDefault(Component):
    """A parameter without a default."""

    rate: float = Field(gt=0)
    """Reward lost per token."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return -self.rate * batch.lengths


@breaks("builds")
class BadDefault(Component):
    """A default that its own validator refuses."""

    rate: float = -1.0
    """Reward lost per token."""

    @field_validator("rate")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value < 0:
            raise ValueError("must not be negative")
        return value

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return -self.rate * batch.lengths


@breaks("docstring")
class Silent(Component):
    @hookimpl
    def mask_responses(self, batch: Batch) -> Tensor:
        return ~batch.truncated


@breaks("fields")
class Undescribed(Component):
    """A parameter that nobody explains."""

    by: float = 0.5

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return batch.rewards * self.by


@breaks("fields")
class NoSchema(Component):
    """A parameter that no file can hold."""

    function: Callable[[float], float] = abs
    """What to do with each reward."""

    @hookimpl
    def mask_responses(self, batch: Batch) -> Tensor:
        return ~batch.truncated


@breaks("hooks")
class Unmarked(Component):
    """A hook that lacks its mark."""

    def shape_rewards(self, batch: Batch) -> Tensor:
        return batch.rewards


@breaks("hooks")
class Idle(Component):
    """No hook at all."""


@breaks("result")
class GroupShape(Component):
    """A reward term per group in place of one per response."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return batch.group_mean(batch.rewards)


@breaks("result")
class PythonList(Component):
    """Plain numbers in place of a tensor."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Any:
        return batch.rewards.tolist()


@breaks("result")
class Raises(Component):
    """Fails on a group of one."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        if int(batch.group_sizes().min()) < 2:
            raise ZeroDivisionError("no other response")
        return batch.rewards - batch.group_mean(batch.rewards)[batch.groups]


@breaks("result")
class Greedy(Component):
    """Never more prompts than there are."""

    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> Sequence[int]:
        return [*range(min(count, len(pool)))]


@breaks("result")
class HalfScore(Component):
    """No verdict on an empty response."""

    @hookimpl
    def score_response(self, problem: Problem, text: str) -> Score:
        return Score(float("nan") if not text.strip() else 1.0, text == problem.answer)


@breaks("result")
class NoRounds(Component):
    """Looks for groups in no round at all."""

    @hookimpl
    def plan_refill(self) -> Refill:
        return Refill(max_rounds=0)


@breaks("dtype")
class FloatMask(Component):
    """A mask of numbers."""

    @hookimpl
    def mask_responses(self, batch: Batch) -> Tensor:
        return 1.0 - batch.truncated.float()


@breaks("dtype")
class Half(Component):
    """Advantages with three digits."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        return batch.rewards.bfloat16()


@breaks("finite")
class NoEpsilon(Component):
    """Divides by a standard deviation that may be zero."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        deviation = batch.rewards - batch.group_mean(batch.rewards)[batch.groups]
        return deviation / batch.group_mean(deviation.square()).sqrt()[batch.groups]


@breaks("repeatable")
class Noise(Component):
    """Random numbers that no seed of the run's decides."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return torch.rand(len(batch.texts))


@breaks("repeatable")
class Lottery(Component):
    """Prompts drawn from numpy's global generator."""

    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> Sequence[int]:
        import numpy as np

        return [int(index) for index in np.random.randint(0, len(pool), count)]


@breaks("read_only")
class InPlace(Component):
    """Centres the rewards of everybody else, too."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        batch.rewards -= batch.group_mean(batch.rewards)[batch.groups]
        return batch.rewards.clone()


@breaks("read_only")
class Sorts(Component):
    """Puts a list of the batch in order."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        batch.texts.sort(reverse=True)
        return torch.zeros(len(batch.texts))


@breaks("padding")
class Width(Component):
    """Takes the width of a tensor for the length limit."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return -batch.lengths / batch.response_ids.shape[1]


@breaks("padding")
class MeanOverWidth(Component):
    """Averages over padding."""

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        return batch.mask.float().mean(dim=1, keepdim=True) * batch.mask / max(batch.counts.tokens, 1)


@breaks("group_order")
class EarlierGroups(Component):
    """The group's place is part of the advantage."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        return batch.rewards * 0.9**batch.groups


@breaks("group_order")
class FirstGroups(Component):
    """Keeps the first two groups."""

    @hookimpl
    def filter_groups(self, batch: Batch) -> Tensor:
        return torch.arange(len(batch.problems)) < 2


@breaks("response_order")
class FirstIsBaseline(Component):
    """Compares with the response that happens to be the first."""

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        firsts = [int(torch.nonzero(batch.groups == group)[0]) for group in range(len(batch.problems))]
        return batch.rewards - batch.rewards[torch.tensor(firsts)][batch.groups]


@breaks("mask")
class WeighsPadding(Component):
    """Weights for tokens that nobody wrote."""

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        return torch.ones(batch.mask.shape) / max(batch.counts.tokens, 1)


@breaks("counts")
class LocalCounts(Component):
    """A mean over the tokens of this process."""

    @hookimpl
    def weigh_tokens(self, batch: Batch) -> Tensor:
        return batch.mask / batch.mask.sum().clamp(min=1)


@breaks("gradient")
class LearnedBaseline(Component):
    """Advantages that carry the graph of a value of their own."""

    _value: Any = PrivateAttr(default_factory=lambda: torch.zeros(1, requires_grad=True))

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        return batch.rewards - self._value


@breaks("problems")
class OneId(Component):
    """Problems that all have one name."""

    @hookimpl
    def load_problems(self, split: str) -> Sequence[Problem]:
        return [Problem("p", f"{split} {place}", "0") for place in range(3)]


@breaks("problems")
class TrainsOnTheTest(Component):
    """Both splits are the same."""

    @hookimpl
    def load_problems(self, split: str) -> Sequence[Problem]:
        return [Problem(f"{split}/{place}", f"What is {place}+1?", str(place + 1)) for place in range(3)]


@breaks("threads")
class SharedNote(Component):
    """Keeps what it works on where other threads write, too."""

    _text: str = PrivateAttr(default="")
    _meeting: Any = PrivateAttr(default_factory=lambda: threading.Barrier(2))

    @hookimpl
    def score_response(self, problem: Problem, text: str) -> Score:
        self._text = text
        # Two threads that are here at the same time have both written; a single one goes on after a moment.
        try:
            self._meeting.wait(0.01)
        except threading.BrokenBarrierError:
            self._meeting.reset()
            time.sleep(0)
        right = self._text == problem.answer
        return Score(float(right), right, self._text)


@breaks("observes")
class Rounds(Component):
    """Rounds numbers that may not be finite."""

    @hookimpl
    def on_step_end(self, metrics: dict[str, float]) -> None:
        self.log("sum", sum(round(value) for value in metrics.values()))


@breaks("observes")
class Renames(Component):
    """Takes metrics away from other observers."""

    @hookimpl
    def on_step_end(self, metrics: dict[str, float]) -> None:
        metrics.pop("reward/mean", None)


@breaks("state")
class Forgets(Component):
    """Goes through the prompts in order, and begins anew after each checkpoint."""

    _taken: int = PrivateAttr(default=0)

    @hookimpl
    def select_prompts(self, pool: PromptPool, count: int) -> Sequence[int]:
        self._taken += count
        return [place % len(pool) for place in range(self._taken - count, self._taken)]


@breaks("state")
class LosesOnLoading(Component):
    """Saves its moving average and does not take it back."""

    _average: float = PrivateAttr(default=0.0)

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        self._average = 0.5 * self._average + 0.5 * float(batch.rewards.mean())
        return batch.rewards - self._average

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average}


@breaks("state")
class ObjectState(Component):
    """Saves an object that a checkpoint cannot hold."""

    _seen: set[str] = PrivateAttr(default_factory=set)

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        self._seen.update(batch.texts)
        return torch.zeros(len(batch.texts))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._seen = state["seen"]


@breaks("finite")
class WrapsBadly(Component):
    """A wrapper that divides what others give."""

    @hookimpl(wrapper=True)
    def estimate_advantages(self, batch: Batch) -> Generator[None, Tensor, Tensor]:
        advantages = yield
        return advantages / batch.correct
