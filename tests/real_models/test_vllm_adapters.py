"""An adapter's first steps in the real vLLM, whose weights are bfloat16: what is sampled is what is trained.

Slow: vLLM starts, and a real model is trained for twelve steps, at two learning rates.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dapoctl.config import RunConfig
from dapoctl.config.schema import LoraConfig
from dapoctl.engines import Sampling
from dapoctl.engines.vllm import Vllm
from dapoctl.engines.vllm.engine import VllmEngine
from dapoctl.models.loading import load_policy
from dapoctl.models.rounding import rounded_weights
from tests.support.places import MODELS

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.models.policy import Policy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("vllm"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (make vllm)"),
    pytest.mark.skipif(not (MODELS / "smollm2-135m").is_dir(), reason="no model smollm2-135m"),
]
QUESTIONS = [
    "Tom has {} apples and buys {} more. How many has he?",
    "A train goes {} miles in {} hours. How fast is it?",
    "Mary had {} eggs and used {}. How many are left?",
    "Write a sentence about {} cats and {} dogs.",
]
LENGTH = 32
MEASURED = (1, 4, 12)
TRAINED = 6
"""Responses that are trained on, of all that are measured"""


def settings(lr: float) -> RunConfig:
    return RunConfig(
        model={"path": str(MODELS / "smollm2-135m")},  # type: ignore[arg-type]
        lora={"rank": 32},  # type: ignore[arg-type]
        optim={"lr": lr},  # type: ignore[arg-type]
        rollout={"max_prompt_tokens": 64, "max_response_tokens": 64},  # type: ignore[arg-type]
    )


def by_trainer(policy: Policy, prompts: list[list[int]], responses: list[list[int]]) -> Tensor:
    """[B, LENGTH] log-probabilities of the responses, in float32; prompts of one length share a forward pass."""
    found: dict[int, Tensor] = {}
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for length, alike in itertools.groupby(order, lambda index: len(prompts[index])):
        rows = [*alike]
        tokens = torch.tensor([[*prompts[row], *responses[row]] for row in rows])
        logits = policy.model(tokens).logits[:, length - 1 : -1].float()
        values = logits.log_softmax(-1).gather(-1, tokens[:, length:, None])[..., 0]
        found |= dict(zip(rows, values, strict=True))
    return torch.stack([found[index] for index in range(len(prompts))])


def by_engine(engine: VllmEngine, prompts: list[list[int]], responses: list[list[int]]) -> Tensor:
    """The same of all responses, one after the other."""
    params = engine._sampling_params(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False)
    engine._llm.reset_prefix_cache()
    asked = [{"prompt_token_ids": [*prompt, *response]} for prompt, response in zip(prompts, responses, strict=True)]
    found: list[float] = []
    for result, prompt, response in zip(
        engine._llm.generate(asked, params, use_tqdm=False), prompts, responses, strict=True
    ):
        places: list[Any] = result.prompt_logprobs[len(prompt) :]
        found += [place[token].logprob for place, token in zip(places, response, strict=True)]
    return torch.tensor(found)


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Policy, VllmEngine, dict[str, Tensor]]]:
    torch.manual_seed(0)
    policy = load_policy(settings(1e-5))
    for parameter in policy.model.parameters():
        if not parameter.requires_grad:
            # As on a GPU, whose frozen weights are bfloat16.
            parameter.data = parameter.data.bfloat16().float()
    start = {name: weight.detach().clone() for name, weight in policy.model.named_parameters() if weight.requires_grad}
    engine = VllmEngine(Vllm(dtype="bfloat16", kv_cache_gb=1.0), policy, settings(1e-5))
    yield policy, engine, start
    engine.close()


def share_of(shift: Tensor, followed: Tensor) -> tuple[float, float]:
    """(slope of the engine's shift on the trainer's, its standard error), the error by responses, which are independent."""
    share = (shift * followed).sum() / shift.square().sum()
    scores = (shift * (followed - share * shift)).view(-1, LENGTH).sum(1)
    return float(share), float(scores.square().sum().sqrt() / shift.square().sum())


@pytest.mark.parametrize("lr", [1e-5, 1e-6])
def test_what_is_sampled_follows_what_is_trained(
    started: tuple[Policy, VllmEngine, dict[str, Tensor]], lr: float
) -> None:
    """By the weights that the engine is given, in float32 arithmetic, after every number of steps; and by the engine's own
    log-probabilities where the shift is larger than what bfloat16's arithmetic does to them, which is 0.04 nats.
    """
    policy, engine, start = started
    adapters = {name: weight for name, weight in policy.model.named_parameters() if name in start}
    with torch.no_grad():
        for name, weight in adapters.items():
            weight.copy_(start[name])
    engine.load_weights(policy.named_weights())
    prompts = [policy.encode(text.format(3 + n, 2 + n)) for n in range(10) for text in QUESTIONS]
    asked = Sampling(LENGTH, 0.0, 1.0, 0)
    responses = [[*each.token_ids] for (each,) in engine.generate(prompts, asked, 1)]
    responses = [(each * LENGTH)[:LENGTH] for each in responses]
    given = load_policy(settings(lr).model_copy(update={"lora": LoraConfig()}))

    def trained(by: Policy) -> Tensor:
        with torch.no_grad():
            return by_trainer(by, prompts, responses).flatten()

    before, engine_before = trained(policy), by_engine(engine, prompts, responses)
    signs = torch.tensor([1.0 if index % 2 else -1.0 for index in range(TRAINED)])
    optimizer = torch.optim.AdamW(policy.parameters(), lr=lr, weight_decay=0.0)
    for step in range(1, MEASURED[-1] + 1):
        by_trainer(policy, prompts[:TRAINED], responses[:TRAINED]).mean(1).mul(signs).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if step not in MEASURED:
            continue
        shift = trained(policy) - before
        # What the nearest loses is measured once more at the smaller rate, at the end.
        for way in (rounded_weights, to_the_nearest)[: 2 if lr == 1e-5 or step == MEASURED[-1] else 1]:
            weights = {name: weight.float() for name, weight in way(policy.named_weights(), torch.bfloat16)}
            given.model.load_state_dict(weights, strict=False)
            share, error = share_of(shift, trained(given) - before)
            print(
                f"lr {lr:g}, step {step}, {way.__name__}: trainer {float(shift.abs().mean()):.5f} nat,"
                f" share {share:.3f} +- {error:.3f}"
            )
            assert error < 0.1, "the measure says nothing"
            if way is rounded_weights:
                assert share + 2 * error >= 0.9
                assert share - 2 * error <= 1.1
            else:
                assert share + 2 * error < 0.5
    if lr == 1e-5:
        engine.load_weights(policy.named_weights())
        share, error = share_of(shift, by_engine(engine, prompts, responses) - engine_before)
        print(f"lr {lr:g}, step {step}, by the engine's log-probabilities: share {share:.3f} +- {error:.3f}")
        assert error < 0.1, "the measure says nothing"
        assert share + 2 * error >= 0.9
        assert share - 2 * error > 0.5


def to_the_nearest(weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """As they were given to the engine before."""
    return ((name, weight.to(dtype)) for name, weight in weights)
