"""The optimizer that a run's configuration asks for."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from dapoctl.errors import RunWarning
from dapoctl.training.optimizer.compact import CompactAdamW
from dapoctl.training.optimizer.forms import FORMS

if TYPE_CHECKING:
    from dapoctl.config import RunConfig
    from dapoctl.models.policy import Policy


def build_optimizer(config: RunConfig, policy: Policy) -> torch.optim.Optimizer:
    """AdamW with `optim.states`; weight decay on matrices, not on norms and biases."""
    optim = config.optim
    parameters = policy.parameters()
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (optim.beta1, optim.beta2)
    if optim.states == "float32" and not policy.masters:
        return torch.optim.AdamW(groups, optim.lr, betas, fused=True)
    if optim.states == "offload" and policy.device.type == "cpu":
        warnings.warn(
            "`optim.states` = 'offload' saves nothing on a CPU, whose memory the states are in already; 8bit and bfloat16 do",
            RunWarning,
            stacklevel=2,
        )
    return CompactAdamW(groups, optim.lr, betas, FORMS[optim.states], policy.masters)
