"""Which prompts and groups are worth the compute: statistics of the draws, the filters at their bounds, state."""

from __future__ import annotations

import dataclasses
import io
import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from dapoctl_curriculum.groups import AccuracyRange, ZeroVarianceMask
from dapoctl_curriculum.pools import DifficultyPools
from dapoctl_curriculum.thompson import Thompson
from dapoctl_dapo.sampling import DynamicSampling
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import integrate, stats

from dapoctl import Batch, Problem, PromptPool, Refill, UserError
from dapoctl.components.pipeline import Pipeline
from dapoctl.config import RunConfig
from dapoctl.config.schema import RolloutConfig
from dapoctl.training.batching import select_groups
from dapoctl.training.learner import History
from dapoctl.training.step import accumulate_gradient, estimate, learn
from tests.support.helpers import make_batch, record
from tests.support.learners import gradients, in_float64, make_learner, responses_batch

LEAST_LIKELY = 1e-3
"""Seeds are fixed, so a test of a right component does not fail by chance; a wrong one's p-value is smaller by far."""


def pool_of(history: History, step: int, round_: int = 0, seed: int = 0) -> PromptPool:
    """The pool that a learner with this history shows to `select_prompts`."""
    size = len(history.attempts)
    return PromptPool(
        problems=[Problem(str(index), "", "") for index in range(size)],
        attempts=history.attempts,
        solved=history.solved,
        last_step=history.last_step,
        seed=seed,
        step=step,
        rng=np.random.default_rng([seed, 1, step, round_]),
    )


def history_of(outcomes: list[tuple[int, int]], step: int = 0) -> History:
    """A history of (attempts, solved) for each prompt, all sampled at `step` but those without attempts."""
    history = History.empty(len(outcomes))
    for index, (attempts, solved) in enumerate(outcomes):
        if attempts:
            history.record([index], [solved], attempts, step)
    return history


class Run:
    """A component choosing prompts that a policy of fixed solve rates answers."""

    def __init__(self, component: Any, rates: NDArray[np.float64], count: int, samples: int = 8) -> None:
        self.component, self.rates, self.count, self.samples = component, rates, count, samples
        self.history = History.empty(len(rates))

    def step(self, step: int, rounds: int = 1) -> list[int]:
        chosen = []
        for round_ in range(rounds):
            indices = self.component.select_prompts(pool_of(self.history, step, round_), self.count)
            right = np.random.default_rng([7, step, round_]).binomial(self.samples, self.rates[indices]).tolist()
            self.history.record(indices, right, self.samples, step)
            chosen += indices
        return chosen


COMPONENTS = [
    DifficultyPools,
    lambda: DifficultyPools(unseen=0.0, hard=0.0, medium=0.0, easy=0.0),
    lambda: DifficultyPools(medium=0.0, retire_at=0.5, return_after=3),
    Thompson,
    lambda: Thompson(discount=0.0, target=0.9),
]


# Both samplers


@pytest.mark.parametrize("make", COMPONENTS)
@pytest.mark.parametrize("count", [1, 7, 20])
def test_prompts_are_distinct_and_never_run_out(make: Any, count: int) -> None:
    """Whatever the weights, and when everything is solved."""
    for rates in (np.zeros(20), np.ones(20), np.linspace(0, 1, 20)):
        run = Run(make(), rates, count)
        for step in range(1, 12):
            chosen = run.step(step)
            assert len({*chosen}) == len(chosen) == count
            assert {type(index) for index in chosen} == {int}
            assert 0 <= min(chosen) <= max(chosen) < 20


@pytest.mark.parametrize("make", COMPONENTS)
def test_more_prompts_than_there_are_go_round(make: Any) -> None:
    chosen = make().select_prompts(pool_of(History.empty(3), 1), 8)
    assert [sorted(chosen[:3]), sorted(chosen[3:6])] == [[0, 1, 2]] * 2
    assert len({*chosen[6:]}) == 2


@pytest.mark.parametrize("make", COMPONENTS)
def test_later_rounds_of_a_step_find_new_prompts_while_there_are_some(make: Any) -> None:
    run = Run(make(), np.full(20, 0.5), 6)
    for step in range(1, 6):
        chosen = run.step(step, rounds=4)
        assert len({*chosen[:18]}) == 18
        assert {*chosen} == {*range(20)}


@pytest.mark.parametrize("make", COMPONENTS)
@pytest.mark.parametrize("stop", [0, 1, 5])
def test_resumed_as_never_stopped(make: Any, stop: int) -> None:
    """State goes through a checkpoint's file; what the pool knows is saved beside it."""
    rates = np.linspace(0, 1, 30)
    straight, first = Run(make(), rates, 5), Run(make(), rates, 5)
    expected = [straight.step(step, rounds=2) for step in range(1, 13)]
    for step in range(1, stop + 1):
        first.step(step, rounds=2)
    file = io.BytesIO()
    torch.save({"component": first.component.state_dict(), "history": first.history.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = Run(make(), rates, 5)
    second.component.load_state_dict(state["component"])
    second.history = History.from_state(state["history"])
    assert [second.step(step, rounds=2) for step in range(stop + 1, 13)] == expected[stop:]
    states = [
        {name: values.tolist() for name, values in run.component.state_dict().items()} for run in (second, straight)
    ]
    assert states[0] == states[1]


@pytest.mark.parametrize("make", COMPONENTS)
@pytest.mark.parametrize("given_up", [1, 4])
def test_a_step_that_is_given_up_leaves_no_trace(make: Any, given_up: int) -> None:
    """As the trainer does it: state and history of before, by name and through the pipeline."""
    rates = np.linspace(0, 1, 30)
    straight, disturbed = Run(make(), rates, 5), Run(make(), rates, 5)
    expected = [straight.step(step, rounds=2) for step in range(1, 9)]
    pipeline = Pipeline([disturbed.component])
    got = []
    for step in range(1, 9):
        if step == given_up:
            states, history = pipeline.state_dict(), History.from_state(disturbed.history.state_dict())
            disturbed.step(step, rounds=2)
            pipeline.load_state_dict(states)
            disturbed.history = history
        got.append(disturbed.step(step, rounds=2))
    assert got == expected


@pytest.mark.parametrize("make", COMPONENTS)
def test_the_run_s_counts_are_left_as_they_were(make: Any) -> None:
    history = history_of([(8, 3), (0, 0), (16, 16), (8, 0)])
    before = history.state_dict()
    make().select_prompts(pool_of(history, 3), 3)
    assert history.state_dict() == before


@pytest.mark.parametrize("discount", [0.0, 0.5, 1.0])
def test_each_visit_discounts_the_ones_before(discount: float) -> None:
    """A prompt visited twice in between looks as often as once a step; others stay as they were."""
    visits = {0: [(8, 2), (8, 4), (8, 8)], 1: [(8, 8)], 2: []}
    component, history = Thompson(discount=discount, prior_right=0.5, prior_wrong=2.0), History.empty(3)
    for step in range(4):
        component.select_prompts(pool_of(history, step), 1)
        for prompt, outcomes in visits.items():
            if step < len(outcomes):
                history.record([prompt], [outcomes[step][1]], outcomes[step][0], step)
    right, wrong = component.posterior()
    for prompt, outcomes in visits.items():
        aged = [(discount ** (len(outcomes) - 1 - place), outcome) for place, outcome in enumerate(outcomes)]
        assert right[prompt] == pytest.approx(0.5 + sum(age * solved for age, (_, solved) in aged))
        assert wrong[prompt] == pytest.approx(2.0 + sum(age * (n - solved) for age, (n, solved) in aged))


# difficulty_pools

MIXED = [(0, 0), (0, 0), (8, 0), (8, 1), (8, 2), (8, 4), (8, 6), (8, 7), (8, 8)]
"""Two unseen, two hard, three medium (2/8 and 6/8 are on the bounds), one easy, one retired"""


def test_every_prompt_s_chance_is_its_pool_s_weight() -> None:
    weights = {"unseen": 1.0, "hard": 3.0, "medium": 2.0, "easy": 0.5}
    expected = np.array([1.0, 1.0, 3.0, 3.0, 2.0, 2.0, 2.0, 0.5, 0.0])
    counts = np.zeros(9)
    for seed in range(4000):
        component = DifficultyPools(**weights)
        counts[component.select_prompts(pool_of(history_of(MIXED), 1, seed=seed), 1)[0]] += 1
    assert counts[8] == 0
    assert stats.chisquare(counts[:8], 4000 * expected[:8] / expected.sum()).pvalue > LEAST_LIKELY


def test_several_prompts_are_drawn_one_after_the_other_without_repetition() -> None:
    """P(i then j) = p_i p_j / (1 - p_i), for the unordered pairs of a pool of five."""
    outcomes = [(8, 0), (8, 4), (8, 7), (0, 0), (8, 5)]
    p = np.array([1.0, 2.0, 0.5, 1.0, 2.0]) / 6.5
    pairs = list(itertools.combinations(range(5), 2))
    expected = np.array([p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]) for i, j in pairs])
    counts = dict.fromkeys(pairs, 0)
    for seed in range(4000):
        i, j = sorted(DifficultyPools().select_prompts(pool_of(history_of(outcomes), 1, seed=seed), 2))
        counts[i, j] += 1
    assert stats.chisquare([*counts.values()], 4000 * expected).pvalue > LEAST_LIKELY


def test_pools_are_logged() -> None:
    component = DifficultyPools()
    logged = record(component, "difficulty_pools")
    component.select_prompts(pool_of(history_of(MIXED), 1), 2)
    assert {name.removeprefix("difficulty_pools/"): round(9 * value[0]) for name, value in logged.items()} == {
        "unseen_fraction": 2,
        "hard_fraction": 2,
        "medium_fraction": 3,
        "easy_fraction": 1,
        "retired_fraction": 1,
    }


def test_the_rate_that_counts_is_the_recent_one() -> None:
    """Failed 64 times, then solved: retired at once with no memory, hard for the whole run's rate."""
    places = {}
    for discount in (0.0, 1.0):
        component, history = DifficultyPools(discount=discount), history_of([(64, 0), (8, 4)])
        logged = record(component, "pools")
        component.select_prompts(pool_of(history, 1), 1)
        history.record([0], [8], 8, 1)
        component.select_prompts(pool_of(history, 2), 1)
        places[discount] = {name: values[1] for name, values in logged.items() if values[1]}
    assert places == {
        0.0: {"pools/retired_fraction": 0.5, "pools/medium_fraction": 0.5},
        1.0: {"pools/hard_fraction": 0.5, "pools/medium_fraction": 0.5},
    }


def test_solved_prompts_come_back_after_a_while() -> None:
    component, history = DifficultyPools(return_after=10), history_of([(8, 8), *[(8, 4)] * 9], step=5)
    chosen = {step: component.select_prompts(pool_of(history, step), 9) for step in (6, 14)}
    assert all(0 not in indices for indices in chosen.values())
    back = [component.select_prompts(pool_of(history, 15, seed=seed), 9) for seed in range(40)]
    # As an easy prompt: weight 0.5 beside nine of 2.
    assert 0 < sum(0 in indices for indices in back) < 40


def test_when_all_is_solved_the_longest_unseen_come_first() -> None:
    history = History.empty(6)
    for index, step in enumerate([3, 1, 4, 1, 5, 2]):
        history.record([index], [8], 8, step)
    chosen = DifficultyPools().select_prompts(pool_of(history, 6), 4)
    assert [{*chosen[:2]}, chosen[2:]] == [{1, 3}, [5, 0]]


def test_a_pool_of_weight_0_is_left_for_last() -> None:
    for seed in range(20):
        chosen = DifficultyPools(unseen=0.0).select_prompts(pool_of(history_of(MIXED), 1, seed=seed), 8)
        assert {*chosen[:6]} == {2, 3, 4, 5, 6, 7}
        assert {*chosen[6:]} == {0, 1}


def test_bounds_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"hard_below = 0\.8 must not be above easy_above = 0\.75"):
        DifficultyPools(hard_below=0.8)


# thompson


@pytest.mark.parametrize("target", [0.5, 0.3])
def test_the_nearest_draw_from_the_posterior_wins(target: float) -> None:
    """P(|X - t| < |Y - t|) for two Beta posteriors, by numerical integration of scipy's densities."""
    parameters = [(1 + 3, 1 + 5), (1 + 7, 1 + 1)]
    distances = [stats.beta(*pair) for pair in parameters]

    def cdf(which: int, d: float) -> float:
        return float(distances[which].cdf(target + d) - distances[which].cdf(target - d))

    def density(which: int, d: float) -> float:
        return float(distances[which].pdf(target + d) + distances[which].pdf(target - d))

    expected, _ = integrate.quad(lambda d: density(0, d) * (1 - cdf(1, d)), 0, 1, points=[target, 1 - target])
    wins = sum(
        Thompson(target=target).select_prompts(pool_of(history_of([(8, 3), (8, 7)]), 1, seed=seed), 1) == [0]
        for seed in range(3000)
    )
    assert 0.5 < expected < 0.99
    assert stats.binomtest(wins, 3000, expected).pvalue > LEAST_LIKELY


def test_thompson_finds_the_prompts_worth_training_on() -> None:
    """Of 400 prompts, most of them hopeless or solved, it comes to sample those near one half."""
    rates = np.random.default_rng(3).choice([0.0, 0.05, 0.5, 0.95, 1.0], size=400)
    share = float((rates == 0.5).mean())
    run = Run(Thompson(discount=1.0), rates, 16)
    chosen = [run.step(step) for step in range(1, 121)]
    early, late = (
        np.mean([rates[index] == 0.5 for step in part for index in step]) for part in (chosen[:5], chosen[-30:])
    )
    assert early < 2 * share
    assert late > 0.9


def test_thompson_tries_again_what_it_knew_when_the_evidence_fades() -> None:
    """A prompt that was hopeless and is at one half by now is found, sooner without a memory."""
    first = {}
    for discount in (0.0, 1.0):
        rates = np.concatenate([[0.0], np.full(9, 0.5)])
        run = Run(Thompson(discount=discount), rates, 5)
        for step in range(1, 31):
            run.step(step)
        rates[0] = 0.5
        for step in range(31, 400):
            run.step(step)
        first[discount] = int(run.history.attempts[0])
    assert first[0.0] > 1.5 * first[1.0]


# accuracy_range


@pytest.mark.parametrize("size", [1, 4, 5, 8, 10, 16])
@pytest.mark.parametrize(("lo", "hi"), [(0.2, 0.8), (0.0, 1.0), (0.25, 0.75), (0.1, 0.3), (0.6, 1.0)])
def test_range_is_open_at_both_ends(size: int, lo: float, hi: float) -> None:
    """k / G against the decimals as they are written."""
    correct = [[index < right for index in range(size)] for right in range(size + 1)]
    kept = AccuracyRange(lo=lo, hi=hi).filter_groups(make_batch([[1.0] * size] * (size + 1), correct=correct))
    exact = [Fraction(str(lo)) < Fraction(right, size) < Fraction(str(hi)) for right in range(size + 1)]
    assert kept.tolist() == exact


def test_the_whole_range_is_dynamic_sampling() -> None:
    correct = [list(group) for size in (1, 2, 3) for group in itertools.product([False, True], repeat=size)]
    batch = make_batch([[0.0] * len(group) for group in correct], correct=correct)
    assert torch.equal(AccuracyRange(lo=0, hi=1).filter_groups(batch), DynamicSampling().filter_groups(batch))


def test_refill_is_set_as_for_dynamic_sampling() -> None:
    assert AccuracyRange().plan_refill() == DynamicSampling().plan_refill() == Refill(10, "train_partial", 0)
    parameters: dict[str, Any] = {"max_rounds": 3, "on_exhausted": "error", "max_staleness": 2}
    assert AccuracyRange(**parameters).plan_refill() == Refill(**parameters)
    own = {name: field for name, field in AccuracyRange.model_fields.items() if name not in ("lo", "hi")}
    assert {name: (field.default, field.description) for name, field in own.items()} == {
        name: (field.default, field.description) for name, field in DynamicSampling.model_fields.items()
    }


def test_ranges_that_nothing_can_pass_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"lo = 0\.8 must be below hi = 0\.8"):
        AccuracyRange(lo=0.8)
    AccuracyRange(lo=0.3, hi=0.7).check_run(RunConfig(rollout=RolloutConfig(samples=2)))
    with pytest.raises(UserError, match=r"`accuracy_range`.*`lo` = 0\.3.*`hi` = 0\.45.*`rollout\.samples` = 4"):
        AccuracyRange(lo=0.3, hi=0.45).check_run(RunConfig(rollout=RolloutConfig(samples=4)))
    with pytest.raises(UserError, match=r"`rollout\.samples` = 1"):
        AccuracyRange().check_run(RunConfig(rollout=RolloutConfig(samples=1)))


# zero_variance_mask


def test_groups_of_equal_rewards_are_masked() -> None:
    groups = [[1.0, 1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [0.1 + 0.2, 0.3], [0.5], [-1.0, -1.25, -1.0]]
    batch = make_batch(groups)
    assert batch.rewards[7] == batch.rewards[8]  # in float32
    component = ZeroVarianceMask()
    logged = record(component, "zero_variance_mask")
    kept = component.mask_responses(batch)
    assert kept.dtype == torch.bool
    equal = [len(group) > 1 and len({np.float32(reward).item() for reward in group}) == 1 for group in groups]
    assert kept.tolist() == [not flat for flat, group in zip(equal, groups, strict=True) for _ in group]
    assert logged["groups/zero_variance"] == [float(flat) for flat in equal]


def flattened(batch: Batch, groups: set[int]) -> Batch:
    """The batch with equal rewards in `groups`."""
    flat = torch.tensor([int(group) in groups for group in batch.groups])
    return dataclasses.replace(batch, rewards=batch.rewards.masked_fill(flat, -1.0))


@pytest.mark.parametrize("weights", ["sequence_mean", "token_mean", "group_token_mean", "constant_length"])
def test_masked_groups_are_as_if_they_had_not_been_sampled(weights: str) -> None:
    """Of the whole step's loss and gradient, penalties included."""
    learner = in_float64(
        make_learner(["zero_variance_mask", "kl", weights], tables={"kl": {"coef": 0.1}}, move_policy=0.05)
    )
    whole = flattened(responses_batch(learner.policy), {1})
    without = select_groups(whole, [0, 2])
    results = []
    for batch in (whole, without):
        learner.policy.model.zero_grad()
        results.append((accumulate_gradient(learner, estimate(learner, batch)), gradients(learner)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-9)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-7, atol=1e-12)
    assert results[1][1].norm() > 1e-3


def test_a_batch_that_is_masked_as_a_whole_changes_nothing() -> None:
    learner = make_learner(["zero_variance_mask"], optim={"updates": 2, "lr": 1.0})
    before = [parameter.clone() for parameter in learner.policy.parameters()]
    batch = estimate(learner, flattened(responses_batch(learner.policy), {0, 1, 2}))
    assert batch.counts.tokens == 0
    learn(learner, batch, 1)
    assert all(torch.equal(*pair) for pair in zip(before, learner.policy.parameters(), strict=True))
    assert learner.metrics.result()["policy/skipped_updates"] == 0
