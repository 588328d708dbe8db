"""The engine of an evaluation: the one that is configured, with room for this evaluation's prompts and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dapoctl.components.catalog import installed
from dapoctl.components.resolver import build_component
from dapoctl.engines.checked import CheckedEngine
from dapoctl.evaluation.problem_source import alone

if TYPE_CHECKING:
    from dapoctl.config import RunConfig
    from dapoctl.models.policy import Policy


def start_engine(config: RunConfig, policy: Policy, prompt_tokens: int, response_tokens: int) -> CheckedEngine:
    """The engine that `config` names, for prompts and responses of these lengths at most.

    Raises:
        UserError: it is not available.
    """
    config = with_room(config, prompt_tokens, response_tokens)
    name = config.engine
    component = build_component(name, installed().find(name).load(), config.components.get(name, {}))
    return CheckedEngine(name, alone(name, component).one("build_engine", policy=policy, config=config))


def with_room(config: RunConfig, prompt_tokens: int, response_tokens: int) -> RunConfig:
    """The configuration with these lengths, without what only training needs."""
    rollout = config.rollout.model_copy(
        update={"max_prompt_tokens": prompt_tokens, "max_response_tokens": response_tokens, "temperature": 1.0}
    )
    train = config.train.model_copy(update={"packing": False, "gradient_checkpointing": False})
    return config.model_copy(update={"rollout": rollout, "train": train})
