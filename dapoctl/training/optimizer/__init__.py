"""The optimizer: AdamW, with its states in float32 or kept smaller."""

from dapoctl.training.optimizer.build import build_optimizer

__all__ = ["build_optimizer"]
