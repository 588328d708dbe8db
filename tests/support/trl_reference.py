"""TRL's own GRPO loss, run on log-probabilities that a test gives it."""

from __future__ import annotations

import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor


def trl_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, **settings: Any) -> Tensor:
    """`GRPOTrainer._compute_loss` of the installed TRL for one process, [B, T] each but advantages [B].

    `settings` are the trainer's attributes (`loss_type`, `importance_sampling_level`, `epsilon_low`, `epsilon_high`), and
    `importance_sampling_ratio`, a factor of the policy term.
    """
    pytest.importorskip("trl", reason="trl is not installed (pip install 'dapoctl[bench]')")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.trainer.grpo_trainer import GRPOTrainer
    ratio = settings.pop("importance_sampling_ratio", None)
    entropies = torch.zeros_like(logprobs)
    accelerator = SimpleNamespace(
        num_processes=1, sync_gradients=True, gather=lambda x: x, gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction: x,  # noqa: ARG005
    )  # fmt: skip
    values = {
        "args": SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        "accelerator": accelerator,
        "model": SimpleNamespace(training=True),
        "beta": 0.0,
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": ratio is not None,
        "vllm_importance_sampling_correction": ratio is not None,
        "aux_loss_enabled": False,
        "current_gradient_accumulation_steps": 1,
        "_entropy_bonus_enabled": False,
        "_metrics": {"train": defaultdict(list)},
        "_get_per_token_logps_and_entropies": lambda *_, **__: (logprobs, entropies, None),
    } | settings
    size = mask.shape
    inputs = {
        "prompt_ids": torch.zeros(size[0], 1, dtype=torch.int64),
        "prompt_mask": torch.ones(size[0], 1),
        "completion_ids": torch.zeros(size, dtype=torch.int64),
        "completion_mask": mask.to(logprobs.dtype),
        "advantages": advantages,
        "old_per_token_logps": old,
        "num_items_in_batch": mask.sum(),
    }
    if ratio is not None:
        inputs["importance_sampling_ratio"] = ratio
    loss: Tensor = GRPOTrainer._compute_loss(SimpleNamespace(**values), None, inputs)
    return loss
