"""What ran out of memory, by the error that says so."""

from __future__ import annotations

import pytest
import torch

from dapoctl.errors import EngineError
from dapoctl.training.memory import out_of_memory_where


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
