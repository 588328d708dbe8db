"""What the checksums of checkpoints cost: the same checkpoint with and without them, in turns, in one process.

    python -m experiments.bench.checksums                    # steps of `tiny`, a checkpoint after each
    python -m experiments.bench.checksums --model FOLDER     # checkpoints of another model

Prints JSON: medians with and without, the median of the differences, and that as a share of a step (`tiny`) or of a
checkpoint; each as [seconds, CPU seconds]. A difference is made between neighbours: others may use the machine as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dapoctl.config.resolve import load
from dapoctl.runs import manifest
from dapoctl.runs.remove import size_of
from dapoctl.training import checkpoint
from dapoctl.training.build import build_learner
from dapoctl.training.learner import Learner
from dapoctl.training.metrics import Metrics
from dapoctl.training.response_rows import Sampled
from dapoctl.training.step import collect, learn

EXTRA: dict[str, Any] = {"before": {}, "after": {}, "pending": None}


class NoDigest:
    """In place of SHA-256."""

    def update(self, _data: object) -> None:
        """Nothing."""

    def hexdigest(self) -> str:
        """Nothing."""
        return ""


@contextlib.contextmanager
def without_checksums() -> Iterator[None]:
    """Manifests with sizes alone."""
    measure, digest = manifest._measure, manifest.new_digest
    manifest._measure, manifest.new_digest = lambda path: (path.stat().st_size, ""), NoDigest
    try:
        yield
    finally:
        manifest._measure, manifest.new_digest = measure, digest


def train(learner: Learner, step: int) -> tuple[float, float]:
    """(seconds, CPU seconds) of a step."""
    begun, cpu = time.perf_counter(), time.process_time()
    learner.metrics, learner.default_metrics, learner.sampled = Metrics(), Metrics(), Sampled()
    learner.pipeline.attach(learner.metrics.add)
    batch = collect(learner, step)
    if batch is not None:
        learn(learner, batch, step)
    return time.perf_counter() - begun, time.process_time() - cpu


def moments(learner: Learner) -> None:
    """The optimizer's state as an update leaves it, without the hour that a step of a large model takes here."""
    for parameter in learner.policy.parameters():
        parameter.grad = torch.full_like(parameter, 1e-6)
    learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)


def save(learner: Learner, folder: Path, step: int) -> tuple[float, float]:
    """(seconds, CPU seconds) of a checkpoint."""
    begun, cpu = time.perf_counter(), time.process_time()
    checkpoint.save(learner, folder, step, EXTRA)
    return time.perf_counter() - begun, time.process_time() - cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--folder", type=Path, help="where checkpoints are written; default: the system's for temporary files"
    )
    given = parser.parse_args()
    resolved = load([], ["checkpoint.keep=1", "eval.every=0"], {"model": given.model} if given.model != "tiny" else {})
    learner = build_learner(resolved.config, resolved.pipeline)
    moments(learner)
    steps: list[tuple[float, float]] = []
    figures: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        size = size_of(checkpoint.save(learner, folder, 1, EXTRA))
        for number in range(given.rounds):
            if given.model == "tiny":
                steps.append(train(learner, number + 1))
            # Whoever is second finds the disk as the first one left it: they take turns.
            for place, on in enumerate((True, False) if number % 2 else (False, True)):
                with contextlib.nullcontext() if on else without_checksums():
                    figures[on].append(save(learner, folder, 2 * number + place + 2))
    on, off, whole = (
        [statistics.median(row[i] for row in rows) for i in (0, 1)]
        for rows in (figures[True], figures[False], steps or figures[False])
    )
    pairs = [*zip(figures[True], figures[False], strict=True)]
    extra = [statistics.median(one[i] - other[i] for one, other in pairs) for i in (0, 1)]
    found = {
        "model": given.model,
        "rounds": given.rounds,
        "bytes": size,
        "with": on,
        "without": off,
        "difference": extra,
        "of": "a step" if steps else "a checkpoint",
        "which takes": whole,
        "share": [extra[i] / whole[i] for i in (0, 1)],
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
