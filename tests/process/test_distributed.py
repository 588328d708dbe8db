"""A batch sharded over two processes has the gradient of the whole batch: the weights come from global counts.

Slow: gloo joins two processes, and both import torch.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dapoctl.training.step import accumulate_gradient, estimate
from tests.support.learners import gradients, make_learner, responses_batch
from tests.support.places import ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow]

WEIGHTS = ("sequence_mean", "token_mean", "group_token_mean", "constant_length")
WORKER = """
import sys
sys.path.insert(0, {root!r})
import torch
from tests.support.learners import gradients, make_learner, responses_batch
from dapoctl.training.batching import select_groups
from dapoctl.training.step import accumulate_gradient, estimate

torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
for weights in {weights!r}:
    learner = make_learner([weights, "overlong_filter", "gkl"], move_policy=0.05)
    whole = responses_batch(learner.policy, groups=3, longest=30)
    mine = select_groups(whole, [0] if rank == 0 else [1, 2])
    accumulate_gradient(learner, estimate(learner, mine))
    if rank == 0:
        torch.save(gradients(learner), f"{{weights}}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the gradients that two processes came to together, one file for each kind of weights."""
    folder = tmp_path_factory.mktemp("sharded")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = WORKER.format(root=str(ROOT), weights=WEIGHTS)
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environment | {"RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [worker.communicate(timeout=180)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    return folder


@pytest.mark.parametrize("weights", WEIGHTS)
def test_sharding_changes_nothing(weights: str, sharded: Path) -> None:
    learner = make_learner([weights, "overlong_filter", "gkl"], move_policy=0.05)
    accumulate_gradient(learner, estimate(learner, responses_batch(learner.policy, groups=3, longest=30)))
    wanted = gradients(learner)
    found = torch.load(sharded / f"{weights}.pt", weights_only=True)
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()
