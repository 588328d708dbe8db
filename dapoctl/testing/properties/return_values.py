"""Properties of one result: its type and shape, and that its numbers are finite.

Shapes: P groups, B responses, T tokens of the longest response and padding, N tokens of a micro-batch, n of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, get_args

import torch
from torch import Tensor

from dapoctl.batch import Outcome, Problem, Refill, Score
from dapoctl.testing.cases import Arguments, Case
from dapoctl.testing.results import Broken
from dapoctl.testing.subject import BATCH_HOOKS, MASKS, TENSOR_HOOKS, Subject, call
from dapoctl.testing.values import show


def shapes_of(hook: str, arguments: Arguments) -> dict[str, tuple[int, ...]]:
    """The shapes that `hook` may return, by name."""
    if hook in BATCH_HOOKS:
        size, width = arguments["batch"].mask.shape
        per_response, per_token = {"[B]": (size,)}, {"[B, T]": (size, width)}
        special: dict[str, dict[str, tuple[int, ...]]] = {
            "filter_groups": {"[P]": (len(arguments["batch"].problems),)},
            "weigh_tokens": {**per_token},
            "estimate_advantages": {**per_response, **per_token},
        }
        return special.get(hook, {**per_response})
    if "tokens" in arguments:
        return {"[N]": tuple(arguments["tokens"].logprobs.shape)}
    return {"[n]": (len(arguments["logits"]),)}


def result(subject: Subject, hook: str) -> str:
    """For every case the hook returns what it promises."""
    cases = subject.cases(hook)
    with subject.opened() as pipeline:
        for case in cases:
            arguments = case.arguments(torch.float32)
            expected = shapes_of(hook, arguments) if hook in TENSOR_HOOKS else {}
            returned = call(pipeline, hook, arguments, case)
            if hook in TENSOR_HOOKS:
                _is_tensor(returned, expected, case)
            else:
                PLAIN[hook](returned, case)
    return ""


def _is_tensor(returned: Any, expected: dict[str, tuple[int, ...]], case: Case) -> None:
    promised = " or ".join(f"{name} = {list(shape)}" for name, shape in expected.items())
    if not isinstance(returned, Tensor):
        raise Broken(
            case, f"returned {type(returned).__name__} {show(returned)}", f"Return a tensor of shape {promised}."
        )
    if tuple(returned.shape) not in expected.values():
        raise Broken(case, f"returned shape {list(returned.shape)}", f"Return a tensor of shape {promised}.")


def _are_indices(returned: Any, case: Any) -> None:
    try:
        indices = list(returned)
    except TypeError:
        raise Broken(case, f"returned {show(returned)}", "Return a sequence of indices.") from None
    valid = all(
        isinstance(index, Integral) and not isinstance(index, bool) and 0 <= int(index) < case.problems
        for index in indices
    )
    if len(indices) != case.count or not valid:
        fix = (
            f"Return exactly `count` = {case.count} integers from 0 to {case.problems - 1}; repeat some where the pool is"
            " smaller than that."
        )
        raise Broken(case, f"returned {show(returned)}", fix)


def _is_score(returned: Any, case: Case) -> None:
    fix = "Return Score(value, correct, extracted, outcome) with a finite value and a bool, for any text at all."
    if not isinstance(returned, Score):
        raise Broken(case, f"returned {type(returned).__name__} {show(returned)}", fix)
    number = isinstance(returned.value, (int, float)) and math.isfinite(returned.value)
    kinds = isinstance(returned.correct, bool) and isinstance(returned.extracted, str | None)
    if not (number and kinds and returned.outcome in get_args(Outcome)):
        raise Broken(case, f"returned {show(returned)}", fix)


def _are_problems(returned: Any, case: Case) -> None:
    fix = "Return a sequence of at least one dapoctl.Problem, with texts as id, prompt and answer."
    if not isinstance(returned, Sequence) or not returned:
        raise Broken(case, f"returned {show(returned)}", fix)
    for problem in returned:
        if not (
            isinstance(problem, Problem)
            and all(isinstance(x, str) for x in (problem.id, problem.prompt, problem.answer))
        ):
            raise Broken(case, f"one of its {len(returned)} problems is {show(problem)}", fix)


def _is_refill(returned: Any, case: Case) -> None:
    fix = "Return dapoctl.Refill(max_rounds >= 1, on_exhausted, max_staleness >= 0)."
    known = ("train_partial", "skip", "error")
    if (
        not isinstance(returned, Refill)
        or returned.max_rounds < 1
        or returned.max_staleness < 0
        or returned.on_exhausted not in known
    ):
        raise Broken(case, f"returned {show(returned)}", fix)


PLAIN = {
    "select_prompts": _are_indices,
    "score_response": _is_score,
    "load_problems": _are_problems,
    "plan_refill": _is_refill,
}


def dtype(subject: Subject, hook: str) -> str:
    """Masks are bool; other results are float32 or float64, for inputs of either type."""
    for case in subject.cases(hook):
        for input_dtype in (torch.float32, torch.float64):
            result_dtype = subject.call(hook, case, input_dtype).dtype
            if hook in MASKS and result_dtype != torch.bool:
                fix = "Return a bool mask, such as a comparison's result: any number but 0 would count as true."
                raise Broken(f"{input_dtype} inputs, {case}", f"returned {result_dtype}", fix)
            if hook not in MASKS and result_dtype not in (torch.float32, torch.float64):
                raise Broken(
                    f"{input_dtype} inputs, {case}",
                    f"returned {result_dtype}",
                    "Return float32, or the inputs' own type.",
                )
    return ""


def finite(subject: Subject, hook: str) -> str:
    """No result is NaN or infinite."""
    fix = (
        "Clamp what goes into exp, such as a log-ratio to +-20, and what goes into log, a root or a divisor from below."
    )
    if hook in BATCH_HOOKS:
        fix = (
            "Keep what you divide by away from 0, and decide what equal rewards, a group of one and an empty mask get."
        )
    with subject.opened() as pipeline:
        for case in subject.cases(hook):
            result = call(pipeline, hook, case.arguments(torch.float32), case)
            bad = int((~torch.isfinite(result.detach())).sum())
            if bad:
                raise Broken(case, f"{bad} of {result.numel()} values are NaN or infinite: {show(result)}", fix)
    return ""
