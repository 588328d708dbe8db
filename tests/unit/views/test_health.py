"""Health rules: what each says of a series made for it, at both sides of its threshold, and of the series of real runs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from dapoctl.runs.history import Series
from dapoctl.views import health
from dapoctl.views.health import Look, check

Values = Sequence[float]


def look(state: str = "finished", times: Values | None = None, why: str = "", **metrics: Values) -> Look:
    """Metrics by name with `__` for `/` and `_at_` for `@`."""
    series = {
        name.replace("__", "/").replace("_at_", "@"): Series([*range(1, len(values) + 1)], [*values])
        for name, values in metrics.items()
    }
    steps = max((len(values) for values in metrics.values()), default=0)
    return Look(series, state, times if times is not None else [float(step) for step in range(steps)], why)


def said(found: Look) -> list[str]:
    return [warning.what for warning in check(found).warnings]


def flat(value: float, count: int = 30) -> list[float]:
    return [value] * count


def course(first: float, last: float, count: int = 40) -> list[float]:
    return [first + (last - first) * index / (count - 1) for index in range(count)]


def test_nothing_to_look_at() -> None:
    found = check(look())
    assert (found.warnings, found.steps) == ((), 0)
    assert health.strip_words(found) == "no step yet"
    assert "from step 15 on" in health.strip_words(check(look(reward__mean=[0.1, 0.2])))


def test_entropy() -> None:
    start = [0.5] * 5
    assert said(look(policy__entropy=start + flat(0.051))) == []
    (words,) = said(look(policy__entropy=start + flat(0.049)))
    assert words == "entropy collapsed: 0.049, 9.8% of its start (0.500)"
    assert said(look(policy__entropy=start + flat(1.49))) == []
    (words,) = said(look(policy__entropy=start + flat(1.51)))
    assert words.startswith("entropy explodes: 1.510, 3.0 times")
    assert said(look(policy__entropy=[0.5] * 5 + [0.0] * 5)) == [], "too early"
    assert said(look(policy__entropy=flat(0.0))) == [], "no entropy to lose"


def test_clipping_and_large_steps() -> None:
    assert said(look(policy__clip_fraction_low=flat(0.1), policy__clip_fraction_high=flat(0.09))) == []
    assert said(look(policy__clip_fraction_low=flat(0.1), policy__clip_fraction_high=flat(0.11))) == [
        "21.0% of tokens clipped (low 10.0%, high 11.0%)"
    ]
    assert said(look(policy__clip_fraction_high=flat(0.3)))[0].startswith("30.0% of tokens clipped (low nan")
    assert said(look(policy__approx_kl=flat(0.09))) == []
    assert said(look(policy__approx_kl=flat(0.11))) == ["the policy moves 0.110 nats within a step"]


def test_truncation() -> None:
    assert said(look(response__truncated_fraction=flat(0.24))) == []
    assert said(look(response__truncated_fraction=flat(0.25))) == ["25.0% of responses are truncated"]
    assert said(look(response__truncated_fraction=[0.02] * 5 + flat(0.11))) == []
    assert said(look(response__truncated_fraction=[0.02] * 5 + flat(0.13))) == [
        "more responses are truncated: 13.0%, from 2.0%"
    ]


def test_groups() -> None:
    assert said(look(groups__kept_fraction=flat(0.11))) == []
    found = look(groups__kept_fraction=flat(0.05), groups__all_right=flat(0.05), groups__all_wrong=flat(0.9))
    (warning,) = check(found).warnings
    assert warning.what == "only 5.0% of groups are kept (all right 5.0%, all wrong 90.0%)"
    assert "easier" in warning.try_
    came_apart = look(groups__all_right=flat(0.0), groups__all_wrong=flat(1.0), score__accuracy=[0.4] * 5 + flat(0.0))
    assert "before the reward fell" in check(came_apart).warnings[0].try_
    found = look(groups__kept_fraction=flat(1.0), groups__all_right=flat(0.9), groups__all_wrong=flat(0.05))
    (warning,) = check(found).warnings
    assert warning.what.startswith("95.0% of groups teach nothing")
    assert "harder" in warning.try_
    assert said(look(groups__all_right=flat(0.5), groups__all_wrong=flat(0.4))) == []
    infinite = look(groups__responses_per_kept=flat(math.inf), groups__kept_fraction=flat(0.0))
    assert len(said(infinite)) == 1, "an infinite number of responses per kept group is not news of its own"


def test_not_finite_and_skipped_updates() -> None:
    values = flat(0.1, 40)
    values[30] = math.nan
    assert said(look(policy__loss=values)) == ["not finite at step 31: policy/loss"]
    values = flat(0.1, 40)
    values[10] = math.nan
    assert said(look(policy__loss=values)) == [], "long over"
    assert said(look(policy__skipped_updates=[*flat(0.0, 38), 1.0, 0.5])) == [
        "updates left out in 2 of the last 20 steps: their gradient was not finite"
    ]
    assert said(look(policy__skipped_updates=[1.0, *flat(0.0, 20)])) == []
    everything = look(policy__loss=[math.nan], policy__grad_norm=[math.inf], reward__mean=[-math.inf])
    assert said(everything) == ["not finite at step 1: policy/loss, policy/grad_norm and 1 more"]


def test_mismatch() -> None:
    assert said(look(rollout__logprob_mismatch_mean=flat(0.011), rollout__importance_ess=flat(0.98))) == []
    (words,) = said(look(rollout__logprob_mismatch_mean=flat(0.06), rollout__importance_ess=flat(0.9)))
    assert words == "engine and trainer disagree: 0.060 nats per token, effective sample size 90.0%"
    (warning,) = check(look(rollout__importance_ess=flat(0.3))).warnings
    assert warning.grave


def test_an_engine_that_does_not_follow_is_told_once_its_errors_allow() -> None:
    def told(share: float, error: float) -> list[str]:
        return said(look(rollout__engine_follows=flat(share), rollout__engine_follows_error=flat(error)))

    assert told(1.02, 0.3) == told(0.85, 0.3) == told(0.95, 0.01) == []
    (words,) = told(0.2, 0.1)
    assert "20.0% of what the policy has learned reaches what is sampled" in words
    # One step's share says little, those of several together more.
    assert told(0.6, 0.4) != []
    assert said(look(rollout__engine_follows=flat(0.2))) == []


def test_learning() -> None:
    rng = random.Random(1)
    noise = [rng.gauss(0, 0.1) for _ in range(200)]
    assert said(look(reward__mean=[0.1 + value for value in noise])) == [
        f"no learning in 200 steps: reward +{sum(noise[-40:]) / 40 + 0.1:.3f}, from +{sum(noise[:40]) / 40 + 0.1:.3f}"
    ]
    rising = [value + index / 400 for index, value in enumerate(noise)]
    assert said(look(reward__mean=rising)) == []
    assert said(look(reward__mean=noise[:49])) == [], "too early"
    assert said(look(reward__mean=noise, score__accuracy=flat(0.95, 200))) == [], "nothing left to learn"
    fallen = [value / 10 + min(index, 120) / 120 - max(0, index - 120) / 160 for index, value in enumerate(noise)]
    (words,) = said(look(reward__mean=fallen))
    assert words.startswith("the reward has fallen to +0.5")
    step = int(words.rpartition(" ")[2])
    assert abs(step - 121) <= 10
    assert said(look(reward__mean=[1.0] * 60)) == ["no learning in 60 steps: reward +1.000, from +1.000"]


def test_length() -> None:
    longer = [100.0] * 5 + flat(210.0)
    assert said(look(response__length_mean=longer, score__accuracy=flat(0.4, 35)))[0].startswith("responses grow")
    assert said(look(response__length_mean=longer, score__accuracy=[0.4] * 5 + flat(0.5))) == []
    assert said(look(response__length_mean=[100.0] * 5 + flat(24.0))) == ["responses shrink: 24.0 tokens, from 100.0"]
    assert said(look(response__length_mean=[100.0] * 5 + flat(26.0))) == []


def test_scoring() -> None:
    assert said(look(score__unanswered=flat(0.49), score__error=flat(0.01), score__timeout=flat(0.01))) == []
    assert said(look(score__unanswered=flat(0.6), score__error=flat(0.03), score__timeout=flat(0.03))) == [
        "no answer can be read in 60.0% of responses",
        "the scorer failed on 3.0% of responses",
        "the scorer gave up on 3.0% of responses",
    ]


def test_held_out() -> None:
    names = ("eval__a__avg_at_8", "eval__a__avg_at_8__low", "eval__a__avg_at_8__high")
    for last, expected in ((0.44, []), (0.39, ["held-out a avg@8 fell to 39.0%, from 50.0%"])):
        values = [0.3, 0.5, last]
        series = dict(zip(names, (values, [v - 0.05 for v in values], [v + 0.05 for v in values]), strict=True))
        assert said(look(**series)) == expected


def test_speed_and_silence() -> None:
    assert said(look(throughput__trained_tokens_per_s=[1000.0] * 5 + flat(510.0))) == []
    assert said(look(throughput__trained_tokens_per_s=[1000.0] * 5 + flat(490.0)))[0].startswith(
        "the update has become slow"
    )
    # Whether it is stalled is said by the state, which a clock that was set cannot mislead.
    silent = "no word for 8 min, last in: update"
    metrics = {"reward__mean": flat(0.1)}
    assert said(look("stalled", why=silent, **metrics)) == [silent]
    assert said(look("stalled", [], silent)) == [silent]
    assert said(look("stalled", [])) == ["no word from the trainer"]
    for state in ("running", "starting", "finished", "failed"):
        assert said(look(state, why="anything", **metrics)) == []


def test_the_grave_come_first_and_every_warning_says_what_to_do() -> None:
    found = check(look(response__truncated_fraction=flat(0.6), policy__loss=[*flat(0.1), math.nan])).warnings
    assert [warning.grave for warning in found] == [True, False]
    assert all(len(warning.try_) > 20 for warning in found)


@pytest.mark.parametrize("seed", range(20))
def test_no_rule_fails_on_rubbish(seed: int) -> None:
    rng = random.Random(seed)
    names = [
        "policy/entropy",
        "reward/mean",
        "score/accuracy",
        "policy/clip_fraction_low",
        "response/truncated_fraction",
    ]
    names += ["groups/kept_fraction", "groups/all_right", "groups/all_wrong", "rollout/logprob_mismatch_mean"]
    names += ["response/length_mean", "score/unanswered", "eval/a/avg@1", "eval/a/avg@1/low", "eval/a/avg@1/high"]
    names += ["throughput/trained_tokens_per_s", "policy/skipped_updates", "rollout/importance_ess", "policy/approx_kl"]
    names += ["rollout/engine_follows", "rollout/engine_follows_error"]
    pool = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1e308, -1e308, 5e-324, 0.5]
    count = rng.randrange(80)
    series = {}
    for name in names:
        values = rng.choices(pool, k=rng.randrange(count + 1))
        series[name] = Series(rng.choices(range(-5, 999), k=len(values)), values)
    for state in ("running", "finished", "unknown"):
        check(Look(series, state, rng.choices(pool, k=count), "why" * (seed % 2)))


RECORDED = Path(__file__).with_name("run_metrics.json")
"""Of runs of `tiny` by the trainer with 8 prompts x 8 responses: as by default; optim.lr = 0.02; rollout.max_response_tokens
= 24; optim.lr = 1e-9; optim.lr = 0.004 with 8 updates per step. Three digits; [value, count] where all are the same."""


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("well", []),
        (
            "destroyed",
            [
                "the reward has fallen to -1.000, from -0.831 around step 10",
                "98.4% of responses are truncated",
                "100.0% of groups teach nothing (all right 0.0%, all wrong 100.0%)",
                "responses grow without more accuracy: 79.7 tokens, from 30.0",
                "no answer can be read in 100.0% of responses",
            ],
        ),
        ("cut-off", ["68.0% of responses are truncated"]),
        ("asleep", ["no learning in 60 steps: reward -0.044, from -0.146"]),
        (
            "rushed",
            [
                "entropy explodes: 0.397, 4.2 times its start (0.094)",
                "the reward has fallen to -1.000, from -0.659 around step 10",
                "100.0% of groups teach nothing (all right 0.0%, all wrong 100.0%)",
            ],
        ),
    ],
)
def test_what_is_said_of_real_runs(run: str, expected: list[str]) -> None:
    """Expected is what a person who looks at these runs' curves would say, in the rules' words."""
    recorded = json.loads(RECORDED.read_text())[run]
    metrics = {name: [values[0]] * values[1] if len(values) == 2 else values for name, values in recorded.items()}
    assert said(look(**metrics)) == expected
