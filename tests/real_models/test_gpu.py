"""What one GPU must hold: a DAPO update of a model of Gemma 3 4B's shape, all weights trained and adapters trained."""

from __future__ import annotations

import time

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from dapoctl import Completion, Problem, Score
from dapoctl.batch import Batch
from dapoctl.components.resolver import build, choose
from dapoctl.config import RunConfig
from dapoctl.engines.hf import HfEngine
from dapoctl.models.loading import load_policy, packs_exactly
from dapoctl.models.lora import add_adapters
from dapoctl.models.packing import register
from dapoctl.models.policy import Policy
from dapoctl.training.batching import build_batch
from dapoctl.training.learner import History, Learner
from dapoctl.training.optimizer import build_optimizer
from dapoctl.training.step import estimate, update

GB = 10**9
GROUPS, SAMPLES, PROMPT, RESPONSE = 2, 8, 128, 2048

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def gemma_4b(rank: int) -> Policy:
    """Random weights in the shape of Gemma 3 4B's language model; frozen ones in bfloat16."""
    config = Gemma3TextConfig(
        vocab_size=262_208,
        hidden_size=2560,
        intermediate_size=10_240,
        num_hidden_layers=34,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        sliding_window=1024,
        max_position_embeddings=131_072,
    )
    device = torch.device("cuda")
    torch.set_default_dtype(torch.bfloat16 if rank else torch.float32)
    try:
        with device:
            model = Gemma3ForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    adapters = None
    if rank:
        model.requires_grad_(False)
        adapters = add_adapters(model, RunConfig(lora={"rank": rank}), "random")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    tokenizer = load_policy(RunConfig(rollout={"max_prompt_tokens": 9, "max_response_tokens": 9})).tokenizer
    policy = Policy("random", model, tokenizer, device, torch.bfloat16, adapters=adapters)
    policy.packs = register(model) and packs_exactly(policy)
    return policy


def learner_of(policy: Policy) -> Learner:
    config = RunConfig(recipe="dapo", train={"gradient_checkpointing": True})
    learner = Learner(
        config=config,
        pipeline=build(choose(config.recipe, [], [config.task, config.engine]), {}),
        policy=policy,
        reference=None,
        engine=HfEngine(policy, 1),
        optimizer=build_optimizer(config, policy),
        problems=[],
        prompt_ids=[],
        history=History.empty(0),
    )
    learner.pipeline.attach(learner.metrics.add)
    return learner


def long_responses() -> Batch:
    draw = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(5, 262_000, (count,), generator=draw).tolist()

    completions = [
        [Completion(tokens(RESPONSE), [-1.0] * RESPONSE, "length") for _ in range(SAMPLES)] for _ in range(GROUPS)
    ]
    scores = [Score(1.0 if row % 3 else -1.0, bool(row % 3)) for row in range(GROUPS * SAMPLES)]
    problems = [Problem(str(group), "", "") for group in range(GROUPS)]
    prompts = [tokens(PROMPT) for _ in problems]
    texts = [""] * len(scores)
    return build_batch(problems, prompts, completions, texts, scores, step=1, max_response_tokens=RESPONSE)


@pytest.mark.parametrize(("rank", "limit"), [(32, 24 * GB), (0, 80 * GB)])
def test_a_dapo_update_at_4b_fits(rank: int, limit: int) -> None:
    torch.cuda.reset_peak_memory_stats()
    policy = gemma_4b(rank)
    assert policy.packs
    learner = learner_of(policy)
    batch = estimate(learner, long_responses())
    seconds = []
    for step in (1, 2):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        update(learner, batch, step)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated()
    print(f"rank {rank}: peak {peak / GB:.1f} GB, {GROUPS * SAMPLES * RESPONSE / seconds[-1]:.0f} tokens/s")
    assert learner.metrics.result()["policy/skipped_updates"] == 0
    assert peak < limit
