"""Properties of engines: what they sample from the embedded model, compared with that model's own probabilities.

Those are computed from the model's logits in plain steps, a response at a time.
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
from dapoctl.testing.rig import PROMPTS, SAMPLES, SAMPLING, Rig, describe_call

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
"""Largest difference of a log-probability: float32 on another device, in another order, is a hundred times closer"""
BORDER = 1e-3
"""Tolerance of `top_p`: by rounding, the nucleus may end a little before or after it"""
DRAWS, SIGMAS = 64, 6
"""Responses to each prompt, and the largest deviation from what is expected, in standard deviations"""
MOVED = 0.1
"""Noise on the policy's weights, in standard deviations of each"""


def completions(subject: Subject, _hook: str) -> str:
    """Responses end where and as they are said to end, and each prompt is reported once, as it is returned."""
    rig = subject.rig
    engine, stops = rig.engine, set(rig.policy.eos_token_ids)
    seen: dict[int, list[Completion]] = {}
    repeated: list[int] = []
    counts: list[tuple[int, int]] = []
    case = describe_call(SAMPLING)

    def finished(index: int, group: list[Completion]) -> None:
        if index in seen:
            repeated.append(index)
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
    for index, group in enumerate(groups):
        for completion in group:
            if violation := _violation(completion, stops, rig.policy.head.vocabulary):
                raise Broken(case, f"prompt {index}: {violation}")
    if "finished" in before and (repeated or {index: list(group) for index, group in enumerate(groups)} != seen):
        raise Broken(
            case,
            f"`finished` was called for prompts {sorted([*seen, *repeated])}, and must be for each of {len(groups)} with what"
            " is returned",
            "Call `self.finished(index in prompt_ids, completions)` once for each prompt, or have no such attribute.",
        )
    everything = len(groups) * SAMPLES
    if counts and any(total != everything or not 0 <= done <= total for done, total in counts):
        raise Broken(case, f"`progress` was called with {counts[-1]}", f"Count responses: here up to {everything}.")
    return f"reports {' and '.join(before)}" if before else "reports neither progress nor what is finished"


def _violation(completion: Completion, stops: set[int], vocabulary: int) -> str:
    tokens, reason = list(completion.token_ids), completion.finish_reason
    if unknown := [token for token in tokens if not 0 <= token < vocabulary]:
        return f"token {unknown[0]}, and there are {vocabulary}"
    inside = [token for token in tokens[:-1] if token in stops]
    if inside:
        return f"an end-of-sequence token ({inside[0]}) stands before the last of tokens {tokens}"
    expected_reason = "stop" if tokens[-1] in stops else "length"
    if reason != expected_reason:
        return f"finish_reason {reason!r} of tokens {tokens}; it must be {expected_reason!r}"
    if reason == "length" and len(tokens) < SAMPLING.max_tokens:
        return f"a response of {len(tokens)} tokens without an end, where there is room for {SAMPLING.max_tokens}"
    return ""


def logprobs(subject: Subject, _hook: str) -> str:
    """Log-probabilities are those of the distribution that tokens are drawn from, at every temperature and top_p."""
    worst = max(_largest_error(subject.rig, sampling) for sampling in SETTINGS)
    _check_frequencies(subject.rig)
    return f"at most {worst:.0e} from the model's own"


def _largest_error(rig: Rig, sampling: Sampling, case: str = "") -> float:
    """The largest difference of a log-probability from the model's own.

    Raises:
        Broken: it is too far.
    """
    largest = 0.0
    case = case or describe_call(sampling)
    for index, group in enumerate(rig.generate(sampling)):
        responses = [list(completion.token_ids) for completion in group]
        for completion, tokens, logits in zip(group, responses, rig.logits(index, responses), strict=True):
            reported = torch.tensor(list(completion.logprobs), dtype=torch.float64)
            if (
                sampling.temperature == 0
                and (wrong := torch.nonzero(logits.argmax(-1) != torch.tensor(tokens))).numel()
            ):
                position = int(wrong[0])
                raise Broken(
                    case,
                    f"prompt {index}, token {position}: {tokens[position]}; the most likely one is"
                    f" {int(logits[position].argmax())}",
                    "At temperature 0 take the most likely token.",
                )
            errors = torch.stack(
                [(reported - expected).abs() for expected in _expected(logits, tokens, sampling)]
            ).amin(0)
            position = int(errors.nan_to_num(math.inf).argmax())
            if not float(errors[position]) <= APART:
                right = float(_expected(logits, tokens, sampling)[0][position])
                at_one = float(logits.log_softmax(-1)[position, tokens[position]])
                raise Broken(
                    case,
                    f"prompt {index}, token {position} of {tokens}: {float(reported[position]):.4f}, the model says {right:.4f}"
                    + (f" (and {at_one:.4f} at temperature 1 and top_p 1)" if abs(right - at_one) > APART else ""),
                )
            largest = max(largest, float(errors.max()))
    return largest


def _expected(logits: Tensor, tokens: Sequence[int], sampling: Sampling) -> list[Tensor]:
    """Log-probabilities [T] of `tokens`; with top_p also those of a slightly smaller and a slightly larger nucleus."""
    chosen = torch.tensor(tokens)[:, None]
    log_probs = (logits / (sampling.temperature or 1.0)).log_softmax(-1)
    if sampling.top_p == 1 or sampling.temperature == 0:
        return [log_probs.gather(1, chosen)[:, 0]]
    candidates = []
    ordered, order = log_probs.sort(-1, descending=True)
    for top_p in (sampling.top_p, sampling.top_p - BORDER, sampling.top_p + BORDER):
        before = ordered.exp().cumsum(-1) - ordered.exp()
        kept = torch.zeros_like(log_probs, dtype=torch.bool).scatter(1, order, before < top_p)
        candidates.append(log_probs.masked_fill(~kept, -math.inf).log_softmax(-1).gather(1, chosen)[:, 0])
    return candidates


def _check_frequencies(rig: Rig) -> None:
    """Tokens are drawn as often as they should be: the sum of their log-probabilities, each minus its expectation, is zero
    within its standard deviation.

    Raises:
        Broken: they are not.
    """
    sampling = dataclasses.replace(SAMPLING, temperature=1.2)
    excess, variance, count = 0.0, 0.0, 0
    for index, group in enumerate(rig.generate(sampling, DRAWS)):
        times = Counter(tuple(completion.token_ids) for completion in group)
        for (tokens, repeats), logits in zip(times.items(), rig.logits(index, [*times]), strict=True):
            log_probs = (logits / sampling.temperature).log_softmax(-1)
            mean = (log_probs.exp() * log_probs).sum(-1)
            reported = log_probs.gather(1, torch.tensor(tokens)[:, None])[:, 0]
            excess += repeats * float((reported - mean).sum())
            variance += repeats * float((log_probs.exp() * (log_probs - mean[:, None]) ** 2).sum())
            count += repeats * len(tokens)
    spread = math.sqrt(max(variance, 1e-12)) / count
    if abs(excess / count) > SIGMAS * spread:
        raise Broken(
            describe_call(sampling, n=DRAWS),
            f"log-probabilities of the drawn tokens are {excess / count:+.4f} from what is expected; by chance {spread:.4f}",
            "Draw each token from softmax(logits / temperature), cut to the nucleus of top_p.",
        )


def seeds(subject: Subject, _hook: str) -> str:
    """A seed determines the responses; with one for each prompt, the other prompts do not matter."""
    rig = subject.rig

    def drawn(sampling: Sampling, indices: Sequence[int] | None = None) -> list[list[list[int]]]:
        return [[list(one.token_ids) for one in group] for group in rig.generate(sampling, indices=indices)]

    first, case = drawn(SAMPLING), describe_call(SAMPLING)
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
            f"{describe_call(own)}, and prompt 2 with its seed alone",
            f"{together[2]}; alone {alone[0]}",
            "Draw for each prompt from a generator of its own, seeded with `sampling.seeds[index]` if there are any.",
        )
    return ""


def weights(subject: Subject, _hook: str) -> str:
    """After an update and `load_weights`, asleep in between as in a run, it samples from the new weights."""
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
    case = f"sleep, an update, load_weights, {describe_call(SAMPLING)}"
    _largest_error(rig, SAMPLING, case)
    try:
        rig.engine.sleep()
        rig.engine.wake()
    except HookError as error:
        raise Broken("sleep, wake", str(error)) from error
    _largest_error(rig, SAMPLING, f"{case}, sleep, wake")
    return ""
