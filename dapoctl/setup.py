"""Putting a run together: model, problems, engine, optimizer, evaluation sets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from dapoctl.batch import Problem
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import build_component
from dapoctl.config import RunConfig
from dapoctl.errors import ConfigError, DataError, RunWarning
from dapoctl.evaluation.sampling import EvalSet
from dapoctl.learner import History, Learner
from dapoctl.policy import Policy, load_policy, load_reference

DATA_TASK = "math"
"""The task that scores evaluation sets given as data files"""


def build_learner(config: RunConfig, pipeline: Pipeline, weights: Path | None = None) -> Learner:
    """Load the model and the problems, start the engine.

    Raises:
        UserError: the model, the data or the engine cannot be had.
    """
    torch.manual_seed(config.seed)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    problems = list(pipeline.one("load_problems", split="train"))
    policy = load_policy(config, weights)
    problems, prompt_ids = encode_prompts(policy, problems, config, "training")
    reference = None
    if pipeline.uses("ref_logprobs") or pipeline.providers("regularize_vocab"):
        reference = load_reference(config, policy)
    return Learner(
        config=config,
        pipeline=pipeline,
        policy=policy,
        reference=reference,
        engine=pipeline.one("build_engine", policy=policy, config=config),
        optimizer=build_optimizer(config, policy),
        problems=problems,
        prompt_ids=prompt_ids,
        history=History.empty(len(problems)),
    )


def build_optimizer(config: RunConfig, policy: Policy) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices, not on norms and biases."""
    optim = config.optim
    parameters = policy.parameters()
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], optim.lr, (optim.beta1, optim.beta2), fused=True)


def encode_prompts(
    policy: Policy, problems: Sequence[Problem], config: RunConfig, what: str
) -> tuple[list[Problem], list[list[int]]]:
    """Problems and their prompts' token ids, without those that are longer than `rollout.max_prompt_tokens`.

    Raises:
        DataError: none is left.
    """
    limit = config.rollout.max_prompt_tokens
    encoded = [(problem, policy.encode(problem.prompt)) for problem in problems]
    kept = [(problem, ids) for problem, ids in encoded if len(ids) <= limit]
    if not kept:
        shortest = min((len(ids) for _, ids in encoded), default=0)
        raise DataError(
            f"no {what} problem has a prompt of at most `rollout.max_prompt_tokens` = {limit} tokens"
            f" (of {len(encoded)}, the shortest has {shortest}); raise the limit"
        )
    if len(kept) < len(encoded):
        warnings.warn(
            f"{len(encoded) - len(kept)} of {len(encoded)} {what} problems are left out: their prompts have more than"
            f" `rollout.max_prompt_tokens` = {limit} tokens",
            RunWarning,
            stacklevel=2,
        )
    return [problem for problem, _ in kept], [ids for _, ids in kept]


def build_eval_sets(config: RunConfig, learner: Learner) -> list[EvalSet]:
    """The evaluation sets with their problems; each has an instance of its task of its own.

    Raises:
        UserError: an unknown task or a data file that cannot be read.
    """
    if not config.eval.every:
        return []
    sets = []
    for name in config.eval.set or [config.task]:
        label, pipeline, split = _task_for(name, config, learner.pipeline)
        problems = list(pipeline.one("load_problems", split=split))[: config.eval.limit]
        problems, ids = encode_prompts(learner.policy, problems, config, f"`{label}` evaluation")
        sets.append(EvalSet(label, pipeline, problems, ids))
    labels = [item.name for item in sets]
    if len({*labels}) < len(labels):
        raise ConfigError(f"`eval.set` = {config.eval.set}: two sets have the same name; rename a file")
    return sets


def _task_for(name: str, config: RunConfig, pipeline: Pipeline) -> tuple[str, Pipeline, str]:
    """(label, a pipeline with only the task, the split to load) of one entry of `eval.set`."""
    from dapoctl.components.catalog import installed

    own = pipeline.components.get(config.task)
    if own is not None and name == config.task:
        return name, _alone(name, type(own).model_validate(own.model_dump())), "test"
    if Path(name).suffix in {".jsonl", ".parquet"}:
        cls = installed().find(DATA_TASK).load()
        return Path(name).stem, _alone(DATA_TASK, build_component(DATA_TASK, cls, {"test_data": name})), "test"
    cls = installed().find(name).load()
    return name, _alone(name, build_component(name, cls, config.components.get(name, {}))), "test"


def _alone(name: str, task: object) -> Pipeline:
    from dapoctl.components.base import Component

    assert isinstance(task, Component)
    task.attach(name)
    return Pipeline([task])
