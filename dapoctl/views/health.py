"""Is a run healthy? Rules that look at its metrics and say in words what stands out, and what to look at or try.

Where each draws its line, and why there, is in `health_limits`.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dapoctl.runs.state import LONGER as LONGER_SILENCE
from dapoctl.views.health_limits import (
    ALIKE,
    BEYOND,
    CLIPPED,
    EARLY,
    ENTROPY_GROWN,
    ENTROPY_LEFT,
    ESS,
    EXACT,
    FALL_ERRORS,
    FALLEN,
    FAULTS,
    FLAT_AFTER,
    FLAT_ERRORS,
    FOLLOWS,
    KEPT,
    LONGER,
    MISMATCH,
    RECENT,
    SHORTER,
    SKIPS_SEEN,
    SLOWER,
    SOLVED,
    START,
    STEP_KL,
    TRUNCATED,
    TRUNCATED_RISE,
    UNANSWERED,
)
from dapoctl.views.metrics import ENTROPY, REWARD, is_held_out, title
from dapoctl.views.numbers import number, percent

if TYPE_CHECKING:
    from dapoctl.runs.history import Series


@dataclass(frozen=True)
class Look:
    """What the rules look at."""

    series: Mapping[str, Series]
    state: str = "finished"
    times: Sequence[float] = ()
    """When each step was written"""
    why: str = ""
    """What there is to say about the state: since when it is silent, and in what"""

    def values(self, name: str) -> list[float]:
        """Finite values of a metric; figures that nothing can measure are damage."""
        found = self.series.get(name)
        return [value for value in found.values if -BEYOND < value < BEYOND] if found else []

    def start(self, name: str) -> float:
        """How it began; not-a-number before there is a course to speak of."""
        found = self.series.get(name)
        if found is None or len(found.values) < EARLY:
            return math.nan
        return _median(found.values, START)

    def recent(self, name: str) -> float:
        """How it stands; not-a-number where that is too early."""
        found = self.series.get(name)
        if found is None or len(found.values) < START:
            return math.nan
        return _median(reversed(found.values), RECENT)


def _median(values: Iterable[float], count: int) -> float:
    """Of the first `count` that are finite; not-a-number where there is none."""
    found = [*itertools.islice((value for value in values if -BEYOND < value < BEYOND), count)]
    return statistics.median(found) if found else math.nan


@dataclass(frozen=True)
class Warn:
    """Something that stands out."""

    what: str
    """In one line, with the figures"""
    try_: str
    """What to look at or try"""
    grave: bool = False
    """Whether to go on as it is makes little sense"""


Rule = Callable[[Look], Iterator[Warn]]


@dataclass(frozen=True)
class Health:
    """What the rules found, the grave first."""

    warnings: tuple[Warn, ...] = ()
    steps: int = 0
    rules: int = field(default=0)


def check(look: Look) -> Health:
    """Ask every rule."""
    found = [warning for rule in RULES for warning in rule(look)]
    found.sort(key=lambda warning: not warning.grave)
    return Health(tuple(found), len(look.times), len(RULES))


def not_finite(look: Look) -> Iterator[Warn]:
    """A metric of the last steps is NaN or infinite."""
    bad = {}
    for name, series in look.series.items():
        # `groups/...` is infinite where nothing was kept, which another rule speaks of.
        if not name.startswith(("policy/", "reward/", "score/", "response/", "rollout/", "eval/")):
            continue
        recent = zip(series.steps[-SKIPS_SEEN:], series.values[-SKIPS_SEEN:], strict=False)
        where = [step for step, value in recent if not math.isfinite(value)]
        if where:
            bad[name] = where[-1]
    if bad:
        names = ", ".join(bad) if len(bad) <= 2 else f"{', '.join([*bad][:2])} and {len(bad) - 2} more"
        yield Warn(
            f"not finite at step {max(bad.values())}: {names}",
            "look at the gradient norm and the largest ratio in the steps before; try a lower optim.lr or"
            " model.dtype = float32",
            grave=True,
        )


def skipped(look: Look) -> Iterator[Warn]:
    """Updates were left out since their gradient was not finite."""
    recent = look.values("policy/skipped_updates")[-SKIPS_SEEN:]
    count = sum(value > 0 for value in recent)
    if count:
        yield Warn(
            f"updates left out in {count} of the last {len(recent)} steps: their gradient was not finite",
            "try a lower optim.lr, a longer optim.warmup_steps, or model.dtype = float32",
            grave=count * 2 >= len(recent),
        )


def entropy(look: Look) -> Iterator[Warn]:
    """The policy's entropy has collapsed or exploded."""
    start, now = look.start(ENTROPY), look.recent(ENTROPY)
    if not start > 0:
        return
    if now < ENTROPY_LEFT * start:
        yield Warn(
            f"entropy collapsed: {number(now)}, {percent(now / start)} of its start ({number(start)})",
            "look at zero-variance groups; try a higher upper clip bound, a regularizer, or a lower optim.lr",
        )
    elif now > ENTROPY_GROWN * start:
        yield Warn(
            f"entropy explodes: {number(now)}, {now / start:.1f} times its start ({number(start)})",
            "read the samples: is it still language? Try a lower optim.lr, a smaller entropy bonus, a KL penalty",
            grave=True,
        )


def clipped(look: Look) -> Iterator[Warn]:
    """Much of the gradient is clipped away, or a step moves the policy far."""
    low, high = (look.recent(f"policy/clip_fraction_{side}") for side in ("low", "high"))
    total = sum(value for value in (low, high) if math.isfinite(value))
    if total > CLIPPED:
        yield Warn(
            f"{percent(total)} of tokens clipped (low {percent(low)}, high {percent(high)})",
            "the policy moves far within a step: try fewer optim.updates, a lower optim.lr, or wider bounds",
        )
    moved = look.recent("policy/approx_kl")
    if moved > STEP_KL:
        yield Warn(
            f"the policy moves {number(moved)} nats within a step",
            "try a lower optim.lr, fewer optim.updates, or a smaller optim.grad_clip",
        )


def truncated(look: Look) -> Iterator[Warn]:
    """Responses are truncated."""
    name = "response/truncated_fraction"
    start, now = look.start(name), look.recent(name)
    advice = (
        "raise rollout.max_response_tokens, or add a penalty for overlong responses; Samples shows whether they ramble"
    )
    if now >= TRUNCATED:
        yield Warn(f"{percent(now)} of responses are truncated", advice)
    elif now - start >= TRUNCATED_RISE:
        yield Warn(f"more responses are truncated: {percent(now)}, from {percent(start)}", advice)


def groups(look: Look) -> Iterator[Warn]:
    """Almost nothing is left to learn from."""
    kept = look.recent("groups/kept_fraction")
    right, wrong = look.recent("groups/all_right"), look.recent("groups/all_wrong")
    alike = right + wrong
    words = f"all right {percent(right)}, all wrong {percent(wrong)}"
    if look.recent("score/accuracy") < look.start("score/accuracy") / 2:
        advice = "it could do more at the start: go on from a checkpoint before the reward fell, with a lower optim.lr"
    elif wrong > right:
        advice = "the problems are too hard for the model: take easier ones, or more rollout.samples"
    else:
        advice = "the problems are solved: take harder ones, or stop here"
    if kept < KEPT:
        yield Warn(f"only {percent(kept)} of groups are kept ({words})", advice, grave=kept == 0)
    elif alike > ALIKE:
        yield Warn(f"{percent(alike)} of groups teach nothing ({words})", advice)


def mismatch(look: Look) -> Iterator[Warn]:
    """The engine samples from another policy than the trainer trains."""
    mean, ess = look.recent("rollout/logprob_mismatch_mean"), look.recent("rollout/importance_ess")
    if mean > MISMATCH or ess < ESS:
        found = [f"{number(mean)} nats per token"] if math.isfinite(mean) else []
        found += [f"effective sample size {percent(ess)}"] if math.isfinite(ess) else []
        yield Warn(
            f"engine and trainer disagree: {', '.join(found)}",
            "check rollout.top_p = 1 and the model's dtype on both sides; if it grows, the engine's weights are stale",
            grave=ess < ESS / 2,
        )


def following(look: Look) -> Iterator[Warn]:
    """What the policy learns does not reach what is sampled."""
    shares, errors = look.series.get("rollout/engine_follows"), look.series.get("rollout/engine_follows_error")
    if shares is None or errors is None:
        return
    pairs = zip(shares.values[-RECENT:], errors.values[-RECENT:], strict=False)
    measured = [
        (share, max(error, EXACT) ** -2) for share, error in pairs if abs(share) < BEYOND and 0 <= error < BEYOND
    ]
    if len(measured) < START:
        return
    weight = sum(each for _, each in measured)
    share = sum(share * each for share, each in measured) / weight
    if share + 2 * weight**-0.5 < FOLLOWS:
        yield Warn(
            f"{percent(max(share, 0.0))} of what the policy has learned reaches what is sampled",
            "the engine rounds its weights: let it compute in float32, or with a larger optim.lr",
            grave=share < FOLLOWS / 2,
        )


def learning(look: Look) -> Iterator[Warn]:
    """The reward never rose, or fell again."""
    rewards = look.values(REWARD)
    means = _means(rewards)
    if len(rewards) >= EARLY and _has_fallen(rewards, means):
        yield _fall(look, means)
        return
    if len(rewards) < FLAT_AFTER or look.recent("score/accuracy") >= SOLVED:
        return
    fifth = len(rewards) // 5
    first, last = rewards[:fifth], rewards[-fifth:]
    error = math.sqrt((_variance(first) + _variance(last)) / fifth)
    before, now = statistics.fmean(first), statistics.fmean(last)
    if now - before <= FLAT_ERRORS * error:
        yield Warn(
            f"no learning in {len(rewards)} steps: reward {number(now, True)}, from {number(before, True)}",
            "look at groups kept and zero-variance groups; try a higher optim.lr, easier problems, or more rollout.samples",
        )


def _variance(values: Sequence[float]) -> float:
    # The standard library's is exact, and too slow for a hundred thousand steps.
    mean = statistics.fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _means(rewards: Sequence[float]) -> list[float]:
    """Of each window of RECENT steps."""
    sums = [math.fsum(rewards[:RECENT])]
    for old, new in zip(rewards, rewards[RECENT:], strict=False):
        sums.append(sums[-1] - old + new)
    return [total / RECENT for total in sums]


def _has_fallen(rewards: Sequence[float], means: Sequence[float]) -> bool:
    # Noise from one step to the next (von Neumann 1941), which a trend hardly enters.
    noise = math.fsum((later - earlier) ** 2 for earlier, later in itertools.pairwise(rewards)) / (
        2 * (len(rewards) - 1)
    )
    lost = max(means) - means[-1]
    return lost > FALL_ERRORS * math.sqrt(2 * noise / RECENT) and lost > FALLEN * (max(means) - means[0])


def _fall(look: Look, means: Sequence[float]) -> Warn:
    place, steps = means.index(max(means)), look.series[REWARD].steps
    step = steps[min(place + RECENT - 1, len(steps) - 1)]
    return Warn(
        f"the reward has fallen to {number(means[-1], True)}, from {number(max(means), True)} around step {step}",
        "look at entropy, gradient norm and mismatch around that step; go on from a checkpoint before it, lower optim.lr",
        grave=True,
    )


def length(look: Look) -> Iterator[Warn]:
    """Responses grow without getting better, or shrink to nothing."""
    name = "response/length_mean"
    start, now = look.start(name), look.recent(name)
    better = look.recent("score/accuracy") > look.start("score/accuracy")
    if now >= LONGER * start and not better:
        yield Warn(
            f"responses grow without more accuracy: {number(now)} tokens, from {number(start)}",
            "read the samples: repetition? Try token weights that do not favour length, or a penalty for overlong responses",
        )
    elif now <= SHORTER * start:
        yield Warn(
            f"responses shrink: {number(now)} tokens, from {number(start)}",
            "read the samples: does it still work things out? Look at what the reward terms pay for",
        )


def scoring(look: Look) -> Iterator[Warn]:
    """Responses cannot be judged."""
    unread = look.recent("score/unanswered")
    if unread > UNANSWERED:
        yield Warn(
            f"no answer can be read in {percent(unread)} of responses",
            "read the samples: does the prompt ask for the form that the scorer reads? Are they truncated?",
        )
    for word, what in (("error", "the scorer failed on"), ("timeout", "the scorer gave up on")):
        share = look.recent(f"score/{word}")
        if share > FAULTS:
            yield Warn(f"{what} {percent(share)} of responses", f"look at samples with the outcome `{word}`")


def held_out(look: Look) -> Iterator[Warn]:
    """A held-out figure has fallen."""
    for name in look.series:
        if not is_held_out(name):
            continue
        values, low, high = (look.values(f"{name}{end}") for end in ("", "/low", "/high"))
        if len(values) < 3 or not len(values) == len(low) == len(high):
            continue
        best = max(range(len(values)), key=values.__getitem__)
        if high[-1] < low[best]:
            yield Warn(
                f"held-out {title(name)} fell to {percent(values[-1])}, from {percent(values[best])}",
                f"step {look.series[name].steps[best]} was better; is the training reward something else than being right?",
            )


def speed(look: Look) -> Iterator[Warn]:
    """It has become slow, or says nothing."""
    for word, what in (("generated", "sampling"), ("trained", "the update")):
        name = f"throughput/{word}_tokens_per_s"
        start, now = look.start(name), look.recent(name)
        if now < SLOWER * start:
            yield Warn(
                f"{what} has become slow: {number(now)} tokens/s, from {number(start)}",
                "does something else use this machine? Screen 2 shows foreign processes; `dapoctl profile` where time goes",
            )
    if look.state == "stalled":
        advice = "the log says what it does last; `x` stops it with a checkpoint if it can still hear"
        if not look.times:
            advice = "the log says what it does last: a model that loads, an engine that compiles; `x` stops it"
        yield Warn(look.why or "no word from the trainer", advice, grave=True)


RULES: dict[Rule, str] = {
    not_finite: f"in the last {SKIPS_SEEN} steps",
    skipped: f"in the last {SKIPS_SEEN} steps",
    entropy: f"below {percent(ENTROPY_LEFT)} or above {ENTROPY_GROWN:g} times its start",
    clipped: f"above {percent(CLIPPED)} of tokens, or {STEP_KL:g} nats",
    truncated: f"above {percent(TRUNCATED)}, or {percent(TRUNCATED_RISE)} more than at the start",
    groups: f"fewer than {percent(KEPT)} kept, or more than {percent(ALIKE)} all right or all wrong",
    mismatch: f"above {MISMATCH:g} nats per token, or an effective sample size below {percent(ESS)}",
    following: f"less than {percent(FOLLOWS)} by two standard errors",
    learning: f"within {FLAT_AFTER} steps at less than {percent(SOLVED)} right; {percent(FALLEN)} of the gain lost",
    length: f"{LONGER:g} times, or {SHORTER:g} of the length at the start",
    scoring: f"above {percent(UNANSWERED)} unread, or {percent(FAULTS)} failed or given up",
    held_out: "below its own best by more than both intervals",
    speed: f"below {percent(SLOWER)} of the speed at the start; silent for {LONGER_SILENCE:g} times its longest silence",
}
"""Every rule, and where it draws its line"""


def strip_words(health: Health) -> str:
    """The state in one line, where nothing stands out."""
    if not health.steps:
        return "no step yet"
    if health.steps < EARLY:
        return f"nothing stands out; courses are judged from step {EARLY} on"
    return f"nothing stands out ({health.rules} rules)"
