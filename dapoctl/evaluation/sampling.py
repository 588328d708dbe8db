"""Sampling k answers to each problem of a set, and what they say of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapoctl.components.pipeline import Pipeline
from dapoctl.config.schema import EvalConfig
from dapoctl.engines import Engine, Sampling
from dapoctl.scoring import Scoring

if TYPE_CHECKING:
    from dapoctl.batch import Problem
    from dapoctl.policy import Policy


@dataclass(frozen=True)
class EvalSet:
    """A held-out set with its own instance of its task."""

    name: str
    pipeline: Pipeline
    problems: Sequence[Problem]
    prompt_ids: Sequence[Sequence[int]]


def evaluate(
    eval_set: EvalSet, policy: Policy, engine: Engine, config: EvalConfig, max_tokens: int, seed: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Metrics under `eval/<set>/...`, and every response."""
    sampling = Sampling(max_tokens, config.temperature, config.top_p, seed)
    with Scoring(eval_set.pipeline, eval_set.problems, policy.decode) as scoring:
        completions = scoring.generate(engine, eval_set.prompt_ids, sampling, config.k)
        texts, verdicts = scoring.result(completions)
    rows: list[dict[str, Any]] = []
    for place, completion in enumerate(c for group in completions for c in group):
        problem, verdict = eval_set.problems[place // config.k], verdicts[place]
        rows.append(
            {
                "problem": problem.id,
                "sample": place % config.k,
                "prompt": problem.prompt,
                "answer": problem.answer,
                "response": texts[place],
                "tokens": len(completion.token_ids),
                "truncated": completion.finish_reason == "length",
                "outcome": verdict.outcome,
                "extracted": verdict.extracted,
                "correct": verdict.correct,
            }
        )
    prefix = f"eval/{eval_set.name}"
    metrics = {
        f"{prefix}/avg@{config.k}": _mean([row["correct"] for row in rows]),
        f"{prefix}/length_mean": _mean([row["tokens"] for row in rows]),
        f"{prefix}/truncated_fraction": _mean([row["truncated"] for row in rows]),
        f"{prefix}/unanswered_fraction": _mean([row["outcome"] == "unanswered" for row in rows]),
    }
    return metrics, rows


def _mean(values: Sequence[float]) -> float:
    return sum(float(value) for value in values) / len(values)
