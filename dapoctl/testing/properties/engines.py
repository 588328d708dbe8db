"""Properties of engines: what they sample from the embedded model, beside what that model says.

The probabilities that they are compared with are computed from the model's logits in plain steps, a response at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dapoctl.engines import Completion, Sampling
from dapoctl.errors import HookError
from dapoctl.testing.results import Broken
from dapoctl.testing.rig import PROMPTS, SAMPLES, SAMPLING, Rig, words

if TYPE_CHECKING:
    from dapoctl.testing.subject import Subject

SETTINGS = (
    SAMPLING,
    dataclasses.replace(SAMPLING, temperature=0.6),
    dataclasses.replace(SAMPLING, top_p=0.8),
    dataclasses.replace(SAMPLING, temperature=1.4, top_p=0.9),
    dataclasses.replace(SAMPLING, temperature=0.0),
)
APART = 0.01
"""Most that a log-probability may differ: float32 on another device, in another order, is a hundred times closer"""
BORDER = 1e-3
"""The nucleus may end a little before or after `top_p`, by rounding"""
DRAWS, SIGMAS = 64, 6
"""Responses to each prompt, and standard deviations that may be between what they are and what is expected"""
MOVED = 0.1
"""Noise on the policy's weights, in standard deviations of each"""


def completions(subject: Subject, _hook: str) -> str:
    """Ends are where they are said to be, and each prompt is reported once, as it is returned."""
    rig = subject.rig
    engine, stops = rig.engine, set(rig.policy.eos_token_ids)
    seen: dict[int, list[Completion]] = {}
    twice: list[int] = []
    counts: list[tuple[int, int]] = []
    case = words(SAMPLING)

    def finished(index: int, group: list[Completion]) -> None:
        if index in seen:
            twice.append(index)
        seen[index] = list(group)

    before = {name: getattr(engine, name) for name in ("finished", "progress") if hasattr(engine, name)}
    try:
        if "finished" in before:
            engine.finished = finished
        if "progress" in before:
            engine.progress = lambda done, total: counts.append((done, total))
        groups = rig.generate(SAMPLING)
    finally:
        for name, value in before.items():
            setattr(engine, name, value)
    for place, group in enumerate(groups):
        for completion in group:
            if wrong := _wrong(completion, stops, rig.policy.head.vocabulary):
                raise Broken(case, f"prompt {place}: {wrong}")
    if "finished" in before and (twice or {place: list(group) for place, group in enumerate(groups)} != seen):
        raise Broken(
            case,
            f"`finished` was called for prompts {sorted([*seen, *twice])}, and must be for each of {len(groups)} with what is"
            " returned",
            "Call `self.finished(place in prompt_ids, completions)` once for each prompt, or have no such attribute.",
        )
    everything = len(groups) * SAMPLES
    if counts and any(total != everything or not 0 <= done <= total for done, total in counts):
        raise Broken(case, f"`progress` was called with {counts[-1]}", f"Count responses: here up to {everything}.")
    return f"reports {' and '.join(before)}" if before else "reports neither progress nor what is finished"


def _wrong(completion: Completion, stops: set[int], vocabulary: int) -> str:
    tokens, reason = list(completion.token_ids), completion.finish_reason
    if strange := [token for token in tokens if not 0 <= token < vocabulary]:
        return f"token {strange[0]}, and there are {vocabulary}"
    inside = [token for token in tokens[:-1] if token in stops]
    if inside:
        return f"an end-of-sequence token ({inside[0]}) stands before the last of tokens {tokens}"
    wanted = "stop" if tokens[-1] in stops else "length"
    if reason != wanted:
        return f"finish_reason {reason!r} of tokens {tokens}; it must be {wanted!r}"
    if reason == "length" and len(tokens) < SAMPLING.max_tokens:
        return f"a response of {len(tokens)} tokens without an end, where there is room for {SAMPLING.max_tokens}"
    return ""


def logprobs(subject: Subject, _hook: str) -> str:
    """Log-probabilities are those of the distribution that tokens are drawn from, at every temperature and top_p."""
    worst = max(_furthest(subject.rig, sampling) for sampling in SETTINGS)
    _drawn(subject.rig)
    return f"at most {worst:.0e} from the model's own"


def _furthest(rig: Rig, sampling: Sampling, case: str = "") -> float:
    """The most that a log-probability is away from the model's own.

    Raises:
        Broken: it is too far.
    """
    worst = 0.0
    case = case or words(sampling)
    for place, group in enumerate(rig.generate(sampling)):
        for completion in group:
            tokens = list(completion.token_ids)
            logits = rig.logits(place, tokens)
            told = torch.tensor(list(completion.logprobs), dtype=torch.float64)
            if (
                sampling.temperature == 0
                and (wrong := torch.nonzero(logits.argmax(-1) != torch.tensor(tokens))).numel()
            ):
                at = int(wrong[0])
                raise Broken(
                    case,
                    f"prompt {place}, token {at}: {tokens[at]}; the most likely one is {int(logits[at].argmax())}",
                    "At temperature 0 take the most likely token.",
                )
            away = torch.stack([(told - each).abs() for each in _expected(logits, tokens, sampling)]).amin(0)
            at = int(away.nan_to_num(math.inf).argmax())
            if not float(away[at]) <= APART:
                right = float(_expected(logits, tokens, sampling)[0][at])
                at_one = float(logits.log_softmax(-1)[at, tokens[at]])
                raise Broken(
                    case,
                    f"prompt {place}, token {at} of {tokens}: {float(told[at]):.4f}, the model says {right:.4f}"
                    + (f" (and {at_one:.4f} at temperature 1 and top_p 1)" if abs(right - at_one) > APART else ""),
                )
            worst = max(worst, float(away.max()))
    return worst


def _expected(logits: Tensor, tokens: Sequence[int], sampling: Sampling) -> list[Tensor]:
    """Log-probabilities [T] of `tokens`; with top_p also those of a slightly smaller and a slightly larger nucleus."""
    chosen = torch.tensor(tokens)[:, None]
    every = (logits / (sampling.temperature or 1.0)).log_softmax(-1)
    if sampling.top_p == 1 or sampling.temperature == 0:
        return [every.gather(1, chosen)[:, 0]]
    found = []
    ordered, order = every.sort(-1, descending=True)
    for top_p in (sampling.top_p, sampling.top_p - BORDER, sampling.top_p + BORDER):
        before = ordered.exp().cumsum(-1) - ordered.exp()
        kept = torch.zeros_like(every, dtype=torch.bool).scatter(1, order, before < top_p)
        found.append(every.masked_fill(~kept, -math.inf).log_softmax(-1).gather(1, chosen)[:, 0])
    return found


def _drawn(rig: Rig) -> None:
    """Tokens come as often as they should: what each one's log-probability is above the average of those that could have come
    adds up to nothing, within the spread of such a sum.

    Raises:
        Broken: it does not.
    """
    sampling = dataclasses.replace(SAMPLING, temperature=1.2)
    above, variance, count = 0.0, 0.0, 0
    for place, group in enumerate(rig.generate(sampling, DRAWS)):
        times = Counter(tuple(completion.token_ids) for completion in group)
        for tokens, often in times.items():
            every = (rig.logits(place, tokens) / sampling.temperature).log_softmax(-1)
            mean = (every.exp() * every).sum(-1)
            told = every.gather(1, torch.tensor(tokens)[:, None])[:, 0]
            above += often * float((told - mean).sum())
            variance += often * float((every.exp() * (every - mean[:, None]) ** 2).sum())
            count += often * len(tokens)
    spread = math.sqrt(max(variance, 1e-12)) / count
    if abs(above / count) > SIGMAS * spread:
        raise Broken(
            words(sampling, n=DRAWS),
            f"log-probabilities of the drawn tokens are {above / count:+.4f} from what is expected; by chance {spread:.4f}",
            "Draw each token from softmax(logits / temperature), cut to the nucleus of top_p.",
        )


def seeds(subject: Subject, _hook: str) -> str:
    """A seed stands for its responses; with one for each prompt, the prompts beside it do not matter."""
    rig = subject.rig

    def drawn(sampling: Sampling, places: Sequence[int] | None = None) -> list[list[list[int]]]:
        return [[list(one.token_ids) for one in group] for group in rig.generate(sampling, places=places)]

    first, case = drawn(SAMPLING), words(SAMPLING)
    if drawn(SAMPLING) != first:
        raise Broken(f"{case}, twice", "different responses")
    other = dataclasses.replace(SAMPLING, seed=8)
    if drawn(other) == first:
        raise Broken(f"{case}, and with seed=8", "the same responses")
    if all(one == group[0] for group in first for one in group):
        raise Broken(case, f"all {SAMPLES} responses to a prompt are the same, for each prompt")
    own = dataclasses.replace(SAMPLING, seeds=tuple(range(11, 11 + len(PROMPTS))))
    together, alone = drawn(own), drawn(dataclasses.replace(SAMPLING, seeds=own.seeds[2:3]), [2])
    if together[2:3] != alone:
        raise Broken(
            f"{words(own)}, and prompt 2 with its seed alone",
            f"{together[2]}; alone {alone[0]}",
            "Draw for each prompt from a generator of its own, seeded with `sampling.seeds[place]` when there are any.",
        )
    return ""


def weights(subject: Subject, _hook: str) -> str:
    """After an update and `load_weights`, asleep meanwhile as in a run, it samples from the new weights."""
    rig = subject.rig
    generator = torch.Generator().manual_seed(5)
    try:
        rig.engine.sleep()
        with torch.no_grad():
            for parameter in rig.policy.parameters():
                noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
                parameter.add_(noise, alpha=MOVED * float(parameter.std().nan_to_num(0.1)))
        rig.engine.load_weights(rig.policy.named_weights())
    except HookError as error:
        raise Broken("sleep, an update, load_weights", str(error)) from error
    case = f"sleep, an update, load_weights, {words(SAMPLING)}"
    _furthest(rig, SAMPLING, case)
    try:
        rig.engine.sleep()
        rig.engine.wake()
    except HookError as error:
        raise Broken("sleep, wake", str(error)) from error
    _furthest(rig, SAMPLING, f"{case}, sleep, wake")
    return ""
