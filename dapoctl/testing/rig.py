"""An engine on the embedded model, for the engine properties."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from dapoctl.components.pipeline import Pipeline
from dapoctl.config import RunConfig
from dapoctl.engines import Completion, Sampling
from dapoctl.engines.checked import CheckedEngine
from dapoctl.errors import DapoctlError, HookError
from dapoctl.models.loading import load_policy
from dapoctl.models.policy import Policy
from dapoctl.testing.results import Broken, Unchecked

PROMPTS = ("1+2=", "12+34=", "7+8+9=", "56-7=")
SAMPLES = 4
SAMPLING = Sampling(max_tokens=12, seed=7)


class Rig:
    """An engine of the component, and the policy that it samples from."""

    def __init__(self, name: str, pipeline: Pipeline, stack: ExitStack) -> None:
        """
        Args:
            pipeline: holds the component `name`
            stack: closes the engine

        Raises:
            Unchecked: the engine is not installed, or cannot run on this machine.
            Broken: it cannot be built.
        """
        config = RunConfig.model_validate(
            {
                "model": {"path": "tiny", "dtype": "float32"},
                "rollout": {"max_prompt_tokens": 32, "max_response_tokens": SAMPLING.max_tokens},
            }
        )
        self.policy: Policy = load_policy(config)
        self.prompts = [self.policy.encode(prompt) for prompt in PROMPTS]
        try:
            self.engine = CheckedEngine(name, pipeline.one("build_engine", policy=self.policy, config=config))
        except HookError as error:
            raise Broken("the embedded model", str(error)) from error
        except DapoctlError as error:
            raise Unchecked(str(error)) from error
        stack.callback(self.engine.close)

    def generate(
        self, sampling: Sampling, n: int = SAMPLES, indices: Sequence[int] | None = None
    ) -> list[list[Completion]]:
        """`n` completions for the prompts at `indices`, by default all.

        Raises:
            Broken: the engine raised, or returned something invalid.
        """
        prompts = self.prompts if indices is None else [self.prompts[index] for index in indices]
        try:
            return self.engine.generate(prompts, sampling, n)
        except DapoctlError as error:
            raise Broken(describe_call(sampling, len(prompts), n), str(error)) from error

    @torch.inference_mode()
    def logits(self, index: int, responses: Sequence[Sequence[int]]) -> list[Tensor]:
        """The policy's logits [T, V] for each token of each of some responses to the prompt at `index`; float64."""
        prompt = self.prompts[index]
        longest = max(map(len, responses))
        # What is behind a response does not reach back to it.
        rows = [[*prompt, *tokens, *[self.policy.pad_token_id] * (longest - len(tokens))] for tokens in responses]
        logits: Tensor = self.policy.model(input_ids=torch.tensor(rows, device=self.policy.device)).logits
        start = len(prompt) - 1
        return [row[start : start + len(tokens)].double().cpu() for row, tokens in zip(logits, responses, strict=True)]


def describe_call(sampling: Sampling, prompts: int = len(PROMPTS), n: int = SAMPLES) -> str:
    """A call of `generate`, as text."""
    defaults = Sampling(SAMPLING.max_tokens)
    changed = {
        field.name: getattr(sampling, field.name)
        for field in dataclasses.fields(Sampling)
        if getattr(sampling, field.name) != getattr(defaults, field.name) or field.name == "max_tokens"
    }
    settings = ", ".join(f"{name}={value}" for name, value in changed.items())
    return f"generate({prompts} prompts of the embedded model, {settings}, n={n})"
