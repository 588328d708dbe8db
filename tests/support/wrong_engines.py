"""Engines that are wrong on purpose, each in one way; all are the shipped one with something changed."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from dapoctl import Component, Engine, hookimpl
from dapoctl.engines import Completion, Sampling
from dapoctl.engines.hf import HfEngine
from dapoctl.models.policy import Policy
from tests.support.wrong_components import breaks

Groups = list[list[Completion]]


class Base(HfEngine):
    """The shipped engine, which each of these changes."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, 256)

    def inner(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return HfEngine.generate(self, prompt_ids, sampling, n)


class Quiet(Base):
    """Reports nothing, so that what is reported and what is returned cannot differ."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.inside = HfEngine(policy, 256)
        del self.finished, self.progress

    def inner(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inside.generate(prompt_ids, sampling, n)


def changed(groups: Groups, **values: Any) -> Groups:
    return [[dataclasses.replace(one, **values) for one in group] for group in groups]


class AlwaysLong(Quiet):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return changed(self.inner(prompt_ids, sampling, n), finish_reason="length")


@breaks("completions")
class SaysLength(Component):
    """Every response is said to be truncated."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return AlwaysLong(policy)


class TalksOn(Quiet):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        def longer(one: Completion) -> Completion:
            room = sampling.max_tokens - len(one.token_ids)
            return Completion([*one.token_ids, *[1] * room], [*one.logprobs, *[-1.0] * room], "length")

        return [[longer(one) for one in group] for group in self.inner(prompt_ids, sampling, n)]


@breaks("completions")
class PadsResponses(Component):
    """Fills responses up to the limit."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return TalksOn(policy)


class Twice(Base):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        groups = self.inner(prompt_ids, sampling, n)
        self.finished(0, groups[0])
        return groups


@breaks("completions")
class ReportsTwice(Component):
    """Reports the first prompt a second time."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return Twice(policy)


class Short(Quiet):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inner(prompt_ids, sampling, n)[:1]


@breaks("completions")
class ForgetsPrompts(Component):
    """Answers the first prompt only."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return Short(policy)


@breaks("completions")
class NoEngine(Component):
    """What it builds has none of an engine's methods."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return policy  # type: ignore[return-value]


class TooHot(Base):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inner(prompt_ids, dataclasses.replace(sampling, temperature=min(1.0, sampling.temperature * 9)), n)


@breaks("logprobs")
class IgnoresTemperature(Component):
    """Samples at temperature 1, and says so."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return TooHot(policy)


class Uncut(Base):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inner(prompt_ids, dataclasses.replace(sampling, top_p=1.0), n)


@breaks("logprobs")
class IgnoresTopP(Component):
    """Samples from the whole vocabulary."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return Uncut(policy)


class NotGreedy(Base):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inner(prompt_ids, dataclasses.replace(sampling, temperature=sampling.temperature or 1.0), n)


@breaks("logprobs")
class NeverGreedy(Component):
    """Takes temperature 0 for temperature 1."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return NotGreedy(policy)


class Likelier(Quiet):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return [
            [max(pair, key=lambda one: sum(one.logprobs)) for pair in zip(group[::2], group[1::2], strict=True)]
            for group in self.inner(prompt_ids, sampling, 2 * n)
        ]


@breaks("logprobs")
class BestOfTwo(Component):
    """Draws twice and keeps what is more likely: each log-probability is right, and the distribution is not."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return Likelier(policy)


class Unseeded(Base):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inner(prompt_ids, dataclasses.replace(sampling, seed=random.getrandbits(60), seeds=()), n)


@breaks("seeds")
class DrawsFreely(Component):
    """Never the same twice."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return Unseeded(policy)


class OneSeed(Base):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inner(prompt_ids, dataclasses.replace(sampling, seed=1), n)


@breaks("seeds")
class IgnoresTheSeed(Component):
    """The same responses for every seed."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return OneSeed(policy)


class SharedSeed(Base):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        return self.inner(prompt_ids, dataclasses.replace(sampling, seeds=()), n)


@breaks("seeds")
class SharesTheSeed(Component):
    """Draws for all prompts from one stream."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return SharedSeed(policy)


class SameAgain(Quiet):
    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> Groups:
        if n > 32:
            return self.inner(prompt_ids, sampling, n)
        return [group * n for group in self.inner(prompt_ids, sampling, 1)]


@breaks("seeds")
class RepeatsItself(Component):
    """One response, n times."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return SameAgain(policy)


class Stale(Base):
    def __init__(self, policy: Policy) -> None:
        super().__init__(copy.deepcopy(policy))


@breaks("weights")
class KeepsOldWeights(Component):
    """A copy of the policy that never hears of an update."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return Stale(policy)


class Sleeper(Base):
    def sleep(self) -> None:
        raise NotImplementedError


@breaks("weights")
class CannotSleep(Component):
    """Has the method, and nothing in it."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return Sleeper(policy)
