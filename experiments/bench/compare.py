"""Whether both sides compute the same loss and the same gradient."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path

from experiments.bench.child import BenchError, run_child
from experiments.bench.settings import Settings

TOLERANCE = 1e-4
"""Largest relative difference of two float32 gradients that are equal up to rounding"""
NO_CLIPPING = 1e9


def relative_difference(path: Path, other: Path) -> float:
    """|a - b| / |b| of all tensors of two safetensors files together.

    Raises:
        BenchError: they do not hold the same tensors.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as ours, safe_open(other, "pt") as theirs:
        if set(ours.keys()) != set(theirs.keys()):
            raise BenchError(f"gradients of different parameters: {set(ours.keys()) ^ set(theirs.keys())}")
        difference = norm = 0.0
        for name in ours.keys():  # noqa: SIM118  (not a mapping)
            a, b = ours.get_tensor(name).double(), theirs.get_tensor(name).double()
            difference += float((a - b).square().sum())
            norm += float(b.square().sum())
    return math.sqrt(difference / norm)


def check_same(settings: Settings) -> dict[str, float]:
    """Losses and the relative difference of the gradients on the recorded responses, in float32, before clipping.

    Raises:
        BenchError: they differ by more than rounding.
    """
    exact = dataclasses.replace(settings, dtype="float32", grad_clip=NO_CLIPPING)
    with tempfile.TemporaryDirectory(prefix="dapoctl-bench-") as folder:
        paths = {side: Path(folder, f"{side}.safetensors") for side in ("dapoctl", "trl")}
        losses = {
            side: float(run_child(f"{side}/gradient", exact, gradient=path)["loss"]) for side, path in paths.items()
        }
        difference = relative_difference(paths["dapoctl"], paths["trl"])
    result = {"dapoctl_loss": losses["dapoctl"], "trl_loss": losses["trl"], "gradient_difference": difference}
    if not difference <= TOLERANCE or not math.isclose(*losses.values(), rel_tol=TOLERANCE, abs_tol=1e-6):
        raise BenchError(f"the two sides do not compute the same: {result}; no timing would mean anything")
    return result
