"""An update's time and memory against its number of tokens."""

from __future__ import annotations

from typing import Any

import torch

from dapoctl import Batch, Completion, Problem, Score
from dapoctl.training.batching import build_batch
from dapoctl.training.step import estimate, update
from experiments.bench.ours import make_learner, timed
from experiments.bench.settings import Settings

LENGTH = 128
"""Response tokens of every response, so that sizes differ in the number of responses only"""
PROMPT = 32
GROUP = 4


def measure_size(settings: Settings) -> dict[str, Any]:
    """One size's updates: `settings.prompts` groups of random tokens."""
    learner = make_learner(settings)
    vocabulary = learner.policy.model.get_input_embeddings().num_embeddings
    draw = torch.Generator().manual_seed(settings.seed)

    def tokens(count: int) -> list[int]:
        return torch.randint(5, vocabulary, (count,), generator=draw).tolist()

    groups = range(settings.prompts)
    rows = settings.prompts * GROUP
    batch = build_batch(
        [Problem(str(group), "", "") for group in groups],
        [tokens(PROMPT) for _ in groups],
        [[Completion(tokens(LENGTH), [-1.0] * LENGTH, "length") for _ in range(GROUP)] for _ in groups],
        [""] * rows,
        [Score(1.0 - 2.0 * (row % 2), row % 2 == 0) for row in range(rows)],
        step=1,
        max_response_tokens=LENGTH,
    )
    batch = estimate(learner, batch)

    def once(_: int) -> Batch:
        update(learner, batch, 1)
        return batch

    return timed(learner, settings.updates, once) | {"vocabulary": vocabulary}
