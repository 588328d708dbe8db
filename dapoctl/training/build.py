"""Putting a run together: model, problems, engine, optimizer, evaluation sets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from dapoctl.batch import Problem
from dapoctl.components.pipeline import Pipeline
from dapoctl.config import RunConfig
from dapoctl.engines.checked import CheckedEngine
from dapoctl.errors import DataError, RunWarning
from dapoctl.evaluation.contamination.overlap import overlap
from dapoctl.evaluation.during_training import EvalSet
from dapoctl.evaluation.run_data import training_problems
from dapoctl.evaluation.run_sets import run_sources
from dapoctl.models.loading import load_policy, load_reference
from dapoctl.models.policy import Policy
from dapoctl.training.learner import History, Learner
from dapoctl.training.offload import park
from dapoctl.training.optimizer import build_optimizer


def build_learner(config: RunConfig, pipeline: Pipeline, weights: Path | None = None) -> Learner:
    """Load the model and the problems, start the engine.

    Raises:
        UserError: the model, the data or the engine is not available.
    """
    torch.manual_seed(config.seed)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    problems = training_problems(config, pipeline)
    policy = load_policy(config, weights)
    problems, prompt_ids = encode_prompts(policy, problems, config, "training")
    reference = None
    if pipeline.uses("ref_logprobs") or pipeline.providers("regularize_vocab"):
        reference = load_reference(config, policy)
    for each in (policy, reference) if config.train.offload_weights else ():
        if each is not None:
            park(each)
    (engine,) = pipeline.providers("build_engine")
    return Learner(
        config=config,
        pipeline=pipeline,
        policy=policy,
        reference=reference,
        engine=CheckedEngine(engine, pipeline.one("build_engine", policy=policy, config=config)),
        optimizer=build_optimizer(config, policy),
        problems=problems,
        prompt_ids=prompt_ids,
        history=History.empty(len(problems)),
        scaler=torch.amp.GradScaler(policy.device.type, enabled=policy.compute_dtype == torch.float16),
    )


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
    """The evaluation sets with their problems; each has its own instance of its task.

    Raises:
        UserError: an unknown task or a data file that cannot be read.
    """
    sets = []
    for source in run_sources(config, learner.pipeline):
        problems, ids = encode_prompts(
            learner.policy, source.load(config.eval.limit), config, f"`{source.label}` evaluation"
        )
        if words := overlap(learner.problems, problems).words(source.label):
            warnings.warn(words, RunWarning, stacklevel=2)
        data = source.describe(problems)
        sets.append(EvalSet(source.label, source.pipeline, problems, ids, data, source.judged_by, source.instruction))
    return sets
