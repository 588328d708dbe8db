"""Every extension point of dapoctl, in the order in which a training step calls them.

Shapes: P prompts (groups), G responses per prompt, B = P x G responses, T tokens of the longest response, N valid tokens
of a micro-batch, n tokens of a vocabulary chunk, V vocabulary entries.

`firstresult` marks a stage with exactly one provider. In every other stage any number of components take part, and the
results commute (summed or anded), so the order of `--plugins` never matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.batch import Batch, Problem, PromptPool, Refill, RunInfo, Score, Tokens
    from dapoctl.config import RunConfig
    from dapoctl.engines import Engine
    from dapoctl.models.policy import Policy

PROJECT = "dapoctl"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def load_problems(split: str) -> Sequence[Problem]:
    """The task's problems of `split`: "train", or "test" for those that training never sees."""
    raise AssertionError


@hookspec(firstresult=True)
def build_engine(policy: Policy, config: RunConfig) -> Engine:
    """The engine that samples responses from `policy`'s current weights."""
    raise AssertionError


@hookspec(firstresult=True)
def select_prompts(pool: PromptPool, count: int) -> Sequence[int]:
    """Indices of `count` problems of `pool.problems` to sample responses for."""
    raise AssertionError


@hookspec(firstresult=True)
def score_response(problem: Problem, text: str) -> Score:
    """The verifier's verdict on one response. Called from several threads at once."""
    raise AssertionError


@hookspec
def shape_rewards(batch: Batch) -> Tensor:
    """A term [B] that is added to the verifier's scores."""
    raise AssertionError


@hookspec
def filter_groups(batch: Batch) -> Tensor:
    """A mask [P], true for groups to train on; all filters' masks are anded. The trainer refills what is missing."""
    raise AssertionError


@hookspec
def plan_refill() -> Refill:
    """How long to look for groups that pass the filters, and what to do when none are found; the strictest plan wins."""
    raise AssertionError


@hookspec(firstresult=True)
def estimate_advantages(batch: Batch) -> Tensor:
    """Advantages [B], or [B, T], from `batch.rewards`."""
    raise AssertionError


@hookspec
def mask_responses(batch: Batch) -> Tensor:
    """A mask [B], false for responses that get no weight in the loss and do not count in its denominators; anded."""
    raise AssertionError


@hookspec(firstresult=True)
def weigh_tokens(batch: Batch) -> Tensor:
    """Weights [B, T], zero where `batch.mask` is false; the loss is sum(weights * (policy_loss + penalties)).

    Called once per optimizer batch. Divide by `batch.counts`, which are global when a batch is sharded over processes.
    """
    raise AssertionError


@hookspec(firstresult=True)
def policy_loss(tokens: Tokens) -> Tensor:
    """The policy objective [N] to minimise, per valid token and before weights, differentiable in `tokens.logprobs`."""
    raise AssertionError


@hookspec
def regularize(tokens: Tokens) -> Tensor:
    """A penalty [N] per valid token, added to the policy objective."""
    raise AssertionError


@hookspec
def regularize_vocab(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """A penalty [n] per token from raw fp32 logits [n, V] of the policy and of the reference, a chunk at a time."""
    raise AssertionError


@hookspec
def on_run_start(run: RunInfo) -> None:
    """Observe: the model is loaded and training is about to begin (or to continue, if `run.start_step` > 0)."""


@hookspec
def on_step_end(step: int, metrics: dict[str, float]) -> None:
    """Observe: `step` is done; step 0 holds the evaluation before training. The metrics are final."""


@hookspec
def on_run_end(run: RunInfo, state: str) -> None:
    """Observe: the run ended in `state`: finished, stopped or failed."""


def stages() -> dict[str, Any]:
    """Every hook specification by name, in the order above."""
    return {name: spec for name, spec in globals().items() if hasattr(spec, f"{PROJECT}_spec")}


def is_exclusive(hook: str) -> bool:
    """Whether `hook` takes exactly one provider."""
    return bool(getattr(globals()[hook], f"{PROJECT}_spec")["firstresult"])
