"""Evaluation during a run: k responses to each problem of a set, and the metrics of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dapoctl.components.pipeline import Pipeline
from dapoctl.config.schema import RunConfig
from dapoctl.engines import Completion, Engine, Sampling
from dapoctl.engines.scoring import Scoring
from dapoctl.evaluation.protocol import Protocol
from dapoctl.evaluation.statistics.pass_at_k import summarize
from dapoctl.evaluation.summary import TRAINING, device_name, summary_of

if TYPE_CHECKING:
    from dapoctl.batch import Problem, Score
    from dapoctl.models.policy import Policy

TRAINING_PROTOCOL = "training"
"""The name of the protocol that is made from a run's own `[eval]` table"""


@dataclass(frozen=True)
class EvalSet:
    """A held-out set with its own instance of its task."""

    name: str
    pipeline: Pipeline
    problems: Sequence[Problem]
    prompt_ids: Sequence[Sequence[int]]
    data: Mapping[str, Any] = field(default_factory=dict)
    """The summary's description of the problems"""
    scorer: str = ""
    instruction: str = ""


def evaluate(
    eval_set: EvalSet, policy: Policy, engine: Engine, config: RunConfig, step: int, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the summary, with metrics under `eval/<set>/...`; a row for every response)."""
    protocol = training_protocol(eval_set, config, seed)
    begun = time.perf_counter()
    sampling = Sampling(protocol.max_tokens, protocol.temperature, protocol.top_p, seed)
    with Scoring(eval_set.pipeline, eval_set.problems, policy.decode) as scoring:
        completions = scoring.generate(engine, eval_set.prompt_ids, sampling, protocol.k)
        texts, verdicts = scoring.result(completions)
    rows = rows_of(eval_set.problems, completions, texts, verdicts)
    summary = summary_of(eval_set.name, step, protocol, eval_set.data, config.model.path) | {
        "made": TRAINING,
        "template": policy.prompted_by,
        "complete": True,
        "metrics": prefixed(eval_set.name, summarize(rows, protocol.k)),
        "seconds": time.perf_counter() - begun,
        "generated_tokens": sum(row["tokens"] for row in rows),
        "devices": [device_name(policy.device)],
    }
    return summary, rows


def training_protocol(eval_set: EvalSet, config: RunConfig, seed: int) -> Protocol:
    """The protocol that a run's `[eval]` table describes."""
    return Protocol(
        name=TRAINING_PROTOCOL,
        temperature=config.eval.temperature,
        top_p=config.eval.top_p,
        k=config.eval.k,
        max_tokens=config.rollout.max_response_tokens,
        seed=seed,
        scorer=eval_set.scorer,
        instruction=eval_set.instruction,
        template=config.model.template,
        engine=config.engine,
    )


def rows_of(
    problems: Sequence[Problem],
    completions: Sequence[Sequence[Completion]],
    texts: Sequence[str],
    verdicts: Sequence[Score],
) -> list[dict[str, Any]]:
    """A row for each response, as in `samples.jsonl`; `texts` and `verdicts` are flat, in the order of the problems."""
    judged = iter(zip(texts, verdicts, strict=True))
    return [
        _row(problem, sample, completion, *next(judged))
        for problem, group in zip(problems, completions, strict=True)
        for sample, completion in enumerate(group)
    ]


def _row(problem: Problem, sample: int, completion: Completion, text: str, verdict: Score) -> dict[str, Any]:
    return {
        "problem": problem.id,
        "sample": sample,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "response": text,
        "tokens": len(completion.token_ids),
        "truncated": completion.finish_reason == "length",
        "outcome": verdict.outcome,
        "extracted": verdict.extracted,
        "correct": verdict.correct,
        **({} if verdict.marked is None else {"marked": verdict.marked}),
    }


def prefixed(label: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """`metrics` under `eval/<set>/`."""
    return {f"eval/{label}/{name}": value for name, value in metrics.items()}
