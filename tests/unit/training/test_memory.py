"""What ran out of memory, by the error that says so; and how much is in use, by what the driver says."""

from __future__ import annotations

import os

import pytest
import torch

from dapoctl.errors import EngineError
from dapoctl.models.loading import pick_device
from dapoctl.training.learner import step_metrics
from dapoctl.training.memory import memory_in_use, out_of_memory_where
from dapoctl.training.step import learn
from tests.support.learners import make_learner, responses_batch


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "GPU"),
        # Of vLLM's allocator, when it wakes beside an update that keeps too much.
        (RuntimeError("CUDA Error: out of memory at cumem_allocator.cpp:62"), "GPU"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "system"),
        (MemoryError(), "system"),
        (RuntimeError("shapes do not match"), None),
        (ValueError("CUDA Error: out of memory"), None),
    ],
)  # fmt: skip
def test_by_its_error(error: Exception, where: str | None) -> None:
    assert out_of_memory_where(error) == where
    wrapped = EngineError("engine `vllm` failed")
    wrapped.__cause__ = error
    assert out_of_memory_where(wrapped) == where


def test_of_a_gpu_counts_what_the_driver_has_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sleeping engine's memory is still allocated for torch, and no longer taken."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (60, 80))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 100)
    assert memory_in_use(torch.device("cuda")) == 20
    assert memory_in_use(torch.device("cpu")) > 2**20


def test_the_peak_of_a_step_is_the_larger_of_sampling_and_updating(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner(["clip"], optim={"lr": 1e-4})
    batch = responses_batch(learner.policy, 1, 2, 8)
    batch.advantages = torch.ones_like(batch.rollout_logprobs)
    for moments in ([3e9, 2e9], [2e9, 3e9]):
        seen = iter(moments)
        monkeypatch.setattr("dapoctl.training.step.memory_in_use", lambda _device, seen=seen: next(seen))
        learner.metrics = type(learner.metrics)()
        learn(learner, batch, 1)
        assert step_metrics(learner)["memory/peak_bytes"] == 3e9


def test_memory_of_a_gpu_is_asked_for_in_segments_that_can_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert pick_device("cpu").type == "cpu"
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    pick_device("auto")
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
    pick_device("cuda")
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "backend:cudaMallocAsync"
