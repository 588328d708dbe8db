"""dapoctl's side of the comparison, with the code of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dapoctl import Batch, Completion, Problem, Score
from dapoctl.engines import Sampling
from dapoctl.training.batching import build_batch
from dapoctl.training.build import build_learner
from dapoctl.training.learner import History, Learner
from dapoctl.training.metrics import Metrics
from dapoctl.training.response_rows import Sampled
from dapoctl.training.step import collect, estimate, learn, update
from experiments.bench.measuring import PeakMemory, matmul_parameters, synchronize
from experiments.bench.recorded import Group, Recording, Response, describe, settle_rewards
from experiments.bench.settings import Settings, resolve
from experiments.bench.verifying import verify

if TYPE_CHECKING:
    from collections.abc import Callable


def make_learner(settings: Settings) -> Learner:
    """A learner, built as in a run."""
    resolved = resolve(settings)
    return build_learner(resolved.config, resolved.pipeline)


def record(settings: Settings) -> Recording:
    """Sample the first problems' responses, score them, and make sure that every group's rewards vary."""
    learner = make_learner(settings)
    problems, prompt_ids = learner.problems[: settings.prompts], learner.prompt_ids[: settings.prompts]
    sampling = Sampling(settings.tokens, settings.temperature, 1.0, settings.seed)
    completions = learner.engine.generate(prompt_ids, sampling, settings.samples)
    texts = [learner.policy.decode(completion.token_ids) for group in completions for completion in group]
    scores = verify(learner.pipeline, [problem for problem in problems for _ in range(settings.samples)], texts)
    groups = []
    for index, (problem, ids, group) in enumerate(zip(problems, prompt_ids, completions, strict=True)):
        rewards, source = settle_rewards(scores[index * settings.samples : (index + 1) * settings.samples])
        responses = [
            Response(list(c.token_ids), list(c.logprobs), c.finish_reason, reward)
            for c, reward in zip(group, rewards, strict=True)
        ]
        groups.append(Group(problem.id, problem.prompt, problem.answer, list(ids), source, responses))
    stop_ids = list(learner.policy.eos_token_ids)
    close(learner)
    return Recording(describe(settings) | {"engine": settings.engine}, stop_ids, groups)


def recorded_batch(learner: Learner, recording: Recording) -> Batch:
    """The recorded responses as a batch, with advantages."""
    groups = recording.groups
    responses = [response for group in groups for response in group.responses]
    batch = build_batch(
        [Problem(group.id, group.prompt, group.answer) for group in groups],
        [group.prompt_ids for group in groups],
        [[Completion(r.token_ids, r.logprobs, r.finish_reason) for r in group.responses] for group in groups],
        ["" for _ in responses],
        [Score(response.reward, response.reward > 0) for response in responses],
        step=1,
        max_response_tokens=learner.config.rollout.max_response_tokens,
    )
    return estimate(learner, batch)


def time_updates(settings: Settings, recording: Recording) -> dict[str, Any]:
    """Updates on the recorded responses: forward, loss, backward, clipping, AdamW."""
    learner = make_learner(settings)
    batch = recorded_batch(learner, recording)

    def once(_: int) -> Batch:
        update(learner, batch, 1)
        return batch

    return timed(learner, settings.updates, once)


def time_steps(settings: Settings, recording: Recording) -> dict[str, Any]:
    """Whole steps on the recorded prompts: sample, score, update, sync the weights to the engine."""
    learner = make_learner(settings)
    learner.problems = [Problem(group.id, group.prompt, group.answer) for group in recording.groups]
    learner.prompt_ids = [group.prompt_ids for group in recording.groups]
    learner.history = History.empty(len(recording.groups))

    def once(step: int) -> Batch:
        learner.metrics, learner.default_metrics, learner.sampled = Metrics(), Metrics(), Sampled()
        learner.pipeline.attach(learner.metrics.add)
        batch = collect(learner, step)
        assert batch is not None
        learn(learner, batch, step)
        return batch

    return timed(learner, settings.updates, once)


def timed(learner: Learner, count: int, once: Callable[[int], Batch]) -> dict[str, Any]:
    """Seconds and trained tokens of `count` calls of `once(step)` after a warm-up call, and their peak memory."""
    device = learner.policy.device
    once(1)
    learner.optimizer.zero_grad(set_to_none=True)
    memory, seconds, batches = PeakMemory(learner.policy.parameters(), device), [], []
    for number in range(count):
        synchronize(device)
        begun = time.perf_counter()
        batches.append(once(number + 2))
        synchronize(device)
        seconds.append(time.perf_counter() - begun)
    result = {
        "seconds": seconds,
        "tokens": [int(batch.mask.sum()) for batch in batches],
        "signal": [signal(batch) for batch in batches],
        "peak_bytes": memory.above(),
        "parameters": matmul_parameters(learner.policy.model),
    }
    close(learner)
    return result


def signal(batch: Batch) -> float:
    """Fraction of responses with an advantage other than 0."""
    assert batch.advantages is not None
    return float((batch.advantages != 0).any(dim=1).float().mean())


def write_gradient(settings: Settings, recording: Recording, path: Path) -> dict[str, Any]:
    """The loss of one update on the recorded responses; writes the gradient that the optimizer gets to a safetensors file."""
    from safetensors.torch import save_file

    learner = make_learner(settings)
    batch = recorded_batch(learner, recording)

    def save(*_: Any) -> None:
        named = learner.policy.model.named_parameters()
        save_file({name: p.grad.cpu().contiguous() for name, p in named if p.grad is not None}, path)

    learner.optimizer.register_step_pre_hook(save)
    update(learner, batch, 1)
    loss = learner.metrics.result()["policy/loss"]
    close(learner)
    return {"loss": loss}


def close(learner: Learner) -> None:
    """Close the engine and the verifier's processes."""
    learner.pipeline.close()
    learner.engine.close()


def device_of(settings: Settings) -> torch.device:
    """The device that both sides compute on."""
    from dapoctl.models.loading import pick_device

    return pick_device(settings.device)
