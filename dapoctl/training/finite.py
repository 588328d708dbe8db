"""Weights that are not finite: found after the update that made them, and never saved."""

from __future__ import annotations

from pathlib import Path

import torch

from dapoctl.errors import DivergedError
from dapoctl.runs.checkpoints import latest
from dapoctl.training.learner import Learner


def check_weights(learner: Learner, directory: Path, step: int) -> None:
    """Refuse weights that are NaN or infinite after `step`.

    Raises:
        DivergedError: naming the step, the weight, and what is left.
    """
    bad = not_finite(learner)
    if not bad:
        return
    last = latest(directory)
    kept = f"the last checkpoint, {last.name}, is kept" if last else "there is no checkpoint to go back to"
    lr = learner.config.optim.lr
    raise DivergedError(
        f"step {step}: {len(bad)} of {len(learner.policy.parameters())} trained weights are NaN or infinite, such as"
        f" `{bad[0]}`; they are not saved, and {kept}; `optim.lr` = {lr:g} may be too high, or the checkpoint that the run"
        " went on from has an optimizer state that is not finite"
    )


@torch.no_grad()
def not_finite(learner: Learner) -> list[str]:
    """Names of trained weights with a value that is NaN or infinite."""
    named = [(name, p) for name, p in learner.policy.model.named_parameters() if p.requires_grad and p.numel()]
    # One pass over each and nothing of its size allocated; NaN is passed on.
    extremes = torch.stack([torch.stack(torch.aminmax(parameter)).float() for _, parameter in named])
    finite = extremes.isfinite().all(1).tolist()
    return [name for (name, _), good in zip(named, finite, strict=True) if not good]
