"""What one GPU must hold: a DAPO update of a model of Gemma 3 4B's shape, all weights trained and adapters trained."""

from __future__ import annotations

import pytest
import torch

from dapoctl.training.step import estimate, update
from experiments.bench.gpu_check.subject import Subject

GB = 10**9
GROUPS, SAMPLES, PROMPT, RESPONSE = 2, 8, 128, 2048

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize(("rank", "limit"), [(32, 24 * GB), (0, 80 * GB)])
def test_a_dapo_update_at_4b_fits(rank: int, limit: int) -> None:
    subject = Subject(dry=False)
    subject.forget_peak()
    policy = subject.policy(rank)
    assert policy.packs
    learner = subject.learner(policy)
    batch = estimate(learner, subject.batch(GROUPS, SAMPLES, PROMPT, RESPONSE))
    seconds = subject.seconds(lambda: update(learner, batch, 1), 1)
    peak = torch.cuda.max_memory_allocated()
    print(f"rank {rank}: peak {peak / GB:.1f} GB, {GROUPS * SAMPLES * RESPONSE / seconds:.0f} tokens/s")
    assert learner.metrics.result()["policy/skipped_updates"] == 0
    assert peak < limit
